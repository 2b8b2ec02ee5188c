"""Pools of clips and sounds: computed once to disk, held in memory while a run reads them in any order."""

import itertools
import logging
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kino.shapes import SAMPLE_RATE
from training.world.music import drawn_mood
from training.world.render import render
from training.world.scene import PLAIN, Mixture, Scene, sample
from training.world.sound import render_sound

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

logger = logging.getLogger("training")
Split = Literal["train", "held_out"]


class Pool(Protocol):
    """Items of one shape, each a pure function of its index."""

    @property
    def count(self) -> int:
        """Number of items."""
        ...

    @property
    def key(self) -> str:
        """File name stem that differs whenever the items do."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of one item."""
        ...

    def item(self, index: int) -> NDArray[Any]:
        """One item."""
        ...


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
    mixture: Mixture = PLAIN

    def scene(self, index: int) -> Scene:
        """Scene of one clip of the set."""
        return sample(self.seed, self.first + index, self.split, self.mixture)

    @property
    def key(self) -> str:
        """File name stem that differs whenever the set does."""
        return f"{self.split}_{self.size}_{self.frames}_" + digest(self)

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of one clip: frames, height, width, RGB."""
        return self.frames, self.size, self.size, 3

    def item(self, index: int) -> NDArray[np.uint8]:
        """Pixels of one clip, uint8."""
        return render(self.scene(index), self.frames, self.size, self.size, self.fps)


@dataclass(frozen=True)
class SoundSet:
    """Which sounds of the world: scenes `first` to `first + count` of a split, heard for `seconds`, some with music."""

    split: Split
    count: int
    seconds: int = 4
    seed: int = 0
    first: int = 0

    def scene(self, index: int) -> Scene:
        """Scene of one sound of the set."""
        return sample(self.seed, self.first + index, self.split)

    @property
    def key(self) -> str:
        """File name stem that differs whenever the set does."""
        return f"{self.split}_{self.seconds}s_" + digest(self)

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of one sound: samples."""
        return (self.seconds * SAMPLE_RATE,)

    def item(self, index: int) -> NDArray[np.int16]:
        """One sound as 16 bit samples at 48 kHz."""
        scene = self.scene(index)
        sound = render_sound(scene, self.seconds, 1, mood=drawn_mood(scene.seed))
        return np.asarray((sound * 32767).round(), dtype=np.int16)


def digest(items: "DataclassInstance") -> str:
    """Ten hex digits over the settings of a set."""
    return sha256(repr(asdict(items)).encode()).hexdigest()[:10]


def fill_range(pool: Pool, path: Path, start: int, stop: int) -> None:
    """Compute items start to stop into their rows of the file."""
    rows = np.load(path, mmap_mode="r+")
    for index in range(start, stop):
        rows[index] = pool.item(index)


def open_pool(pool: Pool, folder: Path, processes: int = 2) -> NDArray[Any]:
    """All items [count, ...] of a set, computed on first use; half a file is never taken for a whole."""
    path = folder / f"{pool.key}.npy"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{pool.key}.partial.npy"
        dtype = pool.item(0).dtype
        np.lib.format.open_memmap(partial, mode="w+", dtype=dtype, shape=(pool.count, *pool.shape)).flush()
        logger.info("computing %d items to %s", pool.count, path)
        bounds = np.linspace(0, pool.count, 4 * processes + 1).astype(int)
        with ProcessPoolExecutor(processes) as executor:
            parts = [executor.submit(fill_range, pool, partial, int(a), int(b)) for a, b in itertools.pairwise(bounds)]
            for part in parts:
                part.result()
        partial.rename(path)
    return np.asarray(np.load(path))


def to_signed(pixels: NDArray[np.uint8]) -> Tensor:
    """Pixels uint8 [b, f, y, x, 3] as float [b, 3, f, y, x] in [-1, 1]."""
    return torch.tensor(pixels).permute(0, 4, 1, 2, 3).float() / 127.5 - 1.0


def to_pixels(video: Tensor) -> NDArray[np.uint8]:
    """The reverse of `to_signed`, rounded and clipped."""
    signed = video.float().clamp(-1, 1).permute(0, 2, 3, 4, 1)
    pixels: NDArray[np.uint8] = ((signed + 1.0) * 127.5).round().to(torch.uint8).cpu().numpy()
    return pixels
