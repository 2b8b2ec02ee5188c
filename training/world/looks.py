"""Reads skin and hair of a person from the pixels of a film, without anything learned: by where they lie on a dress."""

import numpy as np
from numpy.typing import NDArray

from training.world.characters import HAIR_COLOURS, SKIN_COLOURS
from training.world.segment import Floats, find_figure, resample

_DRESS_AREA, _DRESS_MIDDLE = 0.17, 0.192
"""Share of a person's unit box that the dress fills, and how far below the box's middle its own lies."""

_SKIN, _HAIR = (-0.2, 0.1, 0.025), (-0.425, 0.1, 0.035)
"""Height of the middle, half the width and half the height of what is read: cheeks below the eyes, and the fringe."""

_PERSON = (-0.03, 0.34, 0.6)
"""The same of the whole person."""

_SKIN_PERCENTILE = 70
"""Skin is lighter than the eyes and the mouth, which may be smeared over it."""

_FEWEST = 0.003
"""Share of the frame that a dress fills at least."""


def read_looks(frames: NDArray[np.uint8]) -> tuple[str, str] | None:
    """Skin and colour of hair of the person of frames uint8 [t h w 3], who stands upright; None where nobody is seen.

    They are the palette colours nearest to what is seen above the dress, over all frames.
    """
    frames = resample(frames)
    figure = find_figure(frames)
    if figure is None:
        return None
    skin, hair = [], []
    for frame, mask in zip(frames, figure.mask, strict=True):
        box = _unit_box(mask)
        if box is not None:
            skin.append(frame[_part(box, _SKIN)].reshape(-1, 3).astype(np.float32))
            hair.append(frame[_part(box, _HAIR)].reshape(-1, 3).astype(np.float32))
    if not skin:
        return None
    skin_colour = _nearest(np.concatenate(skin), SKIN_COLOURS, _SKIN_PERCENTILE)
    return skin_colour, _nearest(np.concatenate(hair), HAIR_COLOURS)


def person_pixels(frames: NDArray[np.uint8]) -> Floats | None:
    """Where the person of frames [t h w 3] may be at the judge's working size [t h w], 0 or 1; None without one.

    What is not of the dress is neither thing nor scenery to the judge of films.
    """
    figure = find_figure(frames := resample(frames))
    if figure is None:
        return None
    covered = np.zeros(frames.shape[:3], np.float32)
    for pixels, mask in zip(covered, figure.mask, strict=True):
        box = _unit_box(mask)
        if box is not None:
            pixels[_part(box, _PERSON)] = 1.0
    return covered


def turned_about(track: Floats, mask: Floats, turns: float) -> Floats:
    """Where the middle of a person is who turns so often in a film, from the track [t 3] and mask [t h w] of the dress.

    Who turns does so about the middle of the body, which the dress goes round.
    """
    angles = 2 * np.pi * turns * np.linspace(0, 1, len(track))
    below = _DRESS_MIDDLE * np.sqrt(mask.sum((1, 2)) / _DRESS_AREA)
    middle = track.copy()
    middle[:, 0] += np.sin(angles) * below
    middle[:, 1] -= np.cos(angles) * below
    return middle


def _unit_box(mask: Floats) -> tuple[float, float, float] | None:
    """Middle and side in pixels of the unit box that a dress of this mask [h w] is drawn in; None without a dress."""
    total = float(mask.sum())
    if total < _FEWEST * mask.size:
        return None
    x = float(mask.sum(0) @ (np.arange(mask.shape[1]) + 0.5)) / total
    y = float(mask.sum(1) @ (np.arange(mask.shape[0]) + 0.5)) / total
    side = (total / _DRESS_AREA) ** 0.5
    return x, y - _DRESS_MIDDLE * side, side


def _part(box: tuple[float, float, float], part: tuple[float, float, float]) -> tuple[slice, slice]:
    """Rows and columns of a frame that a part of the unit box takes; none where it lies outside."""
    (x, y, side), (height, half_width, half_height) = box, part
    top, bottom = y + (height - half_height) * side, y + (height + half_height) * side
    left, right = x - half_width * side, x + half_width * side
    return slice(max(round(top), 0), max(round(bottom), 0)), slice(max(round(left), 0), max(round(right), 0))


def _nearest(pixels: Floats, palette: dict[str, tuple[int, int, int]], percentile: float = 50) -> str:
    """The palette colour nearest to a percentile of pixels; the first where there are none."""
    if not len(pixels):
        return next(iter(palette))
    colour = np.percentile(pixels, percentile, axis=0)
    return min(palette, key=lambda name: float(np.abs(colour - np.array(palette[name])).sum()))
