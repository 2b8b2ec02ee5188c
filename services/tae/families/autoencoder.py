"""What a family's autoencoder offers: video from latents and back, in the library's numbers."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from kino.memory import decode_bytes
from kino.parts import Parts
from kino.shapes import Clips


class Autoencoder(ABC):
    """The autoencoder of a published pipeline on one device.

    Latents [1 c t h w] are normalised at this border, videos [1 3 t h w] lie between -1 and 1.
    """

    frames_at_once: int | None = None
    """Video frames that are decoded at once at most; None where it is the whole clip."""

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

    def decode(self, latents: Tensor) -> Iterator[Tensor]:
        """Consecutive pieces of the video."""
        yield self.network.decode(self.denormalised(latents), return_dict=False)[0]

    def encode(self, video: Tensor, generator: torch.Generator | None) -> Tensor:
        """The likeliest latents of a video of as many frames as its latents stand for, or such as a generator draws."""
        return self.normalised(drawn(self.network.encode(video).latent_dist, generator))

    def needed_bytes(self, frames: int, height: int, width: int) -> int:
        """Most bytes that decoding holds at once beside the weights."""
        at_once = min(frames, self.frames_at_once or frames)
        return decode_bytes(self.network.config, at_once, height, width, self.dtype.itemsize)


class Scaled(Autoencoder):
    """Latents times one factor, moved by another where the settings have one."""

    def normalised(self, latents: Tensor) -> Tensor:
        config = self.network.config
        return (latents - float(config.get("shift_factor") or 0.0)) * float(config.scaling_factor)

    def denormalised(self, latents: Tensor) -> Tensor:
        config = self.network.config
        scaled = latents / float(config.scaling_factor)
        return scaled if config.get("shift_factor") is None else scaled + float(config.shift_factor)


def drawn(posterior: Any, generator: torch.Generator | None) -> Tensor:
    """What latents are likeliest, or such as a generator draws, in float32."""
    latents: Tensor = posterior.mode() if generator is None else posterior.sample(generator)
    return latents.float()


def by_channel(values: Any, like: Tensor) -> Tensor:
    """One number for each channel, shaped to go with latents [1 c t h w]."""
    return torch.as_tensor(values).view(1, -1, 1, 1, 1).to(like.device, like.dtype)
