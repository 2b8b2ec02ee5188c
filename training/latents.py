"""Latents of world clips, encoded once by the published TAE (Movie Gen, section 3.2.4), and where their objects are."""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import reduce
from numpy.typing import NDArray

from kino.models.tae import TAE
from kino.shapes import SPATIAL_COMPRESSION, TEMPORAL_COMPRESSION, Size, latent_grid
from training.data import Split, to_signed
from training.world.render import masks, render
from training.world.scene import PLAIN, Mixture, Scene, sample

logger = logging.getLogger("training")
CHUNK = 8
DONE = ".done"
"""Ending of the file that says how many rows of a cache are there."""
MASK_SCALE = 2
"""Masks are drawn at half size: their share of a position needs no more."""


@dataclass(frozen=True)
class LatentSet:
    """Which scenes, and how they are seen: clips from their start, or stills (`frames` = 1) at a time of their own.

    Args:
        size: side of a square, or height and width, in pixels.
        still_seconds: latest time of a still; clips start at 0.
    """

    split: Split
    count: int
    size: int | tuple[int, int] = 96
    frames: int = 32
    fps: int = 16
    seed: int = 0
    still_seconds: float = 2.0
    mixture: Mixture = PLAIN

    @property
    def extent(self) -> Size:
        """Height and width of a frame."""
        return Size(self.size, self.size) if isinstance(self.size, int) else Size(*self.size)

    def scene(self, index: int) -> Scene:
        """Scene of one item."""
        return sample(self.seed, index, self.split, self.mixture)

    def start_seconds(self, index: int) -> float:
        """Time of the item's first frame."""
        if self.frames > 1:
            return 0.0
        return float(np.random.default_rng((self.seed, index)).uniform(0, self.still_seconds))

    def key(self, space: str) -> str:
        """File name stem that differs whenever the set or the latent space does."""
        return sha256((repr(asdict(self)) + space).encode()).hexdigest()[:16]


class Latents(NamedTuple):
    """Normalised latents [n, c, t, h, w]; share of each position that the first object covers, of 255 [n, t, h, w]."""

    values: NDArray[np.float16]
    coverage: NDArray[np.uint8]


Columns = dict[str, tuple[type[np.generic], tuple[int, ...]]]
"""Type and extent of one row of each array of a cache, by name."""


def open_latents(items: LatentSet, tae: TAE, space: str, folder: Path) -> Latents:
    """Latents of a set, encoded on first use; an interrupted encoding goes on where it stopped."""
    grid = latent_grid(items.frames, items.extent)
    columns: Columns = {
        "values": (np.float16, (tae.config.latent_channels, grid.t, grid.h, grid.w)),
        "coverage": (np.uint8, (grid.t, grid.h, grid.w)),
    }
    arrays = open_cache(folder / items.key(space), items.count, columns, lambda a, b: encode_chunk(items, tae, a, b))
    return Latents(arrays["values"], arrays["coverage"])


def open_cache(
    stem: Path, count: int, columns: Columns, compute: Callable[[int, int], tuple[NDArray[Any], ...]]
) -> dict[str, NDArray[Any]]:
    """Arrays of `count` rows beside each other on disk, computed on first use, in chunks; a killed run loses little.

    Args:
        stem: path of the files without their ends.
        compute: rows start to stop of every column, in order.
    """
    stem.parent.mkdir(parents=True, exist_ok=True)
    done_path = stem.with_suffix(DONE)
    paths = {name: stem.with_suffix(f".{name}.npy") for name in columns}
    if not done_path.exists():
        for name, (dtype, shape) in columns.items():
            np.lib.format.open_memmap(paths[name], mode="w+", dtype=dtype, shape=(count, *shape)).flush()
        done_path.write_text("0")
    arrays = [np.load(path, mmap_mode="r+") for path in paths.values()]
    for start in range(int(done_path.read_text()), count, CHUNK):
        stop = min(start + CHUNK, count)
        for array, rows in zip(arrays, compute(start, stop), strict=True):
            array[start:stop] = rows
        if stop % (CHUNK * 50) == 0 or stop == count:
            for array in arrays:
                array.flush()
            done_path.write_text(str(stop))
            logger.info("computed %d/%d rows of %s", stop, count, stem.name)
    return {name: np.asarray(np.load(path)) for name, path in paths.items()}


def encode_chunk(items: LatentSet, tae: TAE, start: int, stop: int) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
    """Render and encode items start to stop."""
    pixels, shares = [], []
    for index in range(start, stop):
        scene, begin = items.scene(index), items.start_seconds(index)
        height, width = items.extent.height, items.extent.width
        pixels.append(render(scene, items.frames, height, width, items.fps, begin))
        shares.append(
            object_share(masks(scene, items.frames, height // MASK_SCALE, width // MASK_SCALE, items.fps, begin))
        )
    return encode(tae, np.stack(pixels)), np.stack(shares)


@torch.inference_mode()
def encode(tae: TAE, pixels: NDArray[np.uint8]) -> NDArray[np.float16]:
    """Latents [b c t h w] of clips uint8 [b f y x 3]."""
    device = tae.latent_mean.device
    with torch.autocast(device.type, torch.bfloat16):
        latents = tae.encode(to_signed(pixels).to(device))
    return latents.float().cpu().numpy().astype(np.float16)


def object_share(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Share of each latent position covered by the first object, scaled to 255; trailing frames repeat the last one."""
    return share_of_positions(mask == 1)


def share_of_positions(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Share of each latent position that a mask of half-sized frames covers, scaled to 255."""
    surplus = -len(mask) % TEMPORAL_COMPRESSION
    share = reduce(
        np.concatenate([mask, np.repeat(mask[-1:], surplus, axis=0)]).astype(np.float32),
        "(t f) (h y) (w x) -> t h w",
        "mean",
        f=TEMPORAL_COMPRESSION,
        y=SPATIAL_COMPRESSION // MASK_SCALE,
        x=SPATIAL_COMPRESSION // MASK_SCALE,
    )
    return np.asarray((share * 255).round(), dtype=np.uint8)
