"""Which pixels of a film show the coloured object, found by hue alone: the places of the world are pale."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import skia
from numpy.typing import NDArray

from training.world.paint import PALETTE, RGBA
from training.world.scene import COLOURS

WORK_SIDE = 96
"""Short side of the frames that the judge looks at; other sizes are resampled first."""

_FAINT, _FULL = 0.4, 0.66
"""Shares of a palette colour's chroma below which a pixel does not count and above which it counts whole."""

_NEAR_DEGREES, _FAR_DEGREES = 13.0, 24.0
"""Hue distances within which a pixel counts whole and beyond which it does not count."""

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Figure:
    """The coloured object of a film.

    Attributes:
        colour: the palette colour found, an index into COLOURS.
        share: the part of all coloured pixels that has this colour.
        mask: float32 [t h w], how much of each pixel is of the object's colour, 0 to 1.
    """

    colour: int
    share: float
    mask: Floats


def resample(frames: NDArray[np.uint8], short_side: int = WORK_SIDE) -> NDArray[np.uint8]:
    """Frames [t h w 3] scaled, smoothly, to a short side."""
    _, height, width, _ = frames.shape
    scale = short_side / min(height, width)
    if scale == 1.0:
        return frames
    new_height, new_width = round(height * scale), round(width * scale)
    opaque = np.concatenate([frames, np.full_like(frames[..., :1], 255)], axis=-1)
    smooth = skia.SamplingOptions(skia.FilterMode.kLinear, skia.MipmapMode.kLinear)
    out = np.empty((len(frames), new_height, new_width, 3), np.uint8)
    for index, frame in enumerate(opaque):
        image = skia.Image.fromarray(np.ascontiguousarray(frame), colorType=RGBA)
        out[index] = image.resize(new_width, new_height, smooth).toarray(colorType=RGBA)[..., :3]
    return out


def find_figure(frames: NDArray[np.uint8]) -> Figure | None:
    """The largest coloured thing in frames [t h w 3], or nothing where less than 0.4 % of the film is coloured."""
    keys = _keys(frames)
    strengths, votes = _tables()
    counts = np.bincount(keys.ravel(), minlength=keys.max() + 1).astype(np.float64)
    totals = votes[:, : len(counts)] @ counts
    if totals.max() < 0.004 * keys.size:
        return None
    colour = int(totals.argmax())
    return Figure(colour, float(totals[colour] / totals.sum()), strengths[colour][keys])


def colour_mask(frames: NDArray[np.uint8], colour: int) -> Floats:
    """How much of each pixel of frames [... 3] is of one palette colour, 0 to 1."""
    return np.asarray(_tables()[0][colour][_keys(frames)])


def _keys(frames: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Each pixel as one number of 15 bits."""
    high = (frames >> 3).astype(np.int32)
    return np.asarray((high[..., 0] << 10) | (high[..., 1] << 5) | high[..., 2])


@cache
def _tables() -> tuple[Floats, NDArray[np.float64]]:
    """For each palette colour and 15-bit pixel: how well it belongs [8, 32768], and its vote for the colour."""
    key = np.arange(1 << 15)
    rgb = np.stack([(key >> 10) & 31, (key >> 5) & 31, key & 31], axis=-1) * 8.0 + 4.0
    hue, chroma = _hue_and_chroma(rgb)
    palette_hue, palette_chroma = _hue_and_chroma(np.array([PALETTE[name] for name in COLOURS], np.float64))
    gap = np.abs((hue[None] - palette_hue[:, None] + 180.0) % 360.0 - 180.0)
    depth = np.clip((chroma[None] / palette_chroma[:, None] - _FAINT) / (_FULL - _FAINT), 0.0, 1.0)
    near = np.clip((_FAR_DEGREES - gap) / (_FAR_DEGREES - _NEAR_DEGREES), 0.0, 1.0)
    nearest = gap.argmin(axis=0)[None] == np.arange(len(COLOURS))[:, None]
    return (depth * near).astype(np.float32), depth * near * nearest


def _hue_and_chroma(rgb: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Hue in degrees and chroma (largest minus smallest channel) of colours [... 3]."""
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    high, low = rgb.max(axis=-1), rgb.min(axis=-1)
    chroma = np.maximum(high - low, 1e-6)
    hue = np.where(
        high == red,
        (green - blue) / chroma,
        np.where(high == green, 2.0 + (blue - red) / chroma, 4.0 + (red - green) / chroma),
    )
    return hue * 60.0 % 360.0, chroma
