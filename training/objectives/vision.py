"""Vision encoder training: from each frame's row, read out what the frame shows and where.

Ours, with the reason: in place of the contrast with captions that the published encoder is trained by (MetaCLIP, arXiv
2309.16671), linear read-outs of what the world knows of a frame: object, colour, place, the pixels that the object
covers, and a thumbnail. Captions do not say where a ball is at an instant; sound has to know.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image
from torch import Tensor, nn

from kino.models.vision import Vision, VisionConfig
from kino.presets import PRESETS
from training.data import Split
from training.objective import Batch
from training.objectives.facts import device_of
from training.world.render import masks, render
from training.world.scene import CHARACTERS, COLOURS, OBJECTS, PLACES, PLAIN, RICH, Scene, facts, sample

CLASSES = {"object": len(OBJECTS + CHARACTERS), "colour": len(COLOURS), "place": len(PLACES)}
COVER_SIDE = 24
THUMBNAIL_SIDE = 12
LATEST_SECONDS = 12.0
SIZES = (48, 64, 96)
"""Sides that frames are drawn at before they are scaled to what the encoder sees."""


@dataclass(frozen=True)
class VisionSettings:
    """Frames of the world, drawn anew for every batch.

    Args:
        scenes, frames: of a batch, and of each scene; half of the scenes are of the rich world.
        blur_share: share of the batches that are seen blurred, as an autoencoder or a codec leaves them.
        noise: largest deviation of the noise added to a batch.
    """

    preset: str
    scenes: int = 48
    frames: int = 4
    held_out: int = 160
    blur_share: float = 0.4
    noise: float = 0.08

    def build(self, runs: Path) -> "VisionObjective":
        """Make the encoder and its read-outs."""
        return VisionObjective(self)


class VisionNet(nn.Module):
    """The encoder and what is read from its rows; only the encoder is published."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.vision = Vision(config)
        self.named = nn.ModuleDict({name: nn.Linear(config.features, count) for name, count in CLASSES.items()})
        self.cover = nn.Linear(config.features, COVER_SIDE**2)
        self.thumbnail = nn.Linear(config.features, 3 * THUMBNAIL_SIDE**2)


class VisionObjective:
    """Read-outs of frames."""

    def __init__(self, settings: VisionSettings) -> None:
        self.settings = settings
        config = PRESETS[settings.preset].vision
        assert config is not None
        self.model: nn.Module = VisionNet(config)

    def batch(self, generator: torch.Generator) -> Batch:
        """Frames of random scenes at random instants, some of them blurred, and what they show."""
        settings = self.settings
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        side = int(rng.choice(SIZES))
        batch = frames_of("train", int(rng.integers(2**31)), settings.scenes, settings.frames, side, rng)
        video = batch["frames"]
        if rng.random() < settings.blur_share:
            video = F.interpolate(F.avg_pool2d(video, 2), scale_factor=2.0, mode="bilinear")
        noise = torch.randn(video.shape, generator=generator) * float(rng.uniform(0, settings.noise))
        return batch | {"frames": (video + noise).clamp(-1, 1)}

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Cross-entropies of what is named and covered, and the squared error of the thumbnail."""
        assert isinstance(self.model, VisionNet)
        rows = self.model.vision(batch["frames"].to(device_of(self.model)))
        named = sum(
            (
                F.cross_entropy(head(rows).float(), batch[name].to(rows.device))
                for name, head in self.model.named.items()
            ),
            start=torch.zeros((), device=rows.device),
        )
        cover = F.binary_cross_entropy_with_logits(self.model.cover(rows).float(), batch["cover"].to(rows.device))
        thumbnail = F.mse_loss(self.model.thumbnail(rows).float(), batch["thumbnail"].to(rows.device))
        return {"loss": named + 10 * cover + thumbnail, "named": named, "cover": cover, "thumbnail": thumbnail}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Accuracies, and the mean overlap (intersection over union) of the covered pixels, of held-out scenes."""
        assert isinstance(model, VisionNet)
        batch = self._held_out()
        rows = model.vision(batch["frames"].to(device_of(model)))
        figures = {
            f"held_out_{name}": float((head(rows).argmax(-1).cpu() == batch[name]).float().mean())
            for name, head in model.named.items()
        }
        found, truth = model.cover(rows).float().cpu() > 0, batch["cover"] > 0.5
        overlap = (found & truth).sum(-1) / (found | truth).sum(-1).clamp_min(1)
        return figures | {"held_out_overlap": float(overlap[truth.any(-1)].mean())}

    def sample(self, model: nn.Module, path: Path) -> None:
        """Sixteen held-out frames, the thumbnails and the covered pixels read from their rows."""
        assert isinstance(model, VisionNet)
        frames = self._held_out()["frames"][:: self.settings.frames][:16]
        rows = model.vision(frames.to(device_of(model)))
        thumbnails = rearrange(model.thumbnail(rows).float().cpu(), "n (c h w) -> n c h w", c=3, h=THUMBNAIL_SIDE)
        covered = rearrange(model.cover(rows).float().cpu(), "n (h w) -> n 1 h w", h=COVER_SIDE).sigmoid() * 2 - 1
        shown = [F.interpolate(part, 96).expand(-1, 3, -1, -1) for part in (frames, thumbnails, covered)]
        sheet = rearrange(torch.stack(shown), "r n c h w -> (r h) (n w) c").clamp(-1, 1)
        Image.fromarray(((sheet + 1) * 127.5).byte().numpy()).save(path)

    def _held_out(self) -> Batch:
        rng = np.random.default_rng(1)
        return frames_of("held_out", 1, self.settings.held_out, self.settings.frames, SIZES[-1], rng)


def frames_of(split: Split, seed: int, scenes: int, frames: int, side: int, rng: np.random.Generator) -> Batch:
    """Frames in [-1, 1] [n, 3, side, side] of scenes, n = scenes * frames, with their facts, covers and thumbnails."""
    pixels, covers, drawn = [], [], []
    for index in range(scenes):
        scene = sample(seed, index, split, RICH if index % 2 else PLAIN)
        start, fps = float(rng.uniform(0, LATEST_SECONDS)), float(rng.uniform(1, 16))
        pixels.append(render(scene, frames, side, side, fps, start))
        covers.append(masks(scene, frames, COVER_SIDE, COVER_SIDE, fps, start) == 1)
        drawn += [scene] * frames
    video = torch.from_numpy(np.concatenate(pixels)).permute(0, 3, 1, 2).float() / 127.5 - 1
    small = F.adaptive_avg_pool2d(video, THUMBNAIL_SIDE)
    return {
        "frames": video,
        "cover": torch.from_numpy(np.concatenate(covers)).flatten(1).float(),
        "thumbnail": small.flatten(1),
        **_named(drawn),
    }


def _named(scenes: list[Scene]) -> dict[str, Tensor]:
    rows = [facts(scene) for scene in scenes]
    return {name: torch.tensor([row[name] for row in rows]) for name in CLASSES}
