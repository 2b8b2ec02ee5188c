"""Which object a figure is and how it turns, by matching its colour mask and its shading with drawn templates."""

from dataclasses import dataclass
from functools import cache

import numpy as np
import skia
from numpy.typing import NDArray

from training.world.objects import picture
from training.world.paint import RGBA
from training.world.scene import COLOURS, HAIR_COLOURS, HAIR_CUTS, OBJECTS, SKINS, Identity
from training.world.segment import Figure, Floats, colour_mask

NUM_ANGLES = 24
_CELLS = 28
_REACH = 2.1
"""Half side of a crop, in units of the figure's spread."""

_NUM_LOOKS = 16
_SHADING_WEIGHT = 1.5
_TURNING_COST = 0.06
"""What a turning explanation must gain over an upright one to win: it has more freedom to fit by chance."""

_CLEAR_TURN = 0.03
"""What turning must gain for the object that won to count as turning."""

_GREY = np.array([0.299, 0.587, 0.114], np.float32) / 255.0


@dataclass(frozen=True)
class Likeness:
    """What a figure looks like.

    Attributes:
        object: index into OBJECTS.
        margin: score of the best object minus score of the second best (scores are about 1 for a perfect match).
        turns: how far it turns during the film, in full turns, clockwise; 0 unless turning explains the film better.
    """

    object: int
    margin: float
    turns: float


@dataclass(frozen=True)
class _Bank:
    """Templates [o f a n] (object or person, facing, angle, cell) of one colour.

    Attributes:
        masks: colour masks with zero mean and unit length.
        shades: luminance times coverage.
        covers: coverage, with unit sum.
        shade_means, shade_squares: coverage-weighted mean and mean square of the luminance, [o f a].
    """

    masks: Floats
    shades: Floats
    covers: Floats
    shade_means: Floats
    shade_squares: Floats


def recognise(frames: NDArray[np.uint8], figure: Figure, track: Floats) -> Likeness:
    """The object that a figure shows, and its turning.

    Args:
        frames: [t h w 3] at the judge's working size.
        track: centre x, centre y and spread of the coloured pixels of each frame, in pixels, [t 3].
    """
    still, turning, turns = _explained(frames, figure, track, _objects(figure.colour))
    best = np.maximum(still, turning - _TURNING_COST)
    order = np.argsort(best)
    winner = int(order[-1])
    gain = turning[winner] - still[winner]
    return Likeness(winner, float(best[winner] - best[order[-2]]), float(turns[winner]) if gain > _CLEAR_TURN else 0.0)


def turns_of_person(frames: NDArray[np.uint8], figure: Figure, track: Floats) -> float:
    """How far a person turns during a film, as `Likeness.turns`, from the dress that a figure shows.

    Whoever it is: people who turn are compared with people who stand, both of the looks that fit best.
    """
    still, turning, turns = _explained(frames, figure, track, _people(figure.colour))
    return float(turns[turning.argmax()]) if turning.max() > still.max() else 0.0


def _explained(frames: NDArray[np.uint8], figure: Figure, track: Floats, bank: _Bank) -> tuple[Floats, Floats, Floats]:
    """As `_explain`, of the frames that show a figure wholly."""
    picks = _complete_frames(figure, track)
    luminance = frames[picks].astype(np.float32) @ _GREY
    scores = _match(figure.mask[picks], luminance, track[picks], bank)
    return _explain(scores, picks / max(1, len(frames) - 1))


def _complete_frames(figure: Figure, track: Floats) -> NDArray[np.intp]:
    """About evenly spread frames, without those where the figure is cut by the frame's edge, if enough are left."""
    count = len(track)
    mask = figure.mask
    edge = mask[:, 0].sum(1) + mask[:, -1].sum(1) + mask[:, :, 0].sum(1) + mask[:, :, -1].sum(1)
    usable = np.flatnonzero((edge < 0.15 * np.maximum(track[:, 2], 1.0)) & (track[:, 2] > 0))
    if len(usable) < min(4, count):
        usable = np.flatnonzero(track[:, 2] > 0)
    spread = np.linspace(0, len(usable) - 1, min(_NUM_LOOKS, len(usable)))
    return np.asarray(usable[np.unique(spread.round().astype(int))])


def _match(masks: Floats, luminance: Floats, track: Floats, bank: _Bank) -> Floats:
    """Scores [t o f a] of each frame against each template, the best over small shifts and scales of the crop."""
    crops, shades = _crops(masks, track, _VARIATIONS), _crops(luminance, track, _VARIATIONS)
    crops = crops - crops.mean(axis=-1, keepdims=True)
    crops /= np.linalg.norm(crops, axis=-1, keepdims=True) + 1e-6
    shape = (*crops.shape[:2], *bank.masks.shape[:3])
    flat = crops.reshape(-1, _CELLS**2)
    shade = shades.reshape(-1, _CELLS**2)
    cells = _CELLS**2
    alike = (flat @ bank.masks.reshape(-1, cells).T).reshape(shape)
    covers = bank.covers.reshape(-1, cells).T
    offset = (shade @ covers).reshape(shape) - bank.shade_means
    square = (shade**2 @ covers).reshape(shape) + bank.shade_squares
    cross = (shade @ bank.shades.reshape(-1, cells).T).reshape(shape)
    unlike = np.sqrt(np.maximum(square - 2 * cross - offset**2, 0.0))
    return np.asarray((alike - _SHADING_WEIGHT * unlike).max(axis=1))


_SHIFT = 0.12
_VARIATIONS = np.array(
    [
        (dx, dy, scale)
        for dx, dy in ((0, 0), (-_SHIFT, 0), (_SHIFT, 0), (0, -_SHIFT), (0, _SHIFT))
        for scale in (0.93, 1.05)
    ],
    np.float32,
)
"""Shifts (in units of the figure's spread) and scales that make up for an inexact centre or size."""


def _crops(images: Floats, track: Floats, variations: Floats) -> Floats:
    """Square, softened crops [t v n] around each figure, scaled by its spread; beyond the frame all is 0."""
    blurred = np.pad(_soften(images), ((0, 0), (1, 1), (1, 1)))
    steps = ((np.arange(_CELLS, dtype=np.float32) + 0.5) / _CELLS * 2 - 1) * _REACH
    size = track[:, None, 2] * variations[:, 2]
    x = (track[:, None, 0] + variations[:, 0] * track[:, None, 2])[..., None] + steps * size[..., None]
    y = (track[:, None, 1] + variations[:, 1] * track[:, None, 2])[..., None] + steps * size[..., None]
    _, height, width = blurred.shape
    left, right_share = _neighbours(x + 1.0, width)
    top, low_share = _neighbours(y + 1.0, height)
    frame = np.arange(len(images))[:, None, None, None]
    top, low, left, right = top[..., :, None], top[..., :, None] + 1, left[..., None, :], left[..., None, :] + 1
    u, v = right_share[..., None, :], low_share[..., :, None]
    upper = blurred[frame, top, left] * (1 - u) + blurred[frame, top, right] * u
    lower = blurred[frame, low, left] * (1 - u) + blurred[frame, low, right] * u
    crops = upper * (1 - v) + lower * v
    crops[..., 1:-1, :] = (crops[..., :-2, :] + 2 * crops[..., 1:-1, :] + crops[..., 2:, :]) / 4
    crops[..., 1:-1] = (crops[..., :-2] + 2 * crops[..., 1:-1] + crops[..., 2:]) / 4
    return np.asarray(crops.reshape(len(images), len(variations), -1))


def _neighbours(position: NDArray[np.floating], length: int) -> tuple[NDArray[np.intp], Floats]:
    """The pixel before each position and the share of the pixel after it."""
    inside = np.clip(position - 0.5, 0, length - 1.001)
    before = inside.astype(np.intp)
    return before, (inside - before).astype(np.float32)


def _soften(images: Floats) -> Floats:
    """A blur of three pixels, so that crops may skip pixels and sharp and soft films look alike."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="edge")
    rows = padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]
    return np.asarray((rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9.0)


def _explain(scores: Floats, progress: NDArray[np.float64]) -> tuple[Floats, Floats, Floats]:
    """For each object: best mean score without turning, best with an even turn, and that turn."""
    rates = np.concatenate([np.arange(-1.1, -0.29, 0.05), np.arange(0.3, 1.11, 0.05)])
    starts = np.array([-1.0, 0.0, 1.0]) / NUM_ANGLES
    angles = rates[:, None, None] * progress + starts[:, None]
    bins = np.round(angles * NUM_ANGLES).astype(int) % NUM_ANGLES
    frame = np.arange(len(scores))
    still = scores[..., 0].mean(axis=0).max(axis=-1)
    paths = scores[frame, :, :, bins].mean(axis=2)
    per_rate = paths.max(axis=(1, 3))
    return still, per_rate.max(axis=0), rates[per_rate.argmax(axis=0)].astype(np.float32)


@cache
def _objects(colour: int) -> _Bank:
    """Every object in one colour."""
    return _bank([picture(name, COLOURS[colour]) for name in OBJECTS], colour)


@cache
def _people(colour: int) -> _Bank:
    """People of every skin, hair and cut in a dress of one colour."""
    looks = zip(SKINS, HAIR_COLOURS, HAIR_CUTS, strict=True)
    return _bank([picture("person", COLOURS[colour], Identity(*values)) for values in looks], colour)


def _bank(drawings: list[skia.Picture], colour: int) -> _Bank:
    """Drawings in a colour at every angle, looking right and left."""
    shape = (len(drawings), 2, NUM_ANGLES, _CELLS**2)
    masks, shades, covers = (np.zeros(shape, np.float32) for _ in range(3))
    for o, drawing in enumerate(drawings):
        for f, facing in enumerate((1, -1)):
            for a in range(NUM_ANGLES):
                masks[o, f, a], shades[o, f, a], covers[o, f, a] = _template(drawing, colour, facing, a)
    masks -= masks.mean(axis=-1, keepdims=True)
    masks /= np.linalg.norm(masks, axis=-1, keepdims=True)
    covers /= covers.sum(axis=-1, keepdims=True)
    means, squares = (covers * shades).sum(-1), (covers * shades**2).sum(-1)
    return _Bank(masks, shades * covers, covers, means, squares)


_SIDE = 96


def _template(shown: skia.Picture, colour: int, facing: int, angle: int) -> tuple[Floats, Floats, Floats]:
    """Mask, luminance and coverage [n] of one drawing, cropped as a figure of a film would be."""
    drawing = np.zeros((_SIDE, _SIDE, 4), np.uint8)
    canvas = skia.Canvas(drawing, colorType=RGBA)
    canvas.translate(_SIDE / 2, _SIDE / 2)
    canvas.rotate(360.0 * angle / NUM_ANGLES)
    canvas.scale(0.56 * _SIDE * facing, 0.56 * _SIDE)
    canvas.drawPicture(shown)
    cover = drawing[..., 3].astype(np.float32) / 255.0
    backed = drawing[..., :3] + ((1.0 - cover[..., None]) * 200.0).round().astype(np.uint8)
    mask = colour_mask(backed, colour)
    track = centres(mask[None])
    here = np.array([[0.0, 0.0, 1.0]], np.float32)
    crop = [_crops(image[None], track, here)[0, 0] for image in (mask, backed.astype(np.float32) @ _GREY, cover)]
    return crop[0], crop[1], crop[2]


def centres(mask: Floats) -> Floats:
    """Centre x, centre y and spread of the coloured pixels of each frame [t h w], in pixels, as [t 3].

    The spread is the root mean square distance from the centre. Pixels far from the middle of the bulk weigh less, so
    that specks elsewhere do not pull. Frames that show nothing have spread 0.
    """
    _, height, width = mask.shape
    x, y = np.arange(width, dtype=np.float32) + 0.5, np.arange(height, dtype=np.float32) + 0.5
    reach = 1.5 * np.sqrt(mask.sum((1, 2))) + 2.0
    weights = mask**2
    for _ in range(3):
        total = weights.sum((1, 2)) + 1e-6
        centre_x, centre_y = weights.sum(1) @ x / total, weights.sum(2) @ y / total
        distance = ((x - centre_x[:, None]) ** 2)[:, None, :] + ((y - centre_y[:, None]) ** 2)[:, :, None]
        weights = mask / (1.0 + (distance / reach[:, None, None] ** 2) ** 3)
    area = weights.sum((1, 2))
    spread = np.sqrt((weights * distance).sum((1, 2)) / (area + 1e-6)) * (area > 0.002 * height * width)
    return np.stack([centre_x, centre_y, spread], axis=-1).astype(np.float32)
