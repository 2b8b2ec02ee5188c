"""Latents of world clips, encoded once by the published TAE (Movie Gen, section 3.2.4), and where their objects are."""

import logging
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

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
MASK_SCALE = 2
"""Masks are drawn at half size: their share of a position needs no more."""


@dataclass(frozen=True)
class LatentSet:
    """Which scenes, and how they are seen: clips from their start, or stills (`frames` = 1) at a time of their own.

    Args:
        still_seconds: latest time of a still; clips start at 0.
    """

    split: Split
    count: int
    size: int = 96
    frames: int = 32
    fps: int = 16
    seed: int = 0
    still_seconds: float = 2.0
    mixture: Mixture = PLAIN

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


def open_latents(items: LatentSet, tae: TAE, space: str, folder: Path) -> Latents:
    """Latents of a set, encoded on first use; an interrupted encoding goes on where it stopped."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = folder / items.key(space)
    values_path, coverage_path, done_path = (stem.with_suffix(end) for end in (".values.npy", ".coverage.npy", ".done"))
    grid = latent_grid(items.frames, Size(items.size, items.size))
    shape = (items.count, grid.t, grid.h, grid.w)
    if not done_path.exists():
        done_path.write_text("0")
        np.lib.format.open_memmap(coverage_path, mode="w+", dtype=np.uint8, shape=shape).flush()
        channels = tae.config.latent_channels
        np.lib.format.open_memmap(
            values_path, mode="w+", dtype=np.float16, shape=(items.count, channels, grid.t, grid.h, grid.w)
        ).flush()
    values, coverage = np.load(values_path, mmap_mode="r+"), np.load(coverage_path, mmap_mode="r+")
    for start in range(int(done_path.read_text()), items.count, CHUNK):
        stop = min(start + CHUNK, items.count)
        values[start:stop], coverage[start:stop] = encode_chunk(items, tae, start, stop)
        if stop % (CHUNK * 50) == 0 or stop == items.count:
            values.flush()
            coverage.flush()
            done_path.write_text(str(stop))
            logger.info("encoded %d/%d items of %d frames", stop, items.count, items.frames)
    return Latents(np.asarray(np.load(values_path)), np.asarray(np.load(coverage_path)))


@torch.inference_mode()
def encode_chunk(items: LatentSet, tae: TAE, start: int, stop: int) -> tuple[NDArray[np.float16], NDArray[np.uint8]]:
    """Render and encode items start to stop."""
    pixels, shares = [], []
    for index in range(start, stop):
        scene, begin = items.scene(index), items.start_seconds(index)
        pixels.append(render(scene, items.frames, items.size, items.size, items.fps, begin))
        side = items.size // MASK_SCALE
        shares.append(object_share(masks(scene, items.frames, side, side, items.fps, begin)))
    device = tae.latent_mean.device
    with torch.autocast(device.type, torch.bfloat16):
        latents = tae.encode(to_signed(np.stack(pixels)).to(device))
    return latents.float().cpu().numpy().astype(np.float16), np.stack(shares)


def object_share(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Share of each latent position covered by the first object, scaled to 255; trailing frames repeat the last one."""
    surplus = -len(mask) % TEMPORAL_COMPRESSION
    covered = np.concatenate([mask, np.repeat(mask[-1:], surplus, axis=0)]) == 1
    share = reduce(
        covered.astype(np.float32),
        "(t f) (h y) (w x) -> t h w",
        "mean",
        f=TEMPORAL_COMPRESSION,
        y=SPATIAL_COMPRESSION // MASK_SCALE,
        x=SPATIAL_COMPRESSION // MASK_SCALE,
    )
    return np.asarray((share * 255).round(), dtype=np.uint8)
