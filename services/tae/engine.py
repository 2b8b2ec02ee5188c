"""Turns frames into normalised latents and back, tile by tile in time. Arrays in, arrays out."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray

from kino.devices import reserve
from kino.exported import place
from kino.manifest import Manifest
from kino.models.tae import TAE
from kino.presets import Preset
from kino.registry import Registry
from kino.shapes import SPATIAL_COMPRESSION, TEMPORAL_COMPRESSION, Clips
from kino.weights import open_network

Frames = NDArray[np.uint8]
Latents = NDArray[np.float32]


class Engine(Protocol):
    """What the service needs of an engine, whatever family of models it holds."""

    @property
    def manifest(self) -> Manifest:
        """The version that is served."""

    @property
    def clips(self) -> Clips:
        """How its latents lie, and which clips it takes."""

    @property
    def runtime(self) -> str:
        """What computes."""

    def encode(self, frames: Frames, clip_frames: int = 0, seed: int | None = None, crf: int = 0) -> Iterator[Latents]:
        """Check frames uint8 [t h w 3], and return the iterator over consecutive pieces of latents, float32 [c t h w].

        Args:
            clip_frames: of the clip that they begin, grey after them; 0 for them alone.
            seed: draws the latents from what the frames may stand for; None for the likeliest ones.
            crf: constant rate factor of H.264 by which a single frame is compressed before, 1 to 51; 0 for not at all.

        Raises:
            ValueError: type, rank or size is wrong; field, value and bound are named.
            MemoryError: the device has no room for a tile of this size.
        """

    def decode(self, latents: Latents, frames: int) -> Iterator[Frames]:
        """Check latents float32 [c t h w], and return the iterator over consecutive pieces of video, uint8 [t h w 3].

        Args:
            frames: of the video, as many as the latent frames stand for, or fewer of the last of them.

        Raises:
            ValueError: type, shape or an element is wrong, or the frames do not fit; field, value and bound are named.
            MemoryError: the device has no room for a tile of this size.
        """


class TaeEngine:
    """A TAE on one device, in float32: bfloat16 would save a tenth of a second of a film and cost exactness.

    Args:
        preset: name of the row; one of random weights needs no registry.
        version: model version or alias in the registry.
        device: as torch names it.
        runtime: of the decoder, as in `kino.exported.place`; the encoder computes by torch.
    """

    def __init__(
        self, preset: str, version: str, registry: Registry, device: str = "cpu", runtime: str = "auto"
    ) -> None:
        self.device = torch.device(device)
        self.preset: Preset
        self.manifest, self.preset, self.network = open_network(
            "tae", preset, version, registry, lambda row: TAE(row.tae)
        )
        self.clips = self.preset.video.clips(self.preset.tae.latent_channels)
        self.runtime = place(self.network, self.manifest, registry, runtime, device)

    def encode(self, frames: Frames, clip_frames: int = 0, seed: int | None = None, crf: int = 0) -> Iterator[Latents]:
        """Check frames, and return the iterator over consecutive pieces of latents; see `Engine`."""
        check_frames(frames, self.clips)
        if clip_frames:
            raise ValueError(f"clip_frames is {clip_frames}, must be left out: this TAE encodes what is there")
        if seed is not None:
            raise ValueError(f"seed is {seed}, must be left out: the latents of this TAE are certain")
        if crf:
            raise ValueError(f"crf is {crf}, must be left out: this TAE encodes pictures as they are")
        self._reserve(*frames.shape[1:3])
        return self._encode(frames)

    def decode(self, latents: Latents, frames: int) -> Iterator[Frames]:
        """Check latents, and return the iterator over consecutive pieces of video; see `Engine`."""
        check_latents(latents, frames, self.clips)
        height, width = latents.shape[2:]
        self._reserve(height * SPATIAL_COMPRESSION, width * SPATIAL_COMPRESSION)
        return self._decode(latents, frames)

    @torch.inference_mode()
    def _encode(self, frames: Frames) -> Iterator[Latents]:
        video = rearrange(torch.tensor(frames, device=self.device), "t h w c -> 1 c t h w") / 127.5 - 1.0
        for piece in self.network.encode_tiled(video):
            yield _finite(piece[0].cpu().numpy())

    @torch.inference_mode()
    def _decode(self, latents: Latents, frames: int) -> Iterator[Frames]:
        for piece in self.network.decode_tiled(torch.tensor(latents, device=self.device)[None], frames):
            pixels = ((piece[0].clamp(-1, 1) + 1.0) * 127.5).round().to(torch.uint8)
            yield rearrange(pixels, "c t h w -> t h w c").cpu().numpy()

    def _reserve(self, height: int, width: int) -> None:
        """Check the room of one tile: ten activations at the widest point and the tile's frames."""
        config = self.preset.tae
        positions = config.tile_latent_frames * TEMPORAL_COMPRESSION * height * width
        patch = config.temporal_patch * config.spatial_patch**2
        num_bytes = 4 * positions * (10 * max(config.widths) // patch + 2 * 3)
        reserve(num_bytes, self.device, f"a tile of {height}x{width} pixels")


def _finite(latents: Latents) -> Latents:
    if not np.isfinite(latents).all():
        raise FloatingPointError("the latents are not finite")
    return latents


def check_frames(frames: Frames, clips: Clips) -> None:
    """Refuse frames of another type or rank, or out of the bounds; raises `ValueError`."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3:
        raise ValueError(f"frames is {frames.dtype} {list(frames.shape)}, must be uint8 [t h w 3]")
    num_frames, height, width, _ = frames.shape
    clips.grid(num_frames, height, width)


def check_latents(latents: Latents, frames: int, clips: Clips) -> None:
    """Refuse latents of another type or shape or not finite, or that stand for other frames; raises `ValueError`."""
    if latents.dtype != np.float32 or latents.ndim != 4 or latents.shape[0] != clips.channels:
        raise ValueError(f"latents is {latents.dtype} {list(latents.shape)}, must be float32 [{clips.channels} t h w]")
    if not np.isfinite(latents).all():
        raise ValueError("latents is partly NaN or infinite, must be finite")
    _, length, height, width = latents.shape
    clips.grid(frames, height * clips.spatial, width * clips.spatial)
    first, last = clips.video_frames(max(1, length))
    if not length or not first <= frames <= last:
        raise ValueError(f"frames is {frames}, must be from {first} to {last} for {length} latent frames")
