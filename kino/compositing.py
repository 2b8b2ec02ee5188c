"""Brings what a model changed in a video, at a size and frame rate of its own, back to the video's own pixels.

A mask tells where the model's edit differs from what the model makes of the unchanged video; it is grown a little, held
over neighbouring frames and softened. Elsewhere every pixel of the video stays exactly as it was.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import zip_longest
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from kino.media import Frames

THRESHOLD = 28
"""Difference of a channel, of 255, above which an edit is meant: what a model makes anew differs by less (measured)."""
REACH = 1 / 32
"""How far the mask grows around what differs, and how soft its edge is, in short sides of the model's frames."""


class Change(NamedTuple):
    """A frame as a model changed it, uint8 [h w c=3], and how much of each pixel is meant to change, uint8 [h w]."""

    frame: Frames
    mask: NDArray[np.uint8]


def changes(edited: Iterable[Frames], reconstruction: Iterable[Frames]) -> Iterator[Change]:
    """Yield the change of each frame, in memory for three.

    Args:
        edited: frames [h w c=3] one by one, as a model changed them.
        reconstruction: the unchanged frames as the same model shows them.

    Raises:
        ValueError: they are not as many, or of another size.
    """
    masks: deque[NDArray[np.uint8]] = deque(maxlen=3)
    before: Frames | None = None
    for frame, unchanged in zip_longest(edited, reconstruction):
        if frame is None or unchanged is None or frame.shape != unchanged.shape:
            raise ValueError("edited is of another length or size, must be frame by frame as its reconstruction")
        masks.append(_differs(frame, unchanged))
        if before is not None:
            yield Change(before, _soft(np.maximum.reduce([*masks])))
        before = frame
    if before is not None:
        yield Change(before, _soft(np.maximum.reduce([*masks][-2:])))


def composite(source: Iterable[Frames], fps: Fraction, made: Iterator[Change], made_fps: Fraction) -> Iterator[Frames]:
    """Yield the frames [h w c=3] of a video with a change in them, each with the change that is nearest in time.

    Raises:
        ValueError: as `changes`, or there is no change at all.
    """
    index, now = 0, next(made, None)
    if now is None:
        raise ValueError("edited is without frames, must have at least 1")
    fitted: Change | None = None
    for number, frame in enumerate(source):
        wanted = round(number / fps * made_fps)
        while index < wanted and (following := next(made, None)) is not None:
            index, now, fitted = index + 1, following, None
        if fitted is None:
            fitted = _fitted(now, frame.shape[0], frame.shape[1])
        yield blend(frame, fitted)


def blend(frame: Frames, change: Change) -> Frames:
    """A frame with a change of its size in it: (1 - m) frame + m changed, rounded; where m is 0 it is the frame's."""
    if not change.mask.any():
        return frame
    share = change.mask[..., None].astype(np.uint16)
    return ((frame * (255 - share) + change.frame * share + 127) // 255).astype(np.uint8)


def _differs(frame: Frames, before: Frames) -> NDArray[np.uint8]:
    """Where two frames differ, 0 or 255 [h w], grown and without specks; single pixels are averaged out first."""
    smooth = [np.asarray(Image.fromarray(side).filter(ImageFilter.BoxBlur(1)), np.int16) for side in (frame, before)]
    differs = (np.abs(smooth[0] - smooth[1]).max(axis=-1) > THRESHOLD).astype(np.uint8) * 255
    grown = ImageFilter.MaxFilter(2 * _reach(frame) + 1)
    return np.asarray(Image.fromarray(differs).filter(ImageFilter.MedianFilter(3)).filter(grown))


def _soft(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(mask).filter(ImageFilter.BoxBlur(_reach(mask))))


def _reach(frame: Frames) -> int:
    short: int = min(frame.shape[:2])
    return max(1, round(REACH * short))


def _fitted(change: Change, height: int, width: int) -> Change:
    """A change at another size; stretched as the model's frames were."""
    if change.mask.shape == (height, width):
        return change
    frame = Image.fromarray(change.frame).resize((width, height), Image.Resampling.BICUBIC)
    mask = Image.fromarray(change.mask).resize((width, height), Image.Resampling.BILINEAR)
    return Change(np.asarray(frame), np.asarray(mask))
