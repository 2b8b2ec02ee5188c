"""Upsampler training: flow matching from enlarged crops to what was drawn in full HD.

Half of the enlarged crops were made small by area-averaging, and some of them damaged on the way; the others went
through the first stage, as films do (Movie Gen, arXiv 2410.13720, section 3.1.6: degradations and TAE artefacts mixed).
"""

from dataclasses import dataclass
from math import log
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from kino import flow
from kino.limits import UPSAMPLER_STEPS
from kino.models.upsampler import Upsampler, channelwise, enlarged
from kino.presets import PRESETS
from kino.registry import Registry
from training.data import to_pixels, to_signed
from training.hd_crops import HdCrops, open_crops
from training.objective import Batch
from training.objectives.tae import psnr
from training.published import MODELS, open_tae
from training.world.damage import damage

LATEST = 0.95
"""Latest training time: that of the last of twenty equal steps."""


@dataclass(frozen=True)
class UpsamplerSettings:
    """Data of an upsampler recipe.

    Args:
        batch: crops of a step.
        distorted_share: share of crops that went through the first stage.
        factors: least and greatest factor by which the others were made smaller.
        damaged_share: share of those that are also blurred, noisy and compressed.
        start_share: share of crops that are seen at the very start of the flow, where nothing tells yet what is
            missing: that is learned there alone, and later times hardly ask for it.
    """

    preset: str
    crops: HdCrops
    held_out: HdCrops
    batch: int = 8
    distorted_share: float = 0.5
    factors: tuple[float, float] = (2.0, 12.0)
    damaged_share: float = 0.2
    start_share: float = 0.7

    def build(self, runs: Path) -> "UpsamplerObjective":
        """Draw or open the crops, make the model, and measure the scale of its latents."""
        return UpsamplerObjective(self, runs)


class UpsamplerObjective:
    """Flow matching between enlarged and sharp crops."""

    def __init__(self, settings: UpsamplerSettings, runs: Path) -> None:
        self.settings, self.steps = settings, UPSAMPLER_STEPS[settings.preset]
        tae, manifest = open_tae(settings.preset, Registry(MODELS))
        self.crops = open_crops(settings.crops, tae, manifest.digest, runs / "hd")
        self.held_out = open_crops(settings.held_out, tae, manifest.digest, runs / "hd")
        config = PRESETS[settings.preset].upsampler
        assert config is not None
        model = Upsampler(config)
        set_latent_scale(model, to_signed(self.crops.sharp[:64, 0]))
        self.model: nn.Module = model

    def batch(self, generator: torch.Generator) -> Batch:
        """Random crops, mirrored or not, and their enlarged counterparts."""
        settings, rng = self.settings, np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        sharp, low = [], []
        for _ in range(settings.batch):
            place = int(rng.integers(len(self.crops.sharp))), int(rng.integers(settings.crops.crops))
            target = self.crops.sharp[place]
            if rng.random() < settings.distorted_share:
                source = self.crops.distorted[place]
            else:
                source = shrunk_and_enlarged(target, self._factor(rng), self._damages(rng), rng)
            mirrored = slice(None, None, int(rng.choice((-1, 1))))
            sharp.append(target[:, :, mirrored])
            low.append(source[:, :, mirrored])
        return {"sharp": to_signed(np.stack(sharp)), "low": to_signed(np.stack(low))}

    def _factor(self, rng: np.random.Generator) -> float:
        least, greatest = self.settings.factors
        return float(np.exp(rng.uniform(log(least), log(greatest))))

    def _damages(self, rng: np.random.Generator) -> bool:
        return bool(rng.random() < self.settings.damaged_share)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Mean squared error of the velocity, weighted by (1 - t)^2, which makes it that of the data it points at.

        A channel weighs as much as its scale: half-way again, to an error of pixels.
        """
        assert isinstance(self.model, Upsampler)
        device = self.model.latent_mean.device
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            x_1, condition = (self.model.encode(batch[name].to(device)) for name in ("sharp", "low"))
        noise = torch.randn(x_1.shape, generator=generator).to(device)
        later, at_start = torch.rand(2, len(x_1), generator=generator)
        t = torch.where(at_start < self.settings.start_share, 0.0, LATEST * later).to(device)
        x_0 = condition + self.model.config.start_noise * noise
        made = self.model(flow.path(x_0, x_1, t), t, condition)
        weights = channelwise(self.model.latent_scale / self.model.latent_scale.mean())
        errors = (((side - x_1) ** 2 * weights).mean() for side in (made, condition))
        return dict(zip(("loss", "enlarged"), errors, strict=True))

    def validate(self, model: nn.Module) -> dict[str, float]:
        """PSNR in dB of held-out crops and, beside it, of the enlarged ones: shrunk alone, and by the first stage.

        In as many steps as the service takes when none are asked for.
        """
        assert isinstance(model, Upsampler)
        figures: dict[str, float] = {}
        for name, (low, sharp) in self._held_out_pairs().items():
            made = torch.cat([upsampled(model, part, self.steps) for part in low.split(8)])
            figures |= {f"{name}_psnr": psnr(made, sharp), f"{name}_enlarged_psnr": psnr(low, sharp)}
        return figures

    def sample(self, model: nn.Module, path: Path) -> None:
        """Ten held-out crops of films: enlarged, upsampled, true."""
        assert isinstance(model, Upsampler)
        low, sharp = (part[:10] for part in self._held_out_pairs()["film"])
        shown = torch.stack([part[:, :, 0] for part in (low, upsampled(model, low, self.steps), sharp)])
        Image.fromarray(to_pixels(rearrange(shown, "r b c y x -> 1 c 1 (r y) (b x)"))[0, 0]).save(path)

    def _held_out_pairs(self) -> dict[str, tuple[Tensor, Tensor]]:
        crops, rng = self.settings.held_out, np.random.default_rng(0)
        sharp = rearrange(self.held_out.sharp, "n k t y x c -> (n k) t y x c")
        factor = crops.size / crops.first_stage
        small = np.stack([shrunk_and_enlarged(crop, factor, False, rng) for crop in sharp])
        film = rearrange(self.held_out.distorted, "n k t y x c -> (n k) t y x c")
        target = to_signed(sharp)
        return {"small": (to_signed(small), target), "film": (to_signed(film), target)}


def shrunk_and_enlarged(
    crop: NDArray[np.uint8], factor: float, damaged: bool, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """A crop [t y x 3] made smaller by a factor, where asked damaged by little, and enlarged again."""
    side = crop.shape[1]
    small = max(2, round(side / factor))
    low = to_pixels(enlarged(to_signed(crop[None]), small, small))[0]
    if damaged:
        blur, noise = rng.uniform(0, 0.5) * 96 / small, rng.uniform(0, 4)
        low = damage(low, rng, blur, noise, int(rng.integers(60, 96)))
    return to_pixels(enlarged(to_signed(low[None]), side, side))[0]


def upsampled(model: Upsampler, low: Tensor, steps: int, noise: Tensor | None = None) -> Tensor:
    """Crops [b 3 t y x] carried along the flow, whole, from the noise given or that of a fixed seed."""
    condition = model.encode(low.to(model.latent_mean.device))
    if noise is None:
        noise = torch.randn(condition.shape, generator=torch.Generator().manual_seed(0))

    def velocity(x_t: Tensor, t: Tensor) -> Tensor:
        return flow.velocity_to_data(x_t, model(x_t, t, condition), t)

    x_t = condition + model.config.start_noise * noise.to(condition.device)
    for step in flow.sample(velocity, x_t, torch.linspace(0, 1, steps + 1)):
        x_t = step.x_t
    return model.decode(x_t).cpu()


@torch.inference_mode()
def set_latent_scale(model: Upsampler, crops: Tensor) -> None:
    """Measure the mean of each latent channel over crops [b 3 t y x], and its scale: the root of its deviation.

    Half way to unit deviation, between an error that counts pixels alone, in which outlines weigh little, and one in
    which the finest grain weighs as much as all light and shade.
    """
    latents = model.encode(crops)
    model.latent_mean.copy_(latents.mean(dim=(0, 2, 3, 4)))
    model.latent_scale.copy_(latents.std(dim=(0, 2, 3, 4)).clamp_min(1e-3).sqrt())
