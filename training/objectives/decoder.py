"""Tuning a TAE's decoder alone: the latents stay as they are, and with them all that was trained on them.

It is shown all that films can have in them, people above all, whose faces are small, pale and move: the loss looks at
them more closely. The decoders of latent diffusion models were mended apart in this way before (Stable Diffusion's
"ft-EMA" and "ft-MSE").
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from kino.models.tae import TAE
from kino.presets import PRESETS
from kino.registry import Registry
from training.data import ClipSet, open_pool, to_pixels, to_signed
from training.objective import Batch
from training.objectives.tae import psnr, reconstruct, saturation
from training.people import PeopleClips
from training.published import MODELS, averaged
from training.world.people import face

SHOWN = 4
"""Held-out clips of each kind in a sample."""


@dataclass(frozen=True)
class DecoderSettings:
    """Data and loss weights of a recipe that tunes a decoder.

    Args:
        people_share: share of the clips that are of `people`.
        frames_per_batch: pixels of a batch, counted in frames.
        lengths: clip lengths and how often each is drawn.
        latent_noise: deviation of the noise on raw latents; generated ones are never exact.
        saturated_weight, face_weight: extra weight of a fully saturated pixel, and of one of a face.
        start: recipe of the TAE whose decoder is tuned.
    """

    preset: str
    clips: ClipSet
    people: PeopleClips
    held_out: ClipSet
    held_out_people: PeopleClips
    people_share: float = 0.45
    frames_per_batch: int = 128
    lengths: tuple[tuple[int, float], ...] = ((1, 0.15), (16, 0.35), (32, 0.5))
    gradient_weight: float = 0.5
    latent_noise: float = 0.1
    saturated_weight: float = 1.0
    face_weight: float = 6.0
    start: str = "tae_mini"

    def build(self, runs: Path) -> "DecoderObjective":
        """Render or open the clips, and load the TAE."""
        return DecoderObjective(self, runs)


class DecoderObjective:
    """Reconstruction from the latents of an encoder that does not learn."""

    def __init__(self, settings: DecoderSettings, runs: Path) -> None:
        self.settings = settings
        sets = settings.clips, settings.people, settings.held_out, settings.held_out_people
        self.clips, self.people, self.held_out, self.held_out_people = (
            open_pool(items, runs / "clips") for items in sets
        )
        tae = TAE(PRESETS[settings.preset].tae)
        tae.load_state_dict(averaged(settings.start, runs, Registry(MODELS)))
        tae.encoder.requires_grad_(False)
        self.model: nn.Module = tae

    def batch(self, generator: torch.Generator) -> Batch:
        """Random windows of random clips, one length a batch, and where their faces are."""
        settings, rng = self.settings, np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        lengths, shares = zip(*settings.lengths, strict=True)
        length = int(rng.choice(lengths, p=shares))
        windows, faces = [], []
        for _ in range(settings.frames_per_batch // max(length, 4)):
            items, pool = settings.clips, self.clips
            if rng.random() < settings.people_share:
                items, pool = settings.people, self.people
            index, start = int(rng.integers(items.count)), int(rng.integers(items.frames - length + 1))
            windows.append(pool[index, start : start + length])
            faces.append(face_mask(items, index, start, length))
        return {"video": to_signed(np.stack(windows)), "faces": torch.from_numpy(np.stack(faces))}

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """L1 of pixels and of their differences in space, both weighted by saturation and by faces."""
        settings, model = self.settings, self.model
        assert isinstance(model, TAE)
        device = model.latent_mean.device
        video, faces = batch["video"].to(device), batch["faces"].to(device)
        with torch.no_grad():
            latents = model.posterior(video).mean
        noise = torch.randn(latents.shape, generator=generator).to(device)
        output = model.decode_raw(latents + settings.latent_noise * noise)[:, :, : video.shape[2]].float()
        focus = 1 + settings.saturated_weight * saturation(video) + settings.face_weight * faces[:, None]
        focus = focus / focus.mean()
        error = output - video
        l1 = (error.abs() * focus).mean()
        across, down = error.diff(dim=-1).abs() * focus[..., 1:], error.diff(dim=-2).abs() * focus[..., 1:, :]
        gradient = across.mean() + down.mean()
        return {"loss": l1 + settings.gradient_weight * gradient, "l1": l1, "gradient": gradient}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """PSNR in dB of held-out clips, of their first frames as images, of clips of people and of faces in them."""
        assert isinstance(model, TAE)
        device = model.latent_mean.device
        video, people = (to_signed(pool[:16]).to(device) for pool in (self.held_out, self.held_out_people))
        shown = reconstruct(model, people)
        masks = np.stack([face_mask(self.settings.held_out_people, i, 0, people.shape[2]) for i in range(len(people))])
        images = video[:, :, :1]
        return {
            "psnr": psnr(reconstruct(model, video), video),
            "image_psnr": psnr(reconstruct(model, images), images),
            "people_psnr": psnr(shown, people),
            "face_psnr": masked_psnr(shown, people, torch.from_numpy(masks).to(device)),
        }

    def sample(self, model: nn.Module, path: Path) -> None:
        """Held-out clips of things and of people, first and last quarter frames: original above reconstruction."""
        assert isinstance(model, TAE)
        pools = self.held_out[:SHOWN], self.held_out_people[:SHOWN]
        video = to_signed(np.concatenate(pools)).to(model.latent_mean.device)
        output, (first, last) = reconstruct(model, video), (video.shape[2] // 4, 3 * video.shape[2] // 4)
        rows = torch.stack([part[:, :, at] for at in (first, last) for part in (video, output)])
        Image.fromarray(to_pixels(rearrange(rows, "r b c y x -> 1 c 1 (r y) (b x)"))[0, 0]).save(path)


def face_mask(items: ClipSet, index: int, start: int, length: int) -> NDArray[np.float32]:
    """1 in the circle about the face of a clip's person, else 0 [f y x]; of things none anywhere."""
    scene = items.scene(index)
    mask = np.zeros((length, items.size, items.size), np.float32)
    if scene.identity is not None:
        y, x = np.ogrid[: items.size, : items.size]
        for number in range(length):
            seen = face(scene, (start + number) / items.fps, items.size, items.size)
            mask[number] = (x + 0.5 - seen.x) ** 2 + (y + 0.5 - seen.y) ** 2 < seen.reach**2
    return mask


def masked_psnr(output: Tensor, target: Tensor, mask: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of the masked pixels [b f y x] of all videos in [-1, 1] together."""
    error = ((output.float().clamp(-1, 1) - target.float()) ** 2).mean(1)
    return float(10 * torch.log10(4.0 / (error * mask).sum() * mask.sum()))
