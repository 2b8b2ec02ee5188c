"""Turns frames into normalised latents and back with the autoencoder of a published pipeline. Arrays in, arrays out."""

from collections.abc import Iterator

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from kino.devices import reserve
from kino.manifest import Manifest
from kino.parts import Parts, module
from kino.registry import Registry
from services.tae.engine import Frames, Latents, check_frames, check_latents
from services.tae.families.autoencoder import Autoencoder

MAX_CRF = 51
"""Highest constant rate factor of H.264."""


class PublishedTae:
    """A family's autoencoder on one device.

    Args:
        family: its autoencoder.
        device: as torch names it.
        tiled: whether pictures are computed in tiles.
    """

    runtime = "torch"

    def __init__(
        self,
        family: type[Autoencoder],
        manifest: Manifest,
        registry: Registry,
        device: str = "cpu",
        tiled: bool = False,
    ) -> None:
        self.manifest, self.device = manifest, torch.device(device)
        self.autoencoder = family(Parts(manifest, registry), self.device)
        if tiled:
            self.autoencoder.tile()
        self.clips = self.autoencoder.clips

    def encode(self, frames: Frames, clip_frames: int = 0, seed: int | None = None, crf: int = 0) -> Iterator[Latents]:
        """Check frames, and return the iterator over consecutive pieces of latents; see `Engine`.

        The last frame, of whatever kind, stands still for those that its latents stand for and the video lacks.
        """
        check_frames(frames, self.clips)
        num_frames, height, width, _ = frames.shape
        if clip_frames and not num_frames <= clip_frames <= self.clips.max_frames:
            bound = f"0, or from {num_frames} to {self.clips.max_frames}"
            raise ValueError(f"clip_frames is {clip_frames}, must be {bound}")
        if not 0 <= crf <= MAX_CRF:
            raise ValueError(f"crf is {crf}, must be from 0 to {MAX_CRF}")
        if crf and num_frames > 1:
            raise ValueError(f"crf is {crf}, must be left out for {num_frames} frames: it is for a picture")
        self._reserve(clip_frames or num_frames, height, width)
        return self._encode(frames, clip_frames or num_frames, seed, crf)

    def decode(self, latents: Latents, frames: int) -> Iterator[Frames]:
        """Check latents, and return the iterator over consecutive pieces of video; see `Engine`."""
        check_latents(latents, frames, self.clips)
        height, width = (side * self.clips.spatial for side in latents.shape[2:])
        self._reserve(frames, height, width)
        return self._decode(latents, frames)

    @torch.inference_mode()
    def _encode(self, frames: Frames, count: int, seed: int | None, crf: int) -> Iterator[Latents]:
        shown = compressed(frames[0], crf)[None] if crf else frames
        given = rearrange(torch.tensor(shown, device=self.device), "t h w c -> 1 c t h w")
        video = functional.pad(given / 255.0 * 2.0 - 1.0, (0, 0, 0, 0, 0, count - len(frames)))  # zero is grey
        _, most = self.clips.video_frames(self.clips.latent_frames(count))
        video = torch.cat([video, video[:, :, -1:].expand(-1, -1, most - count, -1, -1)], dim=2)
        generator = None if seed is None else torch.Generator().manual_seed(seed)
        latents = self.autoencoder.encode(video.to(self.autoencoder.dtype), generator)[0].float().cpu().numpy()
        if not np.isfinite(latents).all():
            raise FloatingPointError("the latents are not finite")
        yield latents

    @torch.inference_mode()
    def _decode(self, latents: Latents, frames: int) -> Iterator[Frames]:
        given = torch.tensor(latents, device=self.device)[None].to(self.autoencoder.dtype)
        left = frames
        for piece in self.autoencoder.decode(given):
            kept = piece[0, :, :left]
            left -= kept.shape[1]
            if kept.shape[1]:
                yield pixels(kept)

    def _reserve(self, frames: int, height: int, width: int) -> None:
        needed = self.autoencoder.needed_bytes(frames, height, width)
        reserve(needed, self.device, f"a clip of {frames} frames of {height}x{width} pixels")


def compressed(picture: Frames, crf: int) -> Frames:
    """A picture [h w 3] of even sides as it comes back from H.264, compressed as `diffusers` compresses pictures."""
    shown: Frames = module("pipelines.ltx2.utils").apply_image_conditioning_crf(picture, crf)
    return shown


def pixels(video: Tensor) -> Frames:
    """Frames uint8 [t h w 3] of a video [3 t h w] between -1 and 1, rounded as `diffusers` rounds pictures."""
    shades = (video * 0.5 + 0.5).clamp(0, 1).float() * 255
    return rearrange(shades.round().to(torch.uint8), "c t h w -> t h w c").cpu().numpy()
