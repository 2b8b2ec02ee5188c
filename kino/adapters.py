"""Adapters of low rank: changes of a model's linear layers, trained apart from it and kept beside it.

A layer x -> W x becomes x -> W x + weight * alpha / rank * B (A x + ...), with A [rank in] and B [out rank]; W itself
stays as it is. A version of the component "adapter" belongs to one version of a generator, by its digest.
Source: LoRA (arXiv 2106.09685).
"""

from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from kino.manifest import Manifest
from kino.registry import Registry

ADAPTER = "adapter"
"""The component that adapters are published as."""
FORMAT = "lora"
"""What the config of an adapter says under "format"."""


@dataclass(frozen=True)
class AdapterSettings:
    """What the config of an adapter says.

    Args:
        base: digest of the version that it was made for.
        part: which network of that version it changes: transformer, or transformer_2 where there are two experts.
        rank: the highest of its layers.
        layers: how many it changes.
        by_root: whether alpha is divided by the root of the rank (rsLoRA, arXiv 2312.03732) rather than by the rank.
    """

    base: str
    part: str
    rank: int
    layers: int
    by_root: bool

    def as_config(self) -> dict[str, Any]:
        """The config of a manifest."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """The settings that a manifest holds.

        Raises:
            ValueError: they are not those of an adapter.
        """
        given = dict(manifest.config)
        wanted = {field.name: field.type for field in fields(cls)}
        if given.pop("format", "") != FORMAT or {name: type(value) for name, value in given.items()} != wanted:
            raise ValueError(f"config of {manifest.component}/{manifest.version} is malformed, must be an adapter's")
        return cls(**given)


@dataclass(frozen=True)
class Chosen:
    """An adapter that a request names, and the factor of its change."""

    manifest: Manifest
    weight: float


def versions_for(registry: Registry, base: str) -> dict[str, Manifest]:
    """The adapters of a registry that were made for the version of this digest, by name and by alias."""
    found = {name: registry.resolve(ADAPTER, name) for name in registry.versions(ADAPTER)}
    found |= {alias: found[name] for alias, name in registry.aliases(ADAPTER).items() if name in found}
    return {name: manifest for name, manifest in sorted(found.items()) if AdapterSettings.of(manifest).base == base}
