"""What LTX-2 decodes the sound of its videos by: an autoencoder of mel spectrograms, and a vocoder."""

from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from kino.memory import sound_bytes
from kino.parts import Parts


class Ltx2:
    """Both networks on one device; latents [1 c t m] are normalised at this border."""

    def __init__(self, parts: Parts, device: torch.device) -> None:
        self.autoencoder: Any = parts.placed("audio_vae", device)
        self.vocoder: Any = parts.placed("vocoder", device)

    @property
    def sample_rate(self) -> int:
        """Samples per second that it makes."""
        rate: int = self.vocoder.config.output_sampling_rate
        return rate

    def needed_bytes(self, times: int) -> int:
        """Most bytes that decoding so many times holds at once beside the weights."""
        return sound_bytes(self.autoencoder.config, self.vocoder.config, times, self.autoencoder.dtype.itemsize)

    def spectrogram(self, latents: Tensor) -> Tensor:
        """The mel spectrograms [1 c t m] of the channels."""
        network = self.autoencoder
        mean, deviation = (value.to(latents) for value in (network.latents_mean, network.latents_std))
        given = rearrange(latents, "b c t m -> b t (c m)") * deviation + mean
        given = rearrange(given, "b t (c m) -> b c t m", c=latents.shape[1])
        mel: Tensor = network.decode(given.to(network.dtype), return_dict=False)[0]
        return mel

    def sound(self, spectrogram: Tensor) -> Tensor:
        """What mel spectrograms stand for, [1 c n]."""
        made: Tensor = self.vocoder(spectrogram)
        return made
