"""Turns the latents that a published generator makes of the sound of its video into that sound. Arrays in and out."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from kino.denoising import check_floats
from kino.devices import reserve
from kino.manifest import Manifest
from kino.parts import Parts
from kino.registry import Registry
from kino.sound import at_sample_rate, fitted
from services.audio.engine import Made, Stage
from services.audio.families.ltx2 import Ltx2
from services.audio.gate import measured


class PublishedSound:
    """A family's decoder of sound on one device.

    Args:
        family: what decodes.
        device: as torch names it.
    """

    def __init__(self, family: type[Ltx2], manifest: Manifest, registry: Registry, device: str = "cpu") -> None:
        parts = Parts(manifest, registry)
        assert parts.settings.sound is not None
        self.manifest, self.sound, self.device = manifest, parts.settings.sound, torch.device(device)
        self.decoder, self.runtime = family(parts, self.device), "torch"

    def decode(self, latents: NDArray[np.float32], samples: int) -> Iterator[Stage]:
        """Check latents [c t m], and return the iterator that does one piece of the work for each item.

        The last one has the sound [c n], as loud as the model made it: cut off after so many samples at 48 kHz, or
        silent where it ends before.

        Raises:
            ValueError: latents of another type or shape, or that are not finite.
            MemoryError: the device has no room for them.
        """
        times = latents.shape[1] if latents.ndim == 3 else 0
        check_floats("sound_latents", latents, (self.sound.channels, max(1, times), self.sound.bands))
        reserve(self.decoder.needed_bytes(times), self.device, f"a sound of {times} latents")
        return self._decode(latents, samples)

    @torch.inference_mode()
    def _decode(self, latents: NDArray[np.float32], samples: int) -> Iterator[Stage]:
        spectrogram = self.decoder.spectrogram(torch.from_numpy(latents).to(self.device)[None])
        yield Stage(1, 2)
        sound = self.decoder.sound(spectrogram)[0].float().cpu().numpy()
        whole = np.concatenate(list(fitted([at_sample_rate(sound, self.decoder.sample_rate)], samples)), axis=1)
        yield Stage(2, 2, Made(whole, measured(whole)))
