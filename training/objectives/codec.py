"""Codec training: reconstruct the world's sounds through a small noisy code.

Sources: Movie Gen (arXiv 2410.13720), section 6.1; Descript audio codec (arXiv 2306.06546), section 3. Ours, with the
reason: spectra at several resolutions alone, without discriminators, which would cost more than the codec itself.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from kino.models.codec import Codec
from kino.presets import PRESETS
from kino.shapes import AUDIO_COMPRESSION
from training.data import SoundSet, open_pool
from training.objective import Batch

WINDOWS = (128, 512, 2048, 8192)
"""Samples of the spectra that are compared: 3 to 170 ms."""
FLOOR = 1e-3
"""Magnitude below which a spectrum counts as silent, some 60 dB under a loud tone."""


@dataclass(frozen=True)
class CodecSettings:
    """Data and loss weights of a codec recipe.

    Args:
        latents: length of a training excerpt; a second has 25.
    """

    preset: str
    sounds: SoundSet
    held_out: SoundSet
    batch: int = 16
    latents: int = 25
    wave_weight: float = 1.0
    kl_weight: float = 1e-4
    latent_noise: float = 0.1

    def build(self, runs: Path) -> "CodecObjective":
        """Compute or open the sounds and make the model."""
        return CodecObjective(self, runs)


class CodecObjective:
    """Reconstruction of the world's sounds."""

    def __init__(self, settings: CodecSettings, runs: Path) -> None:
        self.settings = settings
        self.sounds = open_pool(settings.sounds, runs / "sounds")
        self.held_out = open_pool(settings.held_out, runs / "sounds")
        self.model: nn.Module = Codec(PRESETS[settings.preset].codec)

    def batch(self, generator: torch.Generator) -> Batch:
        """Random excerpts of random sounds."""
        settings, length = self.settings, self.settings.latents * AUDIO_COMPRESSION
        indices = torch.randint(len(self.sounds), (settings.batch,), generator=generator).tolist()
        starts = torch.randint(self.sounds.shape[1] - length + 1, (settings.batch,), generator=generator).tolist()
        excerpts = [self.sounds[index, start : start + length] for index, start in zip(indices, starts, strict=True)]
        return {"sound": to_float(np.stack(excerpts))}

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Distance of spectra at every resolution, L1 of the wave, KL to the unit normal."""
        settings, model = self.settings, self.model
        assert isinstance(model, Codec)
        sound = batch["sound"].to(model.latent_mean.device)
        posterior = model.posterior(sound)
        deviation = (0.5 * posterior.log_variance).exp()
        noise = torch.randn(posterior.mean.shape, generator=generator).to(sound.device)
        extra = torch.randn(posterior.mean.shape, generator=generator).to(sound.device)
        output = model.decode_raw(posterior.mean + deviation * noise + settings.latent_noise * extra).float()
        spectral = spectral_distance(output, sound)
        wave = (output - sound).abs().mean()
        kl = 0.5 * (posterior.mean**2 + deviation**2 - 1 - posterior.log_variance).mean()
        total = spectral + settings.wave_weight * wave + settings.kl_weight * kl
        return {"loss": total, "spectral": spectral, "wave": wave, "kl": kl}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Spectral distance and signal-to-distortion ratio in dB of held-out sounds, coded whole."""
        assert isinstance(model, Codec)
        sound = to_float(self.held_out[:16]).to(model.latent_mean.device)
        output = model.decode(model.encode(sound), sound.shape[1]).float()
        distortion = ((output - sound) ** 2).mean(dim=-1).clamp_min(1e-12)
        ratio = 10 * torch.log10((sound**2).mean(dim=-1) / distortion)
        return {"held_out_spectral": float(spectral_distance(output, sound)), "held_out_sdr": float(ratio.mean())}

    def sample(self, model: nn.Module, path: Path) -> None:
        """Spectrograms of four held-out sounds: original above reconstruction."""
        assert isinstance(model, Codec)
        sound = to_float(self.held_out[:4]).to(model.latent_mean.device)
        output = model.decode(model.encode(sound), sound.shape[1]).float()
        shown = torch.stack([magnitudes(part, 2048).log10() for part in (sound, output)], dim=1)
        pixels = ((shown + 3) / 5 * 255).clamp(0, 255).flip(-2)[..., ::2, :]
        Image.fromarray(pixels.reshape(-1, pixels.shape[-1]).byte().cpu().numpy()).save(path)


def to_float(samples: NDArray[np.int16]) -> Tensor:
    """16 bit samples as floats in [-1, 1]."""
    return torch.from_numpy(samples.astype(np.float32)) / 32767


def magnitudes(sound: Tensor, window: int) -> Tensor:
    """Magnitudes [b, f, t] of a sound's short-time spectra, at least `FLOOR`; a quarter of the window apart."""
    hann = torch.hann_window(window, device=sound.device)
    spectra = torch.stft(sound, window, window // 4, window=hann, return_complex=True, pad_mode="constant")
    return spectra.abs().clamp_min(FLOOR)


def spectral_distance(output: Tensor, target: Tensor) -> Tensor:
    """Mean over `WINDOWS` of the relative error of magnitudes and the mean distance of their logarithms.

    Source: Parallel WaveGAN (arXiv 1910.11480), section 2.2.
    """
    total = output.new_zeros(())
    for window in WINDOWS:
        found, wanted = magnitudes(output, window), magnitudes(target, window)
        total = total + (found - wanted).norm() / wanted.norm() + F.l1_loss(found.log(), wanted.log())
    return total / len(WINDOWS)


@torch.inference_mode()
def set_codec_statistics(codec: Codec, sounds: Tensor) -> None:
    """Measure mean and deviation of each raw latent channel on sounds [b, n], so that latents leave normalised."""
    means = torch.cat([codec.posterior(part).mean for part in sounds.split(8)])
    codec.latent_mean.copy_(means.mean(dim=(0, 2))[:, None])
    codec.latent_std.copy_(means.std(dim=(0, 2))[:, None].clamp_min(1e-3))
