"""Published pipelines become versions: read with suspicion, looked over tensor by tensor, stored once."""

import json
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from kino import parts
from kino.families import AUDIO, DIT, TAE, TOWERS, Settings
from kino.family_clips import Configs
from kino.manifest import Manifest, Spaces
from kino.pipelines import Part, Pipeline, read_pipeline
from kino.registry import Registry
from kino.versions import digest_of_file
from kino.weights import WeightsError

SIZES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a number by its type."""
READERS = ("image_processor", "feature_extractor")
"""Parts without weights that belong to image encoders."""


@dataclass(frozen=True)
class Imported:
    """What came of an import.

    Args:
        versions: what each component was published as, or was published as before.
        is_new: whether a component had to be copied.
        parameters: numbers of each component's networks.
    """

    pipeline: Pipeline
    name: str
    versions: Mapping[str, Manifest]
    is_new: Mapping[str, bool]
    parameters: Mapping[str, int]

    def weights_bytes(self, component: str, dtype: str) -> int:
        """Memory of a component's weights if all of them are of one type."""
        return self.parameters[component] * SIZES[dtype]


def import_pipeline(folder: Path, registry: Registry, name: str = "", dtype: str = "") -> Imported:
    """Publish the parts of a pipeline folder as versions of one name; what is there already becomes an alias.

    Args:
        name: of the versions; the folder's own if empty.
        dtype: type of numbers to compute in; as the weights are stored if empty.

    Raises:
        ValueError, kino.store.DamagedError: as `kino.pipelines.read_pipeline`; a tensor too may be missing, unexpected
            or of another shape than its config says.
        kino.registry.VersionExistsError: there is another version of the name.
    """
    pipeline = read_pipeline(folder)
    name = name or re.sub(r"[^a-z0-9._-]+", "-", folder.resolve().name.lower()).strip("-._")
    configs, parameters = _look_over(pipeline)
    row = pipeline.row
    versions: dict[str, Manifest] = {}
    is_new: dict[str, bool] = {}
    texts = {tower: entry.shape(configs) for tower, entry in row.towers.items() if entry.part in configs}
    clips, sampling = row.clips(configs), row.sampling(configs)
    sound = None if row.sound is None else row.sound(configs)
    spaces = Spaces()
    for component in (TOWERS, TAE, AUDIO, DIT):
        if component not in row.parts:
            continue
        members = _members(pipeline, component)
        settings = Settings({part.name: part.kind for part in members}, dtype or _stored(members))
        if component == TOWERS:
            settings = replace(settings, texts=texts, pipeline=pipeline.settings)
        elif component == TAE:
            settings = replace(settings, clips=clips)
        elif component == AUDIO:
            settings = replace(settings, sound=sound)
        else:
            digests = dict.fromkeys(texts, versions[TOWERS].digest)
            heard = versions[AUDIO].digest if AUDIO in versions else ""
            spaces = Spaces(latent=versions[TAE].digest, text=digests, sound=heard)
            settings = replace(settings, texts=texts, pipeline=pipeline.settings, clips=clips, sampling=sampling)
            settings = replace(settings, abilities=pipeline.abilities, sound=sound)
        count = sum(parameters[part.name] for part in members if part.name in parameters)
        manifest = Manifest(
            component=component,
            version=name,
            preset="",
            family=pipeline.family,
            config=settings.as_config(),
            spaces=spaces,
            metrics={"parameters": count},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        files = {name: path for part in members for name, path in part.files.items()}
        told = _card(pipeline, component), pipeline.licence_file
        versions[component], is_new[component] = publish_once(manifest, files, registry, *told)
    counts = {component: int(manifest.metrics["parameters"]) for component, manifest in versions.items()}
    return Imported(pipeline, name, versions, is_new, counts)


def _members(pipeline: Pipeline, component: str) -> list[Part]:
    """The parts of a pipeline that belong to a component: the scheduler to the transformers, what reads to encoders."""
    names = set(pipeline.row.parts[component])
    if component == DIT:
        names.add("scheduler")
    if component == TOWERS:
        names |= {name for name in pipeline.parts if name.startswith("tokenizer") or name in READERS}
    return [part for name, part in sorted(pipeline.parts.items()) if name in names]


def _stored(members: list[Part]) -> str:
    """The type that the largest network's weights are stored in."""
    return max((part for part in members if part.dtype), key=lambda part: part.num_bytes).dtype


def _look_over(pipeline: Pipeline) -> tuple[Configs, dict[str, int]]:
    """The complete settings of every network and its number of parameters, after a look at every tensor's shape."""
    configs: dict[str, Mapping[str, Any]] = {"pipeline": pipeline.settings}
    parameters = {}
    with tempfile.TemporaryDirectory(prefix="kino-import-") as scratch:
        for part in pipeline.parts.values():
            if part.name == "guider":
                configs[part.name] = json.loads(next(iter(part.files.values())).read_text(encoding="utf-8"))
            if not part.dtype:
                continue
            for name, path in part.files.items():
                link = Path(scratch) / name
                link.parent.mkdir(exist_ok=True)
                link.symlink_to(path)
            try:
                network = parts.outline(Path(scratch) / part.name, part.kind)
            except WeightsError as error:
                raise ValueError(str(error)) from error
            configs[part.name] = {**network.config} if isinstance(network.config, Mapping) else network.config.to_dict()
            parameters[part.name] = sum(parameter.numel() for parameter in network.parameters())
    return configs, parameters


def publish_once(
    manifest: Manifest, files: Mapping[str, Path], registry: Registry, card: str, licence: Path | None
) -> tuple[Manifest, bool]:
    """The version of these files, and whether it had to be copied; what is there already becomes an alias.

    Args:
        card: what people read of it; its files' digests are added.

    Raises:
        kino.registry.VersionExistsError: there is another version of the name.
    """
    expected = replace(manifest, digests={name: digest_of_file(path) for name, path in sorted(files.items())})
    component, name = manifest.component, manifest.version
    known = {version: registry.resolve(component, version) for version in registry.versions(component)}
    if name in known and known[name].digest == expected.digest:
        return known[name], False
    same = next((found for found in known.values() if found.digest == expected.digest), None)
    if name not in known and same is not None:
        registry.set_alias(component, name, same.version, registry.aliases(component).get(name))
        return same, False
    digests = "".join(f"- {name}: {digest}\n" for name, digest in expected.digests.items())
    with tempfile.TemporaryDirectory(prefix="kino-import-") as scratch:
        written = Path(scratch) / "card.md"
        written.write_text(f"{card}\n## SHA-256 of its files\n\n{digests}", encoding="utf-8")
        beside = {"card.md": written} if licence is None else {"card.md": written, "license.md": licence}
        return registry.publish(manifest, {**files, **beside}), True


def _card(pipeline: Pipeline, component: str) -> str:
    """Model card: what was taken."""
    lines = [
        f"# {component} of {pipeline.kind}, imported from a pipeline folder",
        "",
        f"- Can: {', '.join(pipeline.abilities)}",
        f"- Licence: {pipeline.licence or 'none was in the folder'}",
        "- Trained by others: their licence and their card hold",
    ]
    return "\n".join(lines) + "\n"
