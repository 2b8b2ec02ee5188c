"""Brings what a model changed in a video, at a size and frame rate of its own, back to the video's own pixels.

A mask tells where the model's edit differs from what the model makes of the unchanged video; it is grown a little,
held over neighbouring frames and softened. Elsewhere every pixel of the video stays exactly as it was. Inside, what the
model is too coarse to show is the video's own as long as the model changed little: a face keeps its eyes in another
light. It fades where something else is there. Where an object goes, all of it goes, also what the model shows elsewhere
than the video does. A film that begins with a still has the still's own pixels at first, in the same way.
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
EVERYWHERE, GOING = ("style",), ("remove", "replace")
"""Edits that mean every pixel, and those by which an object goes, as `kino.presets.EDITOR_TASKS` names them."""
STILL_SECONDS = 1
"""Time in which a film leaves the still that it begins with: what hardly differs would else not move with a camera."""
DETAIL, NO_DETAIL = 48, 96
"""Differences up to which the video's own details stay whole, and from which on nothing of them does."""


class Change(NamedTuple):
    """What a model made of a frame.

    Args:
        frame, before: with the edit and without, uint8 [h w c=3].
        mask: how much of each pixel is meant to change, uint8 [h w].
        detail: how much of the video's own details each pixel keeps inside the mask, uint8 [h w].
    """

    frame: Frames
    before: Frames
    mask: NDArray[np.uint8]
    detail: NDArray[np.uint8]


class _Fitted(NamedTuple):
    """A change at the video's size: a frame becomes `keep` [h w 1] times itself, plus `add` [h w c=3]."""

    keep: NDArray[np.float32]
    add: NDArray[np.float32]


def changes(edited: Iterable[Frames], reconstruction: Iterable[Frames], everywhere: bool = False) -> Iterator[Change]:
    """Yield the change of each frame, in memory for three.

    Args:
        edited: frames [h w c=3] one by one, as a model changed them.
        reconstruction: the unchanged frames as the same model shows them.
        everywhere: every pixel is meant to change, as in another style, however little it differs.

    Raises:
        ValueError: they are not as many, or of another size.
    """
    masks: deque[NDArray[np.uint8]] = deque(maxlen=3)
    last: tuple[Frames, Frames, NDArray[np.uint8]] | None = None
    for frame, before in zip_longest(edited, reconstruction):
        if frame is None or before is None or frame.shape != before.shape:
            raise ValueError("edited is of another length or size, must be frame by frame as its reconstruction")
        difference = _difference(frame, before)
        masks.append(np.full_like(difference, 255) if everywhere else _grown(difference))
        if last is not None:
            yield _change(*last, [*masks])
        last = frame, before, difference
    if last is not None:
        yield _change(*last, [*masks][-2:])


def faded(made: Iterable[Change], frames: int) -> Iterator[Change]:
    """Yield changes that leave less and less of a video, down to nothing of it after so many frames.

    A frame becomes s times what it would have been, plus 1 - s times the changed one; s falls linearly from 1 to 0.
    """
    for index, change in enumerate(made):
        share = max(0.0, 1 - index / frames)
        mask = 255 - share * (255 - change.mask.astype(np.float32))
        detail = share * change.mask * change.detail.astype(np.float32) / np.maximum(mask, 1)
        yield change._replace(mask=np.rint(mask).astype(np.uint8), detail=np.rint(detail).astype(np.uint8))


def composite(
    source: Iterable[Frames], fps: Fraction, made: Iterator[Change], made_fps: Fraction, goes: bool = False
) -> Iterator[Frames]:
    """Yield the frames [h w c=3] of a video with a change in them, each with the change that is nearest in time.

    Args:
        goes: as of `blend`.

    Raises:
        ValueError: as `changes`, or there is no change at all.
    """
    index, now = 0, next(made, None)
    if now is None:
        raise ValueError("edited is without frames, must have at least 1")
    fitted: _Fitted | None = None
    for number, frame in enumerate(source):
        wanted = round(number / fps * made_fps)
        while index < wanted and (following := next(made, None)) is not None:
            index, now, fitted = index + 1, following, None
        if goes:
            yield blend(frame, now, goes)
            continue
        if fitted is None:
            fitted = _fitted(now, frame.shape[0], frame.shape[1])
        yield _applied(frame, fitted)


def blend(frame: Frames, change: Change, goes: bool = False) -> Frames:
    """A frame [h w c=3] with a change in it: (1 - m) frame + m (changed + d (frame - unchanged)), rounded.

    m is the mask and d the detail; where m is 0, every pixel is the frame's.

    Args:
        goes: an object of the frame goes, so that no detail stays where the unchanged frame, as the model shows it, is
            another: the object may be there, where the model does not see it.
    """
    if goes:
        height, width = change.before.shape[:2]
        small = np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BOX))
        kept = _details(_difference(small, change.before))
        change = change._replace(detail=np.minimum(change.detail, kept))
    return _applied(frame, _fitted(change, frame.shape[0], frame.shape[1]))


def _applied(frame: Frames, fitted: _Fitted) -> Frames:
    shown: NDArray[np.float32] = np.rint(frame * fitted.keep + fitted.add)
    return shown.clip(0, 255).astype(np.uint8)


def _difference(frame: Frames, before: Frames) -> NDArray[np.uint8]:
    """The largest difference of a channel between two frames [h w]; single pixels are averaged out first."""
    smooth = [np.asarray(Image.fromarray(side).filter(ImageFilter.BoxBlur(1)), np.int16) for side in (frame, before)]
    largest: NDArray[np.int16] = np.abs(smooth[0] - smooth[1]).max(axis=-1)
    return largest.astype(np.uint8)


def _grown(difference: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Where a difference is meant, 0 or 255 [h w], grown and without specks."""
    meant = Image.fromarray((difference > THRESHOLD).astype(np.uint8) * 255)
    return np.asarray(
        meant.filter(ImageFilter.MedianFilter(3)).filter(ImageFilter.MaxFilter(2 * _reach(difference) + 1))
    )


def _change(frame: Frames, before: Frames, difference: NDArray[np.uint8], masks: list[NDArray[np.uint8]]) -> Change:
    """The change of a frame, whose mask is that of its neighbours, too."""
    return Change(frame, before, _soft(np.maximum.reduce(masks)), _details(difference))


def _details(difference: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """How much of its details each pixel [h w] keeps, of 255, where two frames differ so much."""
    kept = np.clip((NO_DETAIL - difference.astype(np.int16)) * 255 // (NO_DETAIL - DETAIL), 0, 255).astype(np.uint8)
    return _soft(np.asarray(Image.fromarray(kept).filter(ImageFilter.MinFilter(2 * _reach(difference) + 1))))


def _soft(mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.asarray(Image.fromarray(mask).filter(ImageFilter.BoxBlur(_reach(mask))))


def _reach(frame: Frames) -> int:
    short: int = min(frame.shape[:2])
    return max(1, round(REACH * short))


def _fitted(change: Change, height: int, width: int) -> _Fitted:
    """A change at another size; stretched as the model's frames were."""

    def resized(picture: NDArray[np.uint8], how: Image.Resampling) -> NDArray[np.float32]:
        return np.asarray(Image.fromarray(picture).resize((width, height), how), np.float32)

    frame, before = (resized(picture, Image.Resampling.BICUBIC) for picture in (change.frame, change.before))
    mask, detail = (
        resized(share, Image.Resampling.BILINEAR)[..., None] / np.float32(255) for share in (change.mask, change.detail)
    )
    return _Fitted(1 - mask + mask * detail, mask * (frame - detail * before))
