"""Pools of rendered clips: rendered once to disk, held in memory while a run reads them in any order."""

import itertools
import logging
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.world.render import render
from training.world.scene import Scene, sample

logger = logging.getLogger("training")
Split = Literal["train", "held_out"]


@dataclass(frozen=True)
class ClipSet:
    """Which clips of the world: scenes `first` to `first + count` of a split, drawn at one size, length and rate."""

    split: Split
    count: int
    size: int = 96
    frames: int = 32
    fps: int = 16
    seed: int = 0
    first: int = 0

    def scene(self, index: int) -> Scene:
        """Scene of one clip of the set."""
        return sample(self.seed, self.first + index, self.split)

    @property
    def key(self) -> str:
        """File name stem that differs whenever the set does."""
        return f"{self.split}_{self.size}_{self.frames}_" + sha256(repr(asdict(self)).encode()).hexdigest()[:10]


def render_range(clips: ClipSet, path: Path, start: int, stop: int) -> None:
    """Render clips start to stop into their rows of the file."""
    pixels = np.load(path, mmap_mode="r+")
    for index in range(start, stop):
        pixels[index] = render(clips.scene(index), clips.frames, clips.size, clips.size, clips.fps)


def open_clips(clips: ClipSet, folder: Path, processes: int = 2) -> NDArray[np.uint8]:
    """Pixels uint8 [count, frames, y, x, 3] of a set, rendered on first use; half a file is never taken for a whole."""
    path = folder / f"{clips.key}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{clips.key}.partial.npy"
        shape = (clips.count, clips.frames, clips.size, clips.size, 3)
        np.lib.format.open_memmap(partial, mode="w+", dtype=np.uint8, shape=shape).flush()
        logger.info("rendering %d clips to %s", clips.count, path)
        bounds = np.linspace(0, clips.count, 4 * processes + 1).astype(int)
        with ProcessPoolExecutor(processes) as pool:
            parts = [pool.submit(render_range, clips, partial, int(a), int(b)) for a, b in itertools.pairwise(bounds)]
            for part in parts:
                part.result()
        partial.rename(path)
    pixels: NDArray[np.uint8] = np.load(path)
    return pixels


def to_signed(pixels: NDArray[np.uint8]) -> Tensor:
    """Pixels uint8 [b, f, y, x, 3] as float [b, 3, f, y, x] in [-1, 1]."""
    return torch.tensor(pixels).permute(0, 4, 1, 2, 3).float() / 127.5 - 1.0


def to_pixels(video: Tensor) -> NDArray[np.uint8]:
    """The reverse of `to_signed`, rounded and clipped."""
    signed = video.float().clamp(-1, 1).permute(0, 2, 3, 4, 1)
    pixels: NDArray[np.uint8] = ((signed + 1.0) * 127.5).round().to(torch.uint8).cpu().numpy()
    return pixels
