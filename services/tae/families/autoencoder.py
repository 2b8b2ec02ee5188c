"""What a family's autoencoder offers: video from latents and back, in the library's numbers."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from kino.memory import frames_at_once, vae_bytes
from kino.parts import Parts
from kino.shapes import Clips


class Autoencoder(ABC):
    """The autoencoder of a published pipeline on one device.

    Latents [1 c t h w] are normalised at this border, videos [1 3 t h w] lie between -1 and 1.
    """

    is_tiled = False
    """Whether pictures are computed in tiles that overlap and are blended."""

    def __init__(self, parts: Parts, device: torch.device) -> None:
        assert parts.settings.clips is not None
        self.clips: Clips = parts.settings.clips
        self.network: Any = parts.placed("vae", device)

    @property
    def dtype(self) -> torch.dtype:
        """Type of the numbers that the network takes."""
        dtype: torch.dtype = self.network.dtype
        return dtype

    @abstractmethod
    def normalised(self, latents: Tensor) -> Tensor:
        """Latents as the transformer was trained on them."""

    @abstractmethod
    def denormalised(self, latents: Tensor) -> Tensor:
        """Latents as the network takes them."""

    @property
    def frames_at_once(self) -> int | None:
        """Video frames that are decoded at once at most; None where it is the whole clip."""
        return frames_at_once(self.network, self.is_tiled)

    def tile(self) -> None:
        """Compute in tiles from now on, as the library does it: in less memory, near to the whole but not it."""
        self.is_tiled = True
        self.network.enable_tiling()

    def decode(self, latents: Tensor) -> Iterator[Tensor]:
        """Consecutive pieces of the video."""
        yield self.network.decode(self.denormalised(latents), return_dict=False)[0]

    def encode(self, video: Tensor, generator: torch.Generator | None) -> Tensor:
        """The likeliest latents of a video of as many frames as its latents stand for, or such as a generator draws."""
        return self.normalised(drawn(self.network.encode(video).latent_dist, generator))

    def needed_bytes(self, frames: int, height: int, width: int) -> int:
        """Most bytes that decoding holds at once beside the weights."""
        return vae_bytes(self.network, frames, height, width, self.dtype.itemsize, self.is_tiled)


class Scaled(Autoencoder):
    """Latents times one factor, moved by another where the settings have one."""

    def normalised(self, latents: Tensor) -> Tensor:
        config = self.network.config
        return (latents - float(config.get("shift_factor") or 0.0)) * float(config.scaling_factor)

    def denormalised(self, latents: Tensor) -> Tensor:
        config = self.network.config
        scaled = latents / float(config.scaling_factor)
        return scaled if config.get("shift_factor") is None else scaled + float(config.shift_factor)


class Overlapping(Autoencoder):
    """Where the library decodes long clips in tiles of time, each of them blended into the one before."""

    @abstractmethod
    def decode_tile(self, latents: Tensor, is_first: bool) -> Tensor:
        """The frames of a tile, without the one that every tile but the first has over."""

    def decode_overlapping(self, latents: Tensor) -> Iterator[Tensor]:
        """Consecutive pieces of the video of denormalised latents."""
        network, ratio = self.network, self.network.temporal_compression_ratio
        most, stride = network.tile_sample_min_num_frames, network.tile_sample_stride_num_frames
        left = (latents.shape[2] - 1) * ratio + 1
        before: Tensor | None = None
        for start in range(0, latents.shape[2], stride // ratio):
            made = self.decode_tile(latents[:, :, start : start + most // ratio + 1], start == 0)
            if before is not None:
                made = network.blend_t(before, made, most - stride)
            piece = made[:, :, : min(left, stride + (before is None))]
            before, left = made, left - piece.shape[2]
            yield piece

    def is_wide(self, latents: Tensor) -> bool:
        """Whether the pictures of latents are computed in tiles."""
        network, (height, width) = self.network, latents.shape[3:]
        sides = network.tile_sample_min_height, network.tile_sample_min_width
        return self.is_tiled and any(
            side > most // network.spatial_compression_ratio for side, most in zip((height, width), sides, strict=True)
        )


def drawn(posterior: Any, generator: torch.Generator | None) -> Tensor:
    """What latents are likeliest, or such as a generator draws, in float32."""
    latents: Tensor = posterior.mode() if generator is None else posterior.sample(generator)
    return latents.float()


def by_channel(values: Any, like: Tensor) -> Tensor:
    """One number for each channel, shaped to go with latents [1 c t h w]."""
    return torch.as_tensor(values).view(1, -1, 1, 1, 1).to(like.device, like.dtype)
