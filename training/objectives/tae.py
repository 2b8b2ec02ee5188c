"""TAE training: reconstruct clips and single frames through a small noisy code. Source: Movie Gen, section 3.1.1."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from PIL import Image
from torch import Tensor, nn

from kino.models.tae import TAE
from kino.presets import PRESETS
from training.data import ClipSet, open_pool, to_pixels, to_signed
from training.objective import Batch


@dataclass(frozen=True)
class TaeSettings:
    """Data and loss weights of a TAE recipe.

    Args:
        frames_per_batch: pixels of a batch, counted in frames; lengths share it, so every step costs alike.
        lengths: clip lengths and how often each is drawn. Movie Gen trains on images and videos 1 : 3.
        saturated_weight: extra weight of a fully saturated pixel; the world's objects are saturated, its places pastel.
        outlier_weight, outlier_deviations: the paper's penalty on latents of high norm, and its r.
    """

    preset: str
    clips: ClipSet
    held_out: ClipSet
    frames_per_batch: int = 128
    lengths: tuple[tuple[int, float], ...] = ((1, 0.2), (16, 0.5), (32, 0.3))
    gradient_weight: float = 0.5
    kl_weight: float = 3e-4
    latent_noise: float = 0.1
    saturated_weight: float = 2.0
    outlier_weight: float = 0.0
    outlier_deviations: float = 3.0

    def build(self, runs: Path) -> "TaeObjective":
        """Render or open the clips and make the model."""
        return TaeObjective(self, runs)


class TaeObjective:
    """Reconstruction of world clips."""

    def __init__(self, settings: TaeSettings, runs: Path) -> None:
        self.settings = settings
        self.clips = open_pool(settings.clips, runs / "clips")
        self.held_out = open_pool(settings.held_out, runs / "clips")
        self.model: nn.Module = TAE(PRESETS[settings.preset].tae)
        small_initial_deviation(self.model)

    def batch(self, generator: torch.Generator) -> Batch:
        """Random windows of random clips; one length a batch."""
        lengths, weights = zip(*self.settings.lengths, strict=True)
        length = lengths[int(torch.multinomial(torch.tensor(weights), 1, generator=generator))]
        count = self.settings.frames_per_batch // max(length, 4)
        indices = torch.randint(len(self.clips), (count,), generator=generator).tolist()
        starts = torch.randint(self.clips.shape[1] - length + 1, (count,), generator=generator).tolist()
        windows = [self.clips[index, start : start + length] for index, start in zip(indices, starts, strict=True)]
        return {"video": to_signed(np.stack(windows))}

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Weighted L1, L1 of spatial gradients, KL to the unit normal, outlier penalty."""
        settings, model = self.settings, self.model
        assert isinstance(model, TAE)
        video = batch["video"].to(model.latent_mean.device)
        posterior = model.posterior(video)
        deviation = (0.5 * posterior.log_variance).exp()
        noise = torch.randn(posterior.mean.shape, generator=generator).to(video.device)
        extra = torch.randn(posterior.mean.shape, generator=generator).to(video.device)
        latents = posterior.mean + deviation * noise + settings.latent_noise * extra
        output = model.decode_raw(latents)[:, :, : video.shape[2]].float()
        reconstruction = weighted_l1(output, video, settings.saturated_weight)
        gradients = gradient_l1(output, video)
        kl = 0.5 * (posterior.mean**2 + deviation**2 - 1 - posterior.log_variance).mean()
        outliers = outlier_penalty(posterior.mean, settings.outlier_deviations)
        total = (
            reconstruction
            + settings.gradient_weight * gradients
            + settings.kl_weight * kl
            + settings.outlier_weight * outliers
        )
        return {"loss": total, "l1": reconstruction, "gradient": gradients, "kl": kl, "outliers": outliers}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """PSNR in dB of held-out clips and of their first frames as images."""
        assert isinstance(model, TAE)
        video = to_signed(self.held_out[:16]).to(model.latent_mean.device)
        images = video[:, :, :1]
        return {"psnr": psnr(reconstruct(model, video), video), "image_psnr": psnr(reconstruct(model, images), images)}

    def sample(self, model: nn.Module, path: Path) -> None:
        """Eight held-out clips, first and last quarter frames: original above reconstruction."""
        assert isinstance(model, TAE)
        video = to_signed(self.held_out[:8]).to(model.latent_mean.device)
        output = model.decode(model.encode(video), video.shape[2])
        shown = torch.stack([video[:, :, 8], output[:, :, 8], video[:, :, 24], output[:, :, 24]])
        pixels = to_pixels(rearrange(shown, "r b c y x -> 1 c 1 (r y) (b x)"))[0, 0]
        Image.fromarray(pixels).save(path)


def small_initial_deviation(model: nn.Module) -> None:
    """Start the posterior's log-variance at -5: with a deviation near one the first minutes learn nothing."""
    assert isinstance(model, TAE)
    bias = model.encoder.leave.time.bias
    assert bias is not None
    with torch.no_grad():
        bias[model.config.latent_channels :] = -5.0


def reconstruct(model: TAE, video: Tensor) -> Tensor:
    """Clips [b 3 f y x] that went through the TAE, four at a time."""
    return torch.cat([model.decode(model.encode(part), part.shape[2]) for part in video.split(4)])


def saturation(video: Tensor) -> Tensor:
    """(max - min) / 2 over RGB in [-1, 1] of each pixel [b 1 f y x]."""
    return (video.amax(dim=1, keepdim=True) - video.amin(dim=1, keepdim=True)) / 2


def weighted_l1(output: Tensor, target: Tensor, saturated_weight: float) -> Tensor:
    """Mean absolute error; a pixel weighs 1 + saturated_weight * saturation."""
    weights = 1 + saturated_weight * saturation(target)
    return ((output - target).abs() * weights).mean() / weights.mean()


def gradient_l1(output: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of horizontal and vertical differences: keeps outlines where L1 alone blurs them."""
    difference = output - target
    return difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()


def outlier_penalty(latents: Tensor, deviations: float) -> Tensor:
    """Mean over positions of max(|x - mean| - r * |std|, 0); mean and std over the positions of each latent frame.

    Source: Movie Gen, section 3.1.1 (outlier penalty loss).
    """
    positions = rearrange(latents, "b c t h w -> (b t) c (h w)")
    mean = reduce(positions, "f c n -> f c 1", "mean")
    spread = positions.std(dim=-1, unbiased=False).norm(dim=1, keepdim=True)
    return F.relu((positions - mean).norm(dim=1) - deviations * spread).mean()


def psnr(output: Tensor, target: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of videos in [-1, 1], averaged over clips."""
    error = reduce((output.float().clamp(-1, 1) - target.float()) ** 2, "b ... -> b", "mean")
    return float((10 * torch.log10(4.0 / error.clamp_min(1e-12))).mean())


@torch.inference_mode()
def set_latent_statistics(model: TAE, clips: Tensor) -> None:
    """Store mean and deviation of each raw latent channel over clips [b, 3, f, y, x]: latents then leave normalised."""
    model.latent_mean.zero_()
    model.latent_std.fill_(1.0)
    latents = torch.cat([model.encode(part) for part in clips.split(4)])
    model.latent_mean.copy_(latents.mean(dim=(0, 2, 3, 4)))
    model.latent_std.copy_(latents.std(dim=(0, 2, 3, 4)))
