"""`kino models import`: a pipeline folder becomes a model that every command takes by its name."""

import argparse
from pathlib import Path
from typing import Any

from kino import adapter_requests, bounds, cli_adapters
from kino.cli_view import print_facts, print_json, print_table
from kino.errors import STORE_ERRORS, FailedPreconditionError, InvalidArgumentError, as_kino_error
from kino.families import DTYPES, SERVICES, Settings, imported
from kino.family import IMAGE_TO_VIDEO, IMAGES
from kino.limits import Defaults, limits_of
from kino.manifest import Manifest
from kino.registry import Registry, VersionExistsError, models_folder
from kino.v1.graph_pb2 import GenerationSpec, ImageToVideo, TextToImage, TextToVideo


async def take(given: argparse.Namespace) -> int:
    """Publish the parts of a folder, and tell what they can do and take; or an adapter, where it is one."""
    if given.adapter:
        return await cli_adapters.take(given)
    if given.base is not None:
        raise InvalidArgumentError("--base", given.base, "left out without --adapter")
    if given.dtype and given.dtype not in DTYPES.values():
        raise InvalidArgumentError("--dtype", given.dtype, f"one of {', '.join(DTYPES.values())}")
    try:
        from kino.importing import SIZES, import_pipeline  # torch, and libraries that not everybody has
    except ModuleNotFoundError as error:
        raise FailedPreconditionError(f"{error.name} is not installed: it comes with kino's extra pipelines") from None
    try:
        made = import_pipeline(Path(given.folder), _registry(given.models), given.name, given.dtype)
    except VersionExistsError as error:
        raise InvalidArgumentError("--name", given.name, "a new name", message=str(error)) from error
    except STORE_ERRORS as error:
        raise as_kino_error(error) from error
    abilities = made.pipeline.abilities
    rows: list[dict[str, Any]] = [
        {
            "service": SERVICES[component],
            "version": f"{component}/{manifest.version}",
            "digest": manifest.digest,
            "dtype": Settings.of(manifest).dtype,
            "parameters": made.parameters[component],
            **{f"{dtype}_bytes": made.weights_bytes(component, dtype) for dtype in SIZES},
            "stored": "new" if made.is_new[component] else "there already",
        }
        for component, manifest in made.versions.items()
    ]
    facts = {"name": made.name, "family": made.pipeline.family, "can": ", ".join(abilities)}
    facts |= {"licence": made.pipeline.licence or "none in the folder"}
    command = "image" if abilities == (IMAGES,) else "film"
    begin = " --image PICTURE" if abilities == (IMAGE_TO_VIDEO,) else ""
    if given.json:
        print_json({**facts, "can": list(abilities), "parts": rows})
        return 0
    print_facts({**facts, "try": f"kino {command} --model {made.name}{begin} PROMPT"})
    columns = ("service", "version", "stored", "computes in", "parameters", "memory: float32", "bfloat16")
    shown = [
        (row["service"], row["version"], row["stored"], row["dtype"], f"{row['parameters']:,}",
         _told(row["float32_bytes"]), _told(row["bfloat16_bytes"]))
        for row in rows
    ]  # fmt: skip
    print_table(columns, shown)
    return 0


def check_model(spec: GenerationSpec, name: str, models: str | None) -> None:
    """Refuse an order that the services of an imported model would refuse, without asking them.

    Raises:
        InvalidArgumentError: there is no such model, or the order is no film or picture of a sentence or out of bounds.
    """
    kind = spec.WhichOneof("product") or ""
    product = getattr(spec, kind)
    if not isinstance(product, TextToVideo | TextToImage | ImageToVideo):
        raise InvalidArgumentError("--model", name, "left out where a film is of a person")
    manifest, settings = _imported(name, models)
    assert settings.clips is not None
    assert settings.sampling is not None
    defaults = Defaults(settings.sampling.steps, None, settings.sampling.guidance)
    limits = limits_of(settings.clips, defaults), limits_of(settings.clips)
    adapter_requests.choose(product.adapters, f"spec.{kind}.adapters", _registry(models), manifest)
    begins = IMAGE_TO_VIDEO in settings.abilities
    if isinstance(product, ImageToVideo):
        if not begins:
            raise InvalidArgumentError("--model", name, "a model that begins with a picture")
        bounds.check_animated(product, f"spec.{kind}", *limits)
    elif settings.abilities == (IMAGE_TO_VIDEO,):
        raise InvalidArgumentError("--image", "", "given: the model begins with a picture")
    else:
        bounds.check_made(product, f"spec.{kind}", *limits)


def services_of(name: str, models: str | None) -> tuple[str, ...]:
    """Return the services that an imported model is served by; raises `InvalidArgumentError` where there is none."""
    _, settings = _imported(name, models)
    return tuple(SERVICES[component] for component in settings.components)


def _imported(name: str, models: str | None) -> tuple[Manifest, Settings]:
    try:
        manifest = imported(name, _registry(models))
        return manifest, Settings.of(manifest)
    except STORE_ERRORS as error:
        raise InvalidArgumentError("--model", name, "an imported model", message=f"--model {name}: {error}") from None


def _registry(models: str | None) -> Registry:
    return Registry(models or models_folder())


def _told(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.2f} GB" if num_bytes >= 1e8 else f"{num_bytes / 1e6:.2f} MB"
