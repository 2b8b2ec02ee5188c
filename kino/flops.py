"""Floating-point operations of a published model's networks, told from their layers without their numbers."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from kino.memory import frames_at_once, tile_sides, tokens
from kino.shapes import Clips, Grid, SoundLatents
from kino.speed import Flops

_ONCE = ("norm", "time", "scale_shift", "gate", "guidance")
"""Words in the names of layers of a transformer that go over a single row."""
_TEXT = ("add_", "context", "caption", "text", "image_embed", "attn2.to_k", "attn2.to_v")
"""Words in the names of layers of a transformer that go over the rows of the text."""
_QUERIES = ("q", "q_proj", "to_q")
"""Names of the layers that make the queries of an attention."""
_UNUSED = ("decoder.", "lm_head")
"""Beginnings of the names of layers beside those by which a text is encoded."""
_SIDE = 8
"""Latent cells along a side of the clip, or times of the sound, on which a decoder's operations are counted."""
_COUNTED = (1, 3)
"""Latent frames of the small clips; odd, because some autoencoders take two at a time after the first, and few enough
for none to decode them in tiles of time."""


def of_step(network: Any, extent: Grid, rows: int, heard: int = 0) -> Flops:
    """Operations of one text's pass through a transformer.

    Args:
        rows: of the text.
        heard: tokens of the sound beside the clip, whose attention is left out.
    """
    length, total, beside = tokens(network.config, extent), Flops(), _layers(network)
    for name, child in network.named_children():
        for index, block in enumerate(child if isinstance(child, nn.ModuleList) else ()):
            inner = {layer: beside.pop(f"{name}.{index}.{layer}") for layer in _layers(block)}
            total += _of_block(inner, length, rows, heard)
    refined = sum(layer.out_features for name, layer in _queries(beside).items() if not _says(name, _ONCE))
    return total + _of_layers(beside, length, rows) + Flops(attention=4 * rows**2 * refined)


def _of_block(layers: Mapping[str, nn.Module], length: int, rows: int, heard: int) -> Flops:
    """Operations of a block, which reads the text by an attention of its own, beside the clip, or in a row with it."""
    asks = any("attn2" in name for name in layers)
    is_row = not any(_says(name, _TEXT) for name in layers)
    seen = {name: layer for name, layer in layers.items() if not name.startswith("audio")}
    total = _of_layers(seen, length + rows if is_row else length, rows)
    total += Flops(2 * heard * sum(_size(layer) for name, layer in layers.items() if name not in seen))
    for name, layer in _queries(seen).items():
        if "audio" not in name and not _says(name, _TEXT):
            pairs = length * (rows if "attn2" in name else length) if asks else (length + rows) ** 2
            total += Flops(attention=4 * pairs * layer.out_features)
    return total


def _of_layers(layers: Mapping[str, nn.Module], length: int, rows: int) -> Flops:
    """Operations of layers, each over so many rows of the text or else over the whole length."""
    over = {name: rows if _says(name, _TEXT) else length for name in layers if not _says(name, _ONCE)}
    return Flops(sum(2 * count * _size(layers[name]) for name, count in over.items()))


def of_text(network: nn.Module, rows: int) -> Flops:
    """Operations of so many rows in an encoder of texts or pictures, or in what connects one with a transformer."""
    layers = {name: layer for name, layer in _layers(network).items() if not name.startswith(_UNUSED)}
    pairs = 4 * rows**2 * sum(layer.out_features for layer in _queries(layers).values())
    return Flops(2 * rows * sum(_size(layer) for layer in layers.values()), pairs)


def of_decoding(vae: Any, clips: Clips, extent: Grid, tiled: bool) -> Flops:
    """Operations of decoding a clip, from those of small ones that are counted.

    Every latent frame after the first adds the same; they grow with the cells of a frame, in attention with the square.
    """
    given = {"temb": torch.zeros(1, device="meta")} if vae.config.get("timestep_conditioning") else {}

    def decode(times: int) -> Flops:
        latents = torch.zeros(1, clips.channels, times, _SIDE, _SIDE, device="meta")
        return _counted(lambda: vae.decode(latents[:, :, 0] if clips.max_frames == 1 else latents, **given))

    if clips.max_frames == 1:
        total = decode(1)
    else:
        short, long = (decode(times) for times in _COUNTED)
        pieces = _pieces(vae, extent.t, tiled)
        more = sum(piece - _COUNTED[0] for piece in pieces) / (_COUNTED[1] - _COUNTED[0])
        total = short.times(len(pieces) - more) + long.times(more)
    height, width = (side // clips.spatial for side in tile_sides(vae)) if tiled else (extent.h, extent.w)
    again = 1.0
    if extent.h > height or extent.w > width:
        again = _again(vae, "height", extent.h, height) * _again(vae, "width", extent.w, width)
    cells = extent.h * extent.w * again / _SIDE**2
    at_once = min(extent.h, height) * min(extent.w, width) / _SIDE**2
    return Flops(total.products, 0, total.convolutions).times(cells) + Flops(0, total.attention).times(cells * at_once)


def of_sound(vae: Any, vocoder: Any, sound: SoundLatents, times: int) -> Flops:
    """Operations of making sound of so many times of latents, from those of a short one that are counted."""
    latents = torch.zeros(1, sound.channels, _SIDE, sound.bands, device="meta")
    return _counted(lambda: vocoder(vae.decode(latents).sample)).times(times / _SIDE)


def _pieces(vae: Any, times: int, tiled: bool) -> list[int]:
    """Latent frames of the tiles of time, which overlap, or of the whole clip."""
    most = frames_at_once(vae, tiled)
    stride = getattr(vae, "tile_sample_stride_num_frames", 0)
    if most is None or not stride or times < most // vae.temporal_compression_ratio:
        return [times]
    ratio = vae.temporal_compression_ratio
    return [min(most // ratio, times - start) for start in range(0, times, stride // ratio)]


def _again(vae: Any, axis: str, cells: int, tile: int) -> float:
    """How often a cell along an axis is decoded, in tiles of so many that overlap."""
    stride = getattr(vae, f"tile_sample_stride_{axis}", 0) * tile // getattr(vae, f"tile_sample_min_{axis}", 1)
    if not stride:
        overlap = getattr(vae, f"tile_overlap_factor_{axis}", getattr(vae, "tile_overlap_factor", 0.0))
        stride = int(tile * (1 - overlap))
    return sum(min(tile, cells - start) for start in range(0, cells, stride)) / cells


def _counted(run: Callable[[], object]) -> Flops:
    """Operations of a computation without numbers."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        run()
    attention = convolutions = 0
    counts = counter.get_flop_counts().get("Global", {})
    for operation, count in counts.items():
        attention += count if "bmm" in str(operation) or "attention" in str(operation) else 0
        convolutions += count if "conv" in str(operation) else 0
    return Flops(counter.get_total_flops() - attention - convolutions, attention, convolutions)


def _layers(network: nn.Module) -> dict[str, nn.Module]:
    """Layers that are products of matrices, by name; those that make patches are convolutions in name alone."""
    kinds = (nn.Linear, nn.Conv2d, nn.Conv3d)
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, kinds)}


def _queries(layers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: layer for name, layer in layers.items() if name.rpartition(".")[2] in _QUERIES}


def _says(name: str, words: tuple[str, ...]) -> bool:
    return any(word in name for word in words)


def _size(layer: Any) -> int:
    """Numbers of the matrix of a layer."""
    count: int = layer.weight.numel()
    return count
