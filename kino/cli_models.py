"""The command `kino models`: what a registry holds, aliases that move, versions that go."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from kino.adapters import ADAPTER, AdapterSettings
from kino.cli_graph import connect
from kino.cli_view import as_json, print_facts, print_json, print_table
from kino.errors import STORE_ERRORS, FailedPreconditionError, InvalidArgumentError, as_kino_error
from kino.families import Settings, is_published
from kino.limits import (
    VIDEO,
    Defaults,
    clip_limits,
    editor_limits,
    generator_limits,
    limits_of,
    personalizer_limits,
    sound_limits,
    upsampler_limits,
)
from kino.manifest import Manifest, Parent
from kino.registry import GRAPH_FILE, WEIGHTS_FILE, Registry, models_folder
from kino.v1.info_pb2 import Limits

_WEIGHTS = Path(WEIGHTS_FILE).suffix
_MAKERS: dict[str, Callable[[str], Limits]] = {
    "dit": generator_limits,
    "personalizer": personalizer_limits,
    "editor": editor_limits,
    "audio": sound_limits,
    "upsampler": upsampler_limits,
    "tae": clip_limits,
}
"""What the versions of our components take, by the name of their sizes."""


async def listing(given: argparse.Namespace) -> int:
    """Show the versions of a registry, or those that a running graph serves and what they accept."""
    if given.address is None:
        with _typed():
            _show_published(given, _registry(given))
        return 0
    if given.models is not None:
        raise InvalidArgumentError("--models", given.models, "left out where a running graph is named")
    async with connect(given) as kino:
        infos = [part.info for part in (await kino.describe()).parts if part.HasField("info")]
    if given.json:
        print_json([as_json(info) for info in infos])
    else:
        rows = [
            (info.component, info.version, info.family, info.digest[:12], _abilities(info.limits)) for info in infos
        ]
        print_table(("service", "version", "family", "digest", "accepts"), rows)
    return 0


async def show(given: argparse.Namespace) -> int:
    """Show one version: what it computes with, where it comes from, its figures and its files."""
    with _typed():
        registry = _registry(given)
        if (known := registry.components()) and given.component not in known:
            raise InvalidArgumentError("COMPONENT", given.component, f"one of {', '.join(known)}")
        manifest = registry.resolve(given.component, given.version)
        aliases = [alias for alias, name in registry.aliases(given.component).items() if name == manifest.version]
        brought, limits = _brought(manifest), _limits(manifest)
    if given.json:
        print_json({**asdict(manifest), "digest": manifest.digest, "aliases": aliases})
        return 0
    facts = {"component": manifest.component, "version": manifest.version, "aliases": " ".join(aliases)}
    facts |= {"family": manifest.family, "preset": manifest.preset, "digest": manifest.digest}
    facts |= {"recipe": manifest.recipe, "data": manifest.data, "parent": _told(manifest.parent)}
    facts |= {"git revision": manifest.git_revision, "created": manifest.created, "latent": manifest.spaces.latent}
    facts |= {f"text {tower}": digest for tower, digest in manifest.spaces.text.items()}
    facts |= {"vision": manifest.spaces.vision}
    facts |= {name: f"{value:g}" for name, value in manifest.metrics.items()}
    facts |= {**brought, "accepts": _abilities(limits)}
    facts |= {name: f"sha256 {digest}" for name, digest in manifest.digests.items()}
    print_facts({name: value for name, value in facts.items() if value})
    return 0


async def promote(given: argparse.Namespace) -> int:
    """Let an alias stand for a version, or for what another alias stands for."""
    with _typed():
        registry = _registry(given)
        before = registry.aliases(given.component).get(given.alias)
        registry.set_alias(given.component, given.alias, given.version, before)
        after = registry.aliases(given.component)[given.alias]
    return _moved(given, before, after)


async def roll_back(given: argparse.Namespace) -> int:
    """Let an alias stand for what it stood for before."""
    with _typed():
        registry = _registry(given)
        before = registry.aliases(given.component).get(given.alias)
        after = registry.roll_back(given.component, given.alias)
    return _moved(given, before, after)


async def collect(given: argparse.Namespace) -> int:
    """Remove old versions that nothing needs any more."""
    if given.keep < 1:
        raise InvalidArgumentError("--keep", given.keep, "at least 1")
    with _typed():
        registry = _registry(given)
        removed = _unneeded(registry, given.keep)
        if not given.dry_run:
            removed = [manifest for manifest in removed if registry.discard(manifest)]
    rows = [(manifest.component, manifest.version, manifest.created, manifest.recipe) for manifest in removed]
    columns = ("component", "version", "created", "recipe")
    if given.json:
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
    else:
        print_table(columns, rows)
    return 0


def _unneeded(registry: Registry, keep: int) -> list[Manifest]:
    """Return the versions that are none of the newest, that no alias names now or did last, and no other stands on.

    A generator stands on the TAE and the towers of its spaces, an adapter on its generator; versions name their parents
    only to tell where they come from. Adapters are no older and newer ones of each other, so all of them stay.
    """
    found = {component: registry.manifests(component) for component in registry.components()}
    kept: list[Manifest] = []
    for component, manifests in found.items():
        newest = sorted(manifests, key=lambda manifest: manifest.created, reverse=True)[:keep]
        named = {version for history in registry.histories(component).values() for version in history[:2]}
        stays = component == ADAPTER
        kept += [manifest for manifest in manifests if stays or manifest in newest or manifest.version in named]
    bases = [manifest for manifests in found.values() for manifest in manifests if manifest.digest in _bases(kept)]
    needed = _bases(kept) | {digest for manifest in (*kept, *bases) for digest in manifest.spaces.digests}
    return [
        manifest
        for manifests in found.values()
        for manifest in manifests
        if manifest not in kept and manifest.digest not in needed
    ]


def _bases(manifests: list[Manifest]) -> set[str]:
    """Return the digests of the versions that adapters were made for."""
    return {AdapterSettings.of(manifest).base for manifest in manifests if manifest.component == ADAPTER}


def _registry(given: argparse.Namespace) -> Registry:
    try:
        registry = Registry(given.models or models_folder())
    except ValueError as error:
        raise InvalidArgumentError("--models", given.models, "a folder or s3://bucket", message=str(error)) from None
    except ModuleNotFoundError as error:
        raise FailedPreconditionError(f"{error.name} is not installed: s3:// needs kino's extra s3") from None
    if not registry.name.startswith("s3://") and not registry.root.is_dir():
        raise InvalidArgumentError("--models", registry.name, "a folder that exists")
    return registry


@contextmanager
def _typed() -> Iterator[None]:
    """Turn what a registry raises into the errors that a command ends with."""
    try:
        yield
    except STORE_ERRORS as error:
        raise as_kino_error(error) from error


def _moved(given: argparse.Namespace, before: str | None, after: str) -> int:
    if given.json:
        print_json({"component": given.component, "alias": given.alias, "before": before, "version": after})
    else:
        was = f", was {before}" if before else ""
        print(f"{given.component}: {given.alias} is {after}{was}")
    return 0


def _told(parent: Parent) -> str:
    """Return a parent in one line, for example "dit/mini-2 (dit_mini_tuned) sha256 9939..."; empty for none."""
    name = f"{parent.component}/{parent.version}" if parent.version else f"{parent.component}, not published"
    return f"{name} ({parent.recipe}) sha256 {parent.digest}" if parent.component else ""


def _show_published(given: argparse.Namespace, registry: Registry) -> None:
    rows, judged = [], []
    for component in registry.components():
        aliases = registry.aliases(component)
        for manifest in registry.manifests(component):
            sizes = [registry.size_bytes(manifest, name) for name in manifest.digests if name.endswith(_WEIGHTS)]
            names = " ".join(alias for alias, named in aliases.items() if named == manifest.version)
            runtimes = ["torch", "onnx"] if GRAPH_FILE in manifest.digests else ["torch"]
            facts = (component, manifest.version, names, manifest.preset, manifest.digest, sum(sizes), runtimes)
            rows.append((*facts, manifest.judged))
            judged += [
                (subject, f"{component}/{manifest.version}", *_figures(figures))
                for subject, figures in manifest.judged.items()
            ]
    if given.json:
        columns = ("component", "version", "alias", "preset", "digest", "size_bytes", "runtimes", "judged")
        print_json([dict(zip(columns, row, strict=True)) for row in rows])
        return
    shown = [(*row[:4], row[4][:12], f"{row[5] / 1e6:.1f} MB", " ".join(row[6])) for row in rows]
    print_table(("component", "version", "alias", "preset", "digest", "weights", "runtimes"), shown)
    if judged:
        print()
        print_table(("judged", "made by", "count", "figures"), judged)


def _figures(figures: Mapping[str, float]) -> tuple[str, str]:
    """Return how many were judged, and what was found in one line, for example "colour 1, object 0.93"."""
    found = ", ".join(f"{name} {value:.3g}" for name, value in figures.items() if name != "count")
    return f"{figures['count']:g}" if "count" in figures else "", found


def _brought(manifest: Manifest) -> dict[str, str]:
    """Return what an imported version can do and consists of; nothing for one of ours."""
    if not is_published(manifest):
        return {}
    settings = Settings.of(manifest)
    parts = ", ".join(f"{part} ({kind})" for part, kind in settings.parts.items())
    return {"can": ", ".join(settings.abilities), "computes in": settings.dtype, "parts": parts}


def _limits(manifest: Manifest) -> Limits:
    """Return what a version may be asked for; nothing where its component is asked for nothing of the kind."""
    if is_published(manifest):
        settings = Settings.of(manifest)
        sampling = settings.sampling
        defaults = None if sampling is None else Defaults(sampling.steps, None, sampling.guidance)
        return Limits() if settings.clips is None else limits_of(settings.clips, defaults)
    limits = _MAKERS.get(manifest.component)
    return limits(manifest.preset) if limits and manifest.preset in VIDEO else Limits()


def _abilities(limits: Limits) -> str:
    """Return what a part accepts in one line, for example "frames 1 to 256, steps 1 to 1000"."""
    ranges = [
        f"{field.name.replace('_', ' ')} {value.minimum:g} to {value.maximum:g}"
        for field, value in limits.ListFields()
        if hasattr(value, "minimum")
    ]
    sizes = [f"{entry.aspect} {entry.size.width}x{entry.size.height}" for entry in limits.aspects]
    return ", ".join(ranges + sizes)
