"""Adapters of others become versions: looked over against their base tensor by tensor, stored once in one layout."""

import re
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import safetensors.torch
import torch
from torch import Tensor, nn

from kino import adapter_files, parts, weights
from kino.adapter_files import Base, Low
from kino.adapters import ADAPTER, AdapterSettings
from kino.families import DIT, FAMILIES, Settings, is_published
from kino.importing import publish_once
from kino.manifest import Manifest
from kino.models.dit import DiT
from kino.presets import PRESETS
from kino.registry import WEIGHTS_FILE, Registry
from kino.weights import WeightsError

TRANSFORMER = "transformer"


@dataclass(frozen=True)
class ImportedAdapter:
    """What came of an import: the version, whether it had to be stored, the licence's name or an empty one."""

    name: str
    manifest: Manifest
    base: Manifest
    is_new: bool
    licence: str


def import_adapter(
    path: Path, registry: Registry, base: str, name: str = "", part: str = TRANSFORMER
) -> ImportedAdapter:
    """Publish an adapter for one version of a generator; one that is there already becomes an alias.

    Args:
        path: its safetensors file, or a folder with one.
        base: the version or alias that it was trained on.
        name: of the version; the folder's or the file's own if empty.
        part: the network that it changes, transformer_2 for the second of two experts.

    Raises:
        ValueError: it is no LoRA of linear layers of that network; see `kino.adapter_files`.
        kino.store.NotFoundError: there is no such base.
        kino.store.DamagedError: a safetensors file is broken.
        kino.registry.VersionExistsError: there is another version of the name.
    """
    manifest = weights.find(DIT, base, registry)
    network = _base(manifest, registry, part)
    file = adapter_files.find(path)
    try:
        changes, by_root = adapter_files.read(file, network)
    except WeightsError as error:
        raise ValueError(str(error)) from error
    name = name or re.sub(r"[^a-z0-9._-]+", "-", path.resolve().stem.lower()).strip("-._")
    rank = max(len(low.down) for low in changes.values())
    settings = AdapterSettings(manifest.digest, part, rank, len(changes), by_root)
    licence, licence_file = file.folder.licence()
    tensors = _tensors(changes)
    made = Manifest(
        component=ADAPTER,
        version=name,
        preset=manifest.preset,
        family=manifest.family,
        config=settings.as_config(),
        metrics={"parameters": sum(tensor.numel() for tensor in tensors.values())},
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    card = _card(settings, manifest, file.name, licence)
    with tempfile.TemporaryDirectory(prefix="kino-import-") as scratch:
        written = Path(scratch) / WEIGHTS_FILE
        safetensors.torch.save_file(tensors, written)
        version, is_new = publish_once(made, {WEIGHTS_FILE: written}, registry, card, licence_file)
    return ImportedAdapter(name, version, manifest, is_new, licence)


def _base(manifest: Manifest, registry: Registry, part: str) -> Base:
    """The linear layers of a version's network, without its numbers."""
    pipeline = ""
    known: tuple[str, ...] = (TRANSFORMER,)
    if is_published(manifest):
        settings = Settings.of(manifest)
        pipeline = next(iter(FAMILIES[manifest.family].pipelines))
        known = tuple(name for name in sorted(settings.parts) if name.startswith(TRANSFORMER))
    if part not in known:
        raise ValueError(f"part is {part!r}, must be one of {', '.join(known)} of {manifest.version}")
    if is_published(manifest):
        folder = registry.file(manifest, f"{part}/config.json").parent
        network: nn.Module = parts.blank(folder, settings.parts[part])
    else:
        with torch.device("meta"):
            network = DiT(PRESETS[manifest.preset].dit)
    layers = {
        name: (layer.in_features, layer.out_features)
        for name, layer in network.named_modules()
        if isinstance(layer, nn.Linear)
    }
    return Base(manifest.version, part, layers, pipeline)


def _tensors(changes: dict[str, Low]) -> dict[str, Tensor]:
    """What the file of a version holds."""
    tensors = {}
    for layer, low in changes.items():
        tensors[f"{layer}.lora_A.weight"] = low.down.contiguous()
        tensors[f"{layer}.lora_B.weight"] = low.up.clone(memory_format=torch.contiguous_format)
        tensors[f"{layer}.alpha"] = torch.tensor(low.alpha, dtype=torch.float64)
        if low.bias is not None:
            tensors[f"{layer}.lora_B.bias"] = low.bias.contiguous()
    return {name: tensor.clone() for name, tensor in sorted(tensors.items())}


def _card(settings: AdapterSettings, base: Manifest, file: str, licence: str) -> str:
    """Model card: what was taken."""
    lines = [
        f"# LoRA adapter of {settings.part} of {base.component}/{base.version}, imported from {file}",
        "",
        f"- Base: {settings.base}",
        f"- Rank: at most {settings.rank}, of {settings.layers} layers",
        f"- Licence: {licence or 'none was in the folder'}",
        "- Trained by others: their licence and their card hold",
    ]
    return "\n".join(lines) + "\n"
