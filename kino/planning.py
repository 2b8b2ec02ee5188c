"""What a published model takes of memory and time, told from its settings before anything of it is loaded."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from kino import adopted, flops, parts, speed
from kino.devices import free_bytes
from kino.execution import Execution
from kino.families import AUDIO, FAMILIES, SERVICES, TAE, Settings, imported
from kino.manifest import Manifest
from kino.memory import sound_bytes, step_bytes, vae_bytes
from kino.placement import is_matrix
from kino.registry import Registry
from kino.shapes import Grid, frames_for_seconds
from kino.speed import Flops, Rates

_TEXTS = 2
"""Texts of a request: the prompt, and what guidance moves away from."""
_WEAKER = 2
"""Further passes of a guided step of transformers that make sound too: see `services/generator/families/ltx2.py`."""
_LAYERS = 5
"""Copies of the rows of all layers of a text encoder that live at once while they are connected with a transformer."""


@dataclass(frozen=True)
class Film:
    """What is to be made.

    Args:
        grid: latent extent of the clip.
        guidance: its scale; 1 is none, and half the work where it takes two texts.
        heard: times of the latents of its sound; 0 where it comes without.
        tiled: whether its pictures are decoded in tiles.
    """

    frames: int
    height: int
    width: int
    grid: Grid
    steps: int
    guidance: float
    heard: int = 0
    tiled: bool = False


@dataclass(frozen=True)
class Need:
    """What one service takes for a film.

    Args:
        weights: bytes on its device at once.
        host: bytes of weights that wait in the memory of the host.
        work: most bytes beside them on the device.
        flops: floating-point operations; what moves weights that wait is not among them.
    """

    service: str
    weights: int
    host: int
    work: int
    flops: Flops

    @property
    def device(self) -> int:
        """Bytes on the device in all."""
        return self.weights + self.work


@dataclass(frozen=True)
class Outline:
    """The networks of one component without their numbers, by part."""

    family: str
    settings: Settings
    networks: Mapping[str, Any]

    @classmethod
    def of(cls, manifest: Manifest, registry: Registry) -> "Outline":
        """The outline of a version, of whose files only the settings are read.

        Raises:
            kino.store.DamagedError: one is missing or altered.
        """
        settings = Settings.of(manifest)
        networks = {}
        for part, kind in settings.parts.items():
            if f"{part}/config.json" in manifest.digests:
                config = json.loads(registry.file(manifest, f"{part}/config.json").read_text(encoding="utf-8"))
                networks[part] = _empty(kind, config)
        return cls(manifest.family, settings, networks)

    def need(self, service: str, film: Film, execution: Execution, dtype: str = "") -> Need:
        """What a service takes.

        Args:
            dtype: of the numbers it computes in; the one it was imported for if empty.
        """
        kind = adopted.DTYPES[dtype or self.settings.dtype]
        work, operations = _WORK[service](self, film, kind)
        sizes = [weights_bytes(network, kind, execution.weights) for network in self.networks.values()]
        if execution.offload == "layers":
            leaves = [
                leaf for network in self.networks.values() for leaf in network.modules() if not [*leaf.children()]
            ]
            at_once = 2 * max(weights_bytes(leaf, kind, execution.weights) for leaf in leaves)
            return Need(service, at_once, sum(sizes), work, operations)  # the next layer comes while one computes
        if execution.offload == "networks":
            return Need(service, max(sizes), sum(sizes), work, operations)
        return Need(service, sum(sizes), 0, work, operations)


def weights_bytes(network: nn.Module, dtype: torch.dtype, weights: str = "") -> int:
    """Bytes of the weights of a network, its matrices in 8 bits with a scale for each row where that is asked for."""
    total, seen = 0, set()
    exact = getattr(network, "_keep_in_fp32_modules", None) or ()
    for name, module in network.named_modules():
        for parameter in module.parameters(recurse=False):
            if id(parameter) in seen:  # tied to another part's
                continue
            seen.add(id(parameter))
            itemsize = 4 if any(part in exact for part in name.split(".")) else dtype.itemsize
            small = weights and is_matrix(module, name, exact) and parameter.ndim == 2
            total += parameter.numel() + itemsize * len(parameter) if small else parameter.numel() * itemsize
    return total


def _generator(outline: Outline, film: Film, dtype: torch.dtype) -> tuple[int, Flops]:
    """Bytes of a step, and operations of all steps."""
    network, family = outline.networks["transformer"], FAMILIES[outline.family]
    rows = sum(rows for rows, _ in outline.settings.texts.values())
    embeds = bool(network.config.get("guidance_embeds")) or film.guidance == 1
    texts = 1 if embeds else _TEXTS
    batch = texts if family.batches_texts else 1
    passes = texts + (_WEAKER if film.heard and film.guidance != 1 else 0)
    timed = bool(outline.settings.pipeline.get(family.times_tokens))
    work = step_bytes(network.config, film.grid, batch, rows, dtype.itemsize, film.heard, times_tokens=timed)
    return work, flops.of_step(network, film.grid, rows, film.heard).times(film.steps * passes)


def _encoder(outline: Outline, film: Film, dtype: torch.dtype) -> tuple[int, Flops]:
    """Bytes of the widest text encoder, whose attention is computed with its matrix, and operations of both texts."""
    work, total = 0, Flops()
    shapes, towers = outline.settings.texts, FAMILIES[outline.family].towers
    read = {entry.part: shapes[name][0] + entry.around for name, entry in towers.items() if name in shapes}
    for part, network in outline.networks.items():
        rows = read.get(part) or max(read.values())
        if hasattr(network.config, "text_proj_in_factor"):  # what connects the rows of all layers with a transformer
            work = max(work, 4 * rows * _LAYERS * network.config.caption_channels * network.config.text_proj_in_factor)
        else:
            config = network.config.get_text_config() if hasattr(network.config, "get_text_config") else network.config
            if rows == 1:  # of a whole text
                rows = config.max_position_embeddings
            width, heads = config.hidden_size, config.num_attention_heads
            hidden = getattr(config, "d_ff", None) or config.intermediate_size
            work = max(work, 4 * rows * (8 * width + 2 * hidden + 3 * heads * rows))
        total += flops.of_text(network, rows).times(_TEXTS)
    return work, total


def _tae(outline: Outline, film: Film, dtype: torch.dtype) -> tuple[int, Flops]:
    """Bytes and operations of decoding."""
    network, clips = outline.networks["vae"], outline.settings.clips
    assert clips is not None
    work = vae_bytes(network, film.frames, film.height, film.width, dtype.itemsize, film.tiled)
    return work, flops.of_decoding(network, clips, film.grid, film.tiled)


def _audio(outline: Outline, film: Film, dtype: torch.dtype) -> tuple[int, Flops]:
    """Bytes and operations of decoding sound."""
    sound, (vae, vocoder) = outline.settings.sound, (outline.networks[part] for part in ("audio_vae", "vocoder"))
    assert sound is not None
    work = sound_bytes(vae.config, vocoder.config, film.heard, dtype.itemsize)
    return work, flops.of_sound(vae, vocoder, sound, film.heard)


_WORK = {"encoder": _encoder, "generator": _generator, "tae": _tae, "audio": _audio}


def _empty(kind: str, config: Mapping[str, Any]) -> Any:
    """A network of these settings without numbers."""
    with adopted.READING, torch.device("meta"):
        if parts.of_diffusers(kind):
            return parts.kind_of(kind).from_config(config)
        made = getattr(adopted.library(), kind)
        network = made(made.config_class(**config))
        network.tie_weights()
        return network


@dataclass(frozen=True)
class Plan:
    """What each service takes for a film, on a device of so much memory and speed."""

    film: Film
    needs: list[Need]
    device: str
    device_bytes: int
    rates: Rates


def make_plan(
    registry: Registry,
    name: str,
    *,
    seconds: float | None,
    size: tuple[int, int] | None,
    steps: int | None,
    dtype: str,
    execution: Execution,
    tiled: bool,
    device: str,
    device_bytes: int | None,
    rates: Rates | None,
) -> Plan:
    """The plan of a film of an imported model; what is None is the model's own, or what is measured of the device.

    Raises:
        ValueError: it makes no such film, or there is no such device.
        kino.store.NotFoundError, kino.store.DamagedError: the model is no imported one, or a file of it is not there.
    """
    settings = Settings.of(imported(name, registry))
    versions = {component: registry.resolve(component, name) for component in settings.components}
    assert settings.clips is not None
    assert settings.sampling is not None
    clips = settings.clips
    frames = clips.frames if seconds is None else frames_for_seconds(seconds, clips.fps)
    height, width = size or (clips.height, clips.width)
    guidance = 1.0 if settings.sampling.guidance is None else settings.sampling.guidance
    grid = clips.grid(frames, height, width)
    heard = 0 if settings.sound is None else settings.sound.shape(frames, clips.fps)[1]
    film = Film(
        frames, height, width, grid, settings.sampling.steps if steps is None else steps, guidance, heard, tiled
    )
    needs = [
        Outline.of(manifest, registry).need(
            SERVICES[component], film, Execution() if component in (TAE, AUDIO) else execution, dtype
        )
        for component, manifest in versions.items()
    ]
    free, rates = _measured(device, adopted.DTYPES[dtype or settings.dtype], device_bytes, rates)
    return Plan(film, needs, device, free, rates)


def _measured(device: str, dtype: torch.dtype, num_bytes: int | None, rates: Rates | None) -> tuple[int, Rates]:
    """Bytes that a device has left and its rates; what is given is not measured, and then the device may be away."""
    if num_bytes is not None and rates is not None:
        return num_bytes, rates
    try:
        place = torch.device(device)
        torch.empty(0, device=place)
    except (AssertionError, RuntimeError) as error:
        raise ValueError(f"device is {device!r}, must be one of this machine: {error}") from error
    free = free_bytes(place) if num_bytes is None else num_bytes
    return free, speed.measured(place, dtype) if rates is None else rates
