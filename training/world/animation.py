"""Clips made of single pictures: a window that moves over a picture, and objects painted over by their masks."""

from dataclasses import dataclass

import numpy as np
import skia
from numpy.typing import NDArray

from training.world.paint import PALETTE, RGBA

WIDER = 1.25
"""How much larger than the clip a picture is drawn that a window moves over."""

_SHARPEST, _WIDEST = 0.68, 0.96
_PAINT = 0.75
"""How much of a painted pixel is paint."""


@dataclass(frozen=True)
class Window:
    """A square part of a picture, in shares of its extent: centre and side."""

    x: float
    y: float
    side: float


def random_window(rng: np.random.Generator) -> Window:
    """A window that lies within the picture."""
    side = float(rng.uniform(_SHARPEST, _WIDEST))
    x, y = rng.uniform(side / 2, 1 - side / 2, size=2)
    return Window(float(x), float(y), side)


def animate(picture: NDArray[np.uint8], start: Window, end: Window, frames: int, size: int) -> NDArray[np.uint8]:
    """Frames uint8 [t size size 3] of a picture [h w 3], seen through a window that goes evenly from start to end."""
    height, width, _ = picture.shape
    opaque = np.concatenate([picture, np.full_like(picture[..., :1], 255)], axis=-1)
    image = skia.Image.fromarray(np.ascontiguousarray(opaque), colorType=RGBA)
    smooth = skia.SamplingOptions(skia.FilterMode.kLinear)
    clip = np.zeros((frames, size, size, 4), np.uint8)
    for index, done in enumerate(np.linspace(0, 1, frames)):
        x, y, side = (float(a + done * (b - a)) for a, b in zip(_numbers(start), _numbers(end), strict=True))
        canvas = skia.Canvas(clip[index], colorType=RGBA)
        canvas.scale(size / (side * width), size / (side * height))
        canvas.translate(-(x - side / 2) * width, -(y - side / 2) * height)
        canvas.drawImage(image, 0, 0, smooth)
    return np.ascontiguousarray(clip[..., :3])


def paint(frames: NDArray[np.uint8], mask: NDArray[np.bool_], colour: str) -> NDArray[np.uint8]:
    """Frames [t h w 3] with the pixels of a mask [t h w] under a flat colour of the palette, a little see-through."""
    painted = (1 - _PAINT) * frames + _PAINT * np.array(PALETTE[colour], np.float32)
    return np.asarray(np.where(mask[..., None], painted.round(), frames).astype(np.uint8))


def _numbers(window: Window) -> tuple[float, float, float]:
    return window.x, window.y, window.side
