"""Where a film plays and how its camera moves, from the pixels around the figure."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from training.world.motion import View
from training.world.render import empty_place
from training.world.scene import CAMERAS, PLACES, TILTS
from training.world.segment import Floats, resample

_SIDE = 48
"""Short side of the frames on which scenery is compared."""

_ROWS = 12
_SMEAR = 4
"""Frames before and after in which a figure may leave a ghost where it was or will be."""

_PAIR_SECONDS = 0.5
_PAN_SECONDS = 0.3
"""Time between compared frames; shorter for pans, so that scenery that repeats is not taken for its neighbour."""

_NUM_PAIRS = 6
_NOISE = 0.1
"""Change, summed over bands and channels, that frames of a film at rest may show."""

_CLEAR_GAIN = 0.1
"""Share of the difference between frames that a camera move must explain to count."""

_NUM_PROTOTYPES = 12


def scenery_pixels(mask: Floats) -> NDArray[np.bool_]:
    """Pixels [t 48 48] surely without the figure, its outline and its shadow, from its colour mask [t h w]."""
    _, height, width = mask.shape
    rows, columns = _grid(height, width)
    coarse = np.maximum.reduceat(mask, np.arange(rows) * height // rows, axis=1)
    coarse = np.maximum.reduceat(coarse, np.arange(columns) * width // columns, axis=2) > 0.3
    around = np.pad(coarse, ((_SMEAR, _SMEAR), (0, 0), (0, 0)))
    smeared = np.any([around[step : step + len(coarse)] for step in range(2 * _SMEAR + 1)], axis=0)
    grown = _dilate(smeared, 3)
    below = np.maximum.accumulate(grown, axis=1)
    below[:, : rows * 3 // 4] = grown[:, : rows * 3 // 4]
    return np.asarray(~below)


def place_distances(frames: NDArray[np.uint8], clear: NDArray[np.bool_]) -> Floats:
    """Mean colour distance (0 to 255) of the scenery to the nearest example of each place, [8].

    Scenery is described by the median and the spread of each of twelve rows over the film: layouts differ by row, and
    a camera that pans changes no row.

    Args:
        frames: small frames [t h w 3] of the size of `clear`.
    """
    described, known = _rows(frames, clear)
    gaps = np.abs(_prototypes() - described).mean(axis=-1)
    return np.asarray(((gaps * known).sum(axis=-1) / max(float(known.sum()), 1.0)).min(axis=-1))


def camera_gains(frames: NDArray[np.uint8], clear: NDArray[np.bool_], fps: float) -> dict[str, float]:
    """Which share of the change between frames each camera move explains; "still" gets `_CLEAR_GAIN`.

    Frames a moment apart are compared after undoing each move by each plausible amount. Rows pan by amounts of their
    own, since near scenery passes faster than far scenery.

    Args:
        frames: small frames [t h w 3] of the size of `clear`.
    """
    gains = dict.fromkeys(CAMERAS + TILTS, 0.0) | {"still": _CLEAR_GAIN}
    if len(frames) < 2:
        return gains
    images = _steady(np.ascontiguousarray(np.moveaxis(frames, -1, 0)).astype(np.float32) / 255.0)
    band = np.arange(_ROWS)
    for names, apart in ((("pans left", "pans right"), _PAN_SECONDS), (CAMERAS[3:] + TILTS, _PAIR_SECONDS)):
        gap = min(max(1, round(apart * fps)), len(frames) - 1)
        starts = np.unique(np.linspace(0, len(frames) - 1 - gap, _NUM_PAIRS).round().astype(int))
        pairs = _Pairs(images[:, starts], images[:, starts + gap], clear[starts], clear[starts + gap])
        for name in names:
            moves = _moves(name, gap / fps, frames.shape[2])
            change, gain = np.stack([pairs.compare(move) for move in moves], axis=1)
            best = gain.argmax(axis=0) if name.startswith("pans") else np.full(_ROWS, gain.sum(axis=1).argmax())
            gains[name] = float(gain[best, band].sum() / (change[best, band].sum() + _NOISE))
    return gains


def small(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Frames at the size on which scenery is compared."""
    return resample(frames, _SIDE)


def _moves(name: str, seconds: float, width: int) -> list[View]:
    """What the camera may have done in so many seconds, in frame sizes; pans go by whole pixels."""
    sign = 1 if name in ("pans left", "tilts up", "zooms in") else -1
    if name.startswith("pans"):
        return [View(x=sign * step / width) for step in range(1, max(2, round(0.52 * seconds * width)) + 1)]
    if name.startswith("tilts"):
        return [View(y=sign * speed * seconds) for speed in (0.08, 0.17, 0.25)]
    return [View(zoom=float(np.exp(sign * rate * seconds))) for rate in (0.1, 0.16, 0.22, 0.3)]


def _steady(images: Floats) -> Floats:
    """Images [3 t h w] averaged with the frames before and after, so that flicker hides less."""
    padded = np.pad(images, ((0, 0), (1, 1), (0, 0), (0, 0)), mode="edge")
    return np.asarray((padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]) / 3.0)


class _Pairs:
    """Earlier and later frames [3 p h w] of a film, and where each shows scenery [p h w]."""

    def __init__(
        self, before: Floats, after: Floats, clear_before: NDArray[np.bool_], clear_after: NDArray[np.bool_]
    ) -> None:
        self.before, self.after = before, after
        self.clear_before, self.visible = clear_before, clear_before & clear_after
        self.change = np.abs(before - after).sum(axis=0)
        height = before.shape[2]
        self.edges = np.searchsorted(np.arange(height) * _ROWS // height, np.arange(_ROWS))

    def compare(self, move: View) -> Floats:
        """Change at rest, and how much of it goes away once the earlier frames are moved as the camera would.

        Means over each of twelve bands of rows, [2 12]. Pixels that the move brings in from outside count as zeros.
        """
        _, _, height, width = self.before.shape
        x = ((np.arange(width) + 0.5) / width - 0.5) / move.zoom + 0.5 - move.x
        y = ((np.arange(height) + 0.5) / height - 0.5) / move.zoom + 0.5 - move.y
        inside = ((y > 0) & (y < 1))[:, None] & ((x > 0) & (x < 1))
        column = np.clip(x * width, 0, width - 1).astype(np.intp)
        row = np.clip(y * height, 0, height - 1).astype(np.intp)
        moved = self.before[:, :, row[:, None], column]
        where = self.clear_before[:, row[:, None], column] & self.visible & inside
        gain = self.change - np.abs(moved - self.after).sum(axis=0)
        return np.stack([self._band_means(self.change * where), self._band_means(gain * where)])

    def _band_means(self, values: Floats) -> Floats:
        """Sums over bands of rows, divided by the number of pixels that show scenery at rest."""
        total = np.add.reduceat(values.sum(axis=(0, 2)), self.edges)
        pixels = np.add.reduceat(self.visible.sum(axis=(0, 2)), self.edges)
        enough = pixels > 0.05 * values.size / _ROWS
        return np.asarray(np.where(enough, total / np.maximum(pixels, 1), 0.0))


def _rows(frames: NDArray[np.uint8], clear: NDArray[np.bool_]) -> tuple[Floats, NDArray[np.bool_]]:
    """Lower, middle and upper colour of each of twelve bands of rows, [12 9], and which bands are seen."""
    _, height, _, _ = frames.shape
    described = np.zeros((_ROWS, 9), np.float32)
    known = np.zeros(_ROWS, np.bool_)
    for band in range(_ROWS):
        rows = slice(band * height // _ROWS, (band + 1) * height // _ROWS)
        pixels = frames[:, rows][clear[:, rows]]
        known[band] = len(pixels) > 20
        if known[band]:
            described[band] = np.percentile(pixels[:: 1 + len(pixels) // 2000], (15, 50, 85), axis=0).ravel()
    return described, known


@cache
def _prototypes() -> Floats:
    """Descriptions [8 p 12 9] of many views of each place, at rest and zoomed."""
    views = (View(), View(zoom=1.25))
    described = [
        [
            _rows(*_plain(empty_place(place, seed, view, _SIDE, 2 * _SIDE)))[0]
            for seed in range(_NUM_PROTOTYPES)
            for view in views
        ]
        for place in PLACES
    ]
    return np.array(described, np.float32)


def _plain(image: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    return image[None], np.ones((1, *image.shape[:2]), np.bool_)


def _grid(height: int, width: int) -> tuple[int, int]:
    scale = _SIDE / min(height, width)
    return round(height * scale), round(width * scale)


def _dilate(mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """A mask [t h w] grown by `steps` pixels in each direction."""
    grown = mask
    for axis in (1, 2):
        spread = grown.copy()
        for step in range(1, steps + 1):
            spread |= _shifted(grown, step, axis) | _shifted(grown, -step, axis)
        grown = spread
    return grown


def _shifted(mask: NDArray[np.bool_], step: int, axis: int) -> NDArray[np.bool_]:
    rolled = np.roll(mask, step, axis=axis)
    border: list[slice] = [slice(None)] * mask.ndim
    border[axis] = slice(0, step) if step > 0 else slice(step, None)
    rolled[tuple(border)] = False
    return rolled
