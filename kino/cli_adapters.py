"""`--adapter` of the commands that make films, and `kino models import --adapter`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from kino.cli_view import print_facts, print_json
from kino.errors import STORE_ERRORS, FailedPreconditionError, InvalidArgumentError, as_kino_error
from kino.registry import Registry, VersionExistsError, models_folder


def weights_of(given: Sequence[str]) -> dict[str, float]:
    """Return the weight of each adapter of a command by its name, from texts of the form NAME[:WEIGHT]."""
    weights: dict[str, float] = {}
    for text in given:
        name, separator, weight = text.partition(":")
        if name in weights:
            raise InvalidArgumentError("--adapter", name, "there once")
        try:
            weights[name] = float(weight) if separator else 1.0
        except ValueError:
            raise InvalidArgumentError("--adapter", text, "of the form NAME or NAME:WEIGHT") from None
    return weights


async def take(given: argparse.Namespace) -> int:
    """Publish an adapter, and tell what it changes."""
    if given.base is None:
        raise InvalidArgumentError("--base", "", "given: the imported model that the adapter was trained on")
    if given.dtype:
        raise InvalidArgumentError("--dtype", given.dtype, "left out: an adapter computes as its model does")
    try:
        from kino.adapter_import import import_adapter  # torch, and libraries that not everybody has
    except ModuleNotFoundError as error:
        raise FailedPreconditionError(f"{error.name} is not installed: it comes with kino's extra pipelines") from None
    registry = Registry(given.models or models_folder())
    try:
        made = import_adapter(Path(given.folder), registry, given.base, given.name, given.part)
    except VersionExistsError as error:
        raise InvalidArgumentError("--name", given.name, "a new name", message=str(error)) from error
    except STORE_ERRORS as error:
        raise as_kino_error(error) from error
    config, count = made.manifest.config, int(made.manifest.metrics["parameters"])
    facts = {"name": made.name, "model": made.base.version, "part": config["part"], "digest": made.manifest.digest}
    facts |= {"rank": config["rank"], "layers": config["layers"], "parameters": count}
    facts |= {"stored": "new" if made.is_new else "there already", "licence": made.licence or "none in the folder"}
    if given.json:
        print_json(facts)
        return 0
    command = f"kino film --model {given.base} --adapter {made.name} PROMPT"
    told = {name: f"{value:,}" if isinstance(value, int) else value for name, value in facts.items()}
    print_facts({**told, "try": command})
    return 0
