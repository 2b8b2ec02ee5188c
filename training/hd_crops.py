"""What the upsampler learns from: crops of clips drawn in full HD, and the same as the first stage leaves them."""

import logging
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from kino.models.tae import TAE
from kino.models.upsampler import enlarged
from training.data import Split, digest, open_pool, to_pixels, to_signed
from training.latents import Columns, open_cache
from training.world.render import render
from training.world.scene import Mixture, Scene, sample

logger = logging.getLogger("training")
WORLD = Mixture(pan=0.3, zoom=0.2, two_objects=0.15, sign=0.1, style=0.05, person=0.1)


@dataclass(frozen=True)
class HdCrops:
    """Which crops of the world: of each of `count` scenes as many as `crops`, all of the same frames.

    Args:
        size: side of the full frame in pixels.
        first_stage: side of the frames that the TAE is given; they are drawn at that size, as it learned them.
        crop: side of a crop in pixels.
        frames: consecutive frames of a crop, taken from the first `clip_frames` of a scene.
    """

    split: Split
    count: int
    crops: int = 6
    size: int = 1080
    first_stage: int = 96
    crop: int = 224
    frames: int = 3
    clip_frames: int = 16
    fps: int = 16
    seed: int = 0
    mixture: Mixture = WORLD

    def scene(self, index: int) -> Scene:
        """One of the scenes."""
        return sample(self.seed, index, self.split, self.mixture)

    def first_frame(self, index: int) -> int:
        """Where the crops of a scene begin in its clip."""
        return int(np.random.default_rng((self.seed, index, 1)).integers(self.clip_frames - self.frames + 1))

    @property
    def key(self) -> str:
        """File name stem that differs whenever the set does."""
        return f"hd_{self.split}_{digest(self)}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of the crops of one scene."""
        return self.crops, self.frames, self.crop, self.crop, 3

    def item(self, index: int) -> NDArray[np.uint8]:
        """The crops of one scene, drawn in full HD."""
        start = self.first_frame(index) / self.fps
        return self.cut(render(self.scene(index), self.frames, self.size, self.size, self.fps, start), index)

    def cut(self, frames: NDArray[np.uint8], index: int) -> NDArray[np.uint8]:
        """The crops of a scene [n t y x 3], cut from its full frames."""
        rng, most = np.random.default_rng((self.seed, index, 2)), self.size - self.crop
        corners = rng.integers(0, most + 1, (self.crops, 2)).tolist()
        return np.stack([frames[:, y : y + self.crop, x : x + self.crop] for y, x in corners])


class Crops(NamedTuple):
    """Crops [scenes, crops, t, y, x, 3] as they are drawn, and as the first stage leaves them, enlarged."""

    sharp: NDArray[np.uint8]
    distorted: NDArray[np.uint8]


def open_crops(items: HdCrops, tae: TAE, digest_of_tae: str, folder: Path) -> Crops:
    """The crops of a set, drawn and distorted on first use."""
    sharp = open_pool(items, folder)
    columns: Columns = {"distorted": (np.uint8, items.shape)}
    stem = folder / f"{items.key}_{sha256(digest_of_tae.encode()).hexdigest()[:10]}"
    made = open_cache(stem, items.count, columns, lambda start, stop: (_distorted(items, tae, start, stop),))
    return Crops(sharp, made["distorted"])


@torch.inference_mode()
def _distorted(items: HdCrops, tae: TAE, start: int, stop: int) -> NDArray[Any]:
    """Crops of scenes start to stop, of clips that went through the TAE and were enlarged."""
    side, indices = items.first_stage, range(start, stop)
    clips = np.stack([render(items.scene(index), items.clip_frames, side, side, items.fps) for index in indices])
    device = tae.latent_mean.device
    with torch.autocast(device.type, torch.bfloat16):
        decoded = tae.decode(tae.encode(to_signed(clips).to(device)), items.clip_frames).float().cpu()
    cuts = []
    for index, clip in zip(indices, decoded, strict=True):
        first = items.first_frame(index)
        frames = to_signed(to_pixels(clip[None, :, first : first + items.frames]))
        cuts.append(items.cut(to_pixels(enlarged(frames, items.size, items.size))[0], index))
    return np.stack(cuts)
