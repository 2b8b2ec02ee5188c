"""Multi-diffusion over time and space, streamed: a video of any length is denoised in overlapping windows.

Every step waits for the frames of a window, denoises it in windows of space, and lets a frame go once all windows that
it lies in are done; the steps stand behind one another. So what comes out is exactly what the whole video at once
would give, in memory for a few windows.
Source: Movie Gen (arXiv 2410.13720), section 3.1.6: at every step, the weighted mean of what the windows say.
"""

from collections.abc import Callable, Generator, Iterator
from math import ceil
from typing import NamedTuple

import torch
from torch import Tensor

Predict = Callable[[Tensor, Tensor], Tensor]
"""Velocity of a window [1 c t h w], given its state and its condition."""


class Span(NamedTuple):
    """Where a window begins and ends along one axis."""

    start: int
    stop: int


class Frame(NamedTuple):
    """One frame of the video on its way: its state x_t and its condition, each [c h w]."""

    x_t: Tensor
    condition: Tensor


Item = Frame | None
"""A frame that is done, or nothing but the news that a window was denoised."""


def spans(length: int, window: int, overlap: int) -> list[Span]:
    """Windows that cover a length: as few as can be, alike, at least `overlap` shared with the next."""
    count = max(1, ceil((length - overlap) / (window - overlap)))
    size = min(length, window, ceil((length + (count - 1) * overlap) / count))
    starts = [round(index * (length - size) / max(1, count - 1)) for index in range(count)]
    return [Span(start, start + size) for start in starts]


def ramp(span: Span, overlap: int) -> Tensor:
    """Weights of a window along one axis: they rise smoothly over the overlap, and fall again; none of them is zero.

    Squared sines, which sum to one with the neighbour's as a linear ramp does, but leave a window all but unnoticed
    where it ends, since there it knows least of what is around.
    """
    size = span.stop - span.start
    places = torch.arange(1, size + 1)
    nearest = torch.minimum(places, size + 1 - places).clamp(max=overlap + 1)
    return torch.sin(torch.pi / 2 * nearest / (overlap + 1)) ** 2


class Axis(NamedTuple):
    """How an axis is cut into windows."""

    spans: list[Span]
    overlap: int

    @classmethod
    def of(cls, length: int, window: int, overlap: int, scale: int = 1) -> "Axis":
        """An axis whose windows are laid out in units of `scale`."""
        laid = spans(length, window, overlap)
        return cls([Span(scale * start, scale * stop) for start, stop in laid], scale * overlap)


def advance(
    frames: Iterator[Item], time: Axis, space: tuple[Axis, Axis], predict: Predict, dt: float
) -> Iterator[Item]:
    """Yield the frames one Euler step further: x_t + dt v, v merged over the windows of time and space.

    Args:
        frames: as many as the axis of time covers, from the beginning.
        space: of height and of width, in latents.
    """
    held: list[Frame] = []
    velocities: list[Tensor] = []
    first, masses = 0, torch.zeros(time.spans[-1].stop)
    for index, span in enumerate(time.spans):
        while first + len(held) < span.stop:
            item = next(frames)
            if item is None:
                yield None
            else:
                held.append(item)
        weights = ramp(span, time.overlap)
        merged = yield from _over_space(held, space, predict)
        for place, (weight, v) in enumerate(zip(weights.tolist(), merged, strict=True)):
            if place < len(velocities):
                velocities[place] += weight * v
            else:
                velocities.append(weight * v)
        del merged, v
        masses[span.start : span.stop] += weights
        done = span.stop if index + 1 == len(time.spans) else time.spans[index + 1].start
        while first < done:
            frame, v = held.pop(0), velocities.pop(0) / masses[first]
            first += 1
            yield Frame(frame.x_t + dt * v, frame.condition)


def _over_space(frames: list[Frame], space: tuple[Axis, Axis], predict: Predict) -> Generator[None, None, list[Tensor]]:
    """Velocities [c h w] of the frames of one window of time; yields after each window of space."""
    like = frames[0].x_t
    totals, mass = [torch.zeros_like(like) for _ in frames], like.new_zeros(like.shape[-2:])
    for rows in space[0].spans:
        for columns in space[1].spans:
            part = (..., slice(*rows), slice(*columns))
            weights = (ramp(rows, space[0].overlap)[:, None] * ramp(columns, space[1].overlap)).to(like)
            x_t = torch.stack([frame.x_t[part] for frame in frames], dim=1)[None]
            condition = torch.stack([frame.condition[part] for frame in frames], dim=1)[None]
            for total, v in zip(totals, predict(x_t, condition)[0].unbind(dim=1), strict=True):
                total[part] += weights * v
            mass[part] += weights
            yield
    return [total.div_(mass) for total in totals]
