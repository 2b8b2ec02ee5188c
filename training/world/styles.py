"""Looks of a whole film, put over finished frames."""

import numpy as np
from numpy.typing import NDArray

_GREY = np.array([0.299, 0.587, 0.114], np.float32)
_SEPIA = np.array([1.07, 0.94, 0.74], np.float32)
_DUSK = np.array([0.66, 0.60, 0.84], np.float32)
_PAPER = np.array([252.0, 249.0, 240.0], np.float32)


def stylise(frames: NDArray[np.uint8], style: str) -> NDArray[np.uint8]:
    """Frames [t h w 3] in a style: "plain", "sketch" (lines on paper), "vintage" (sepia) or "dusk" (dim, blue)."""
    if style == "plain":
        return frames
    out = np.empty_like(frames)
    for index, frame in enumerate(frames.astype(np.float32)):
        out[index] = np.clip(_one(frame, style), 0, 255).round().astype(np.uint8)
    return out


def unstylise(frames: NDArray[np.uint8], style: str) -> NDArray[np.uint8]:
    """Frames [t h w 3] of a style with its tones undone; the lines of a sketch stay, as dark strokes."""
    pixels: NDArray[np.floating] = frames.astype(np.float32)
    match style:
        case "plain":
            return frames
        case "sketch":
            pixels = (pixels - 0.6 * _PAPER) / 0.4
        case "vintage":
            pixels = pixels @ np.linalg.inv(0.5 * np.eye(3) + 0.5 * np.outer(_GREY, _SEPIA))
        case "dusk":
            pixels = pixels / _DUSK
        case _:
            raise ValueError(f"style is {style!r}; must be plain, sketch, vintage or dusk")
    return np.asarray(np.clip(pixels, 0, 255).round().astype(np.uint8))


def _one(frame: NDArray[np.float32], style: str) -> NDArray[np.float32]:
    grey = frame @ _GREY
    match style:
        case "sketch":
            dy, dx = np.gradient(grey)
            lines = np.clip(np.hypot(dx, dy) / 40.0, 0, 1)[..., None]
            return np.asarray((0.6 * _PAPER + 0.4 * frame) * (1 - 0.75 * lines))
        case "vintage":
            return np.asarray(0.5 * frame + 0.5 * grey[..., None] * _SEPIA)
        case "dusk":
            return np.asarray(frame * _DUSK)
    raise ValueError(f"style is {style!r}; must be plain, sketch, vintage or dusk")
