"""Multi-diffusion over time: what is long is denoised in overlapping windows at once, their velocities merged.

Source: Movie Gen, section 6.4: triangular weights, which leave fewer seams than uniform ones.
"""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from kino import flow
from kino.models.dit import DiT, Reading


def window_starts(length: int, window: int) -> list[int]:
    """Where the windows over so many latents begin: half a window apart, the last one at the end; one if it fits."""
    if length <= window:
        return [0]
    last = length - window
    return [*range(0, last, max(1, window // 2)), last]


def triangle(window: int) -> Tensor:
    """Weights [window] that rise linearly to the centre and fall again, none of them zero."""
    places = torch.arange(window) + 0.5
    return torch.minimum(places, window - places) * (2 / window)


def merged(predict: Callable[[Tensor, Sequence[int]], Tensor], x_t: Tensor, window: int, num_at_once: int) -> Tensor:
    """The weighted mean of what `predict` says of each window of a state, in memory for `num_at_once` of them.

    Args:
        predict: velocities [n*b c window ...] of windows [n*b c window ...], n groups of them, that begin at these n
            latents.
        x_t: [b c l ...], l latents in time.
    """
    length = x_t.shape[2]
    starts = window_starts(length, window)
    if len(starts) == 1:
        return predict(x_t, starts)
    weights = triangle(window).to(x_t).view(-1, *[1] * (x_t.ndim - 3))
    total, mass = torch.zeros_like(x_t), x_t.new_zeros(length, *[1] * (x_t.ndim - 3))
    for group in _groups(starts, num_at_once):
        velocities = predict(cut(x_t, 2, group, window), group)
        for start, v in zip(group, velocities.split(len(x_t)), strict=True):
            total[:, :, start : start + window] += weights * v
            mass[start : start + window] += weights
    return total / mass


def guided(
    network: DiT, reading: Reading, num_texts: int, guidance: float, window: int
) -> Callable[[Tensor, Tensor], Tensor]:
    """The velocity of clips [b c l h w] at times [b] under guidance, by windows where they are longer than one.

    Args:
        reading: of the texts of all clips alone, or of what guidance moves away from in each and then the texts.
        num_texts: of each clip, 1 or 2.
        window: latents in time of the longest clips that the network was trained on.
    """

    def predict(x_t: Tensor, t: Tensor) -> Tensor:
        def of_window(state: Tensor, _: Sequence[int]) -> Tensor:
            v: Tensor = network(state.repeat(num_texts, 1, 1, 1, 1), t.repeat(num_texts), reading)
            if num_texts == 1:
                return v
            without, under = v.chunk(2)
            return flow.guide(without, under, guidance)

        return merged(of_window, x_t, window, 1)

    return predict


def cut(values: Tensor, dim: int, starts: Sequence[int], window: int) -> Tensor:
    """The windows of a tensor along one dimension, stacked in the first."""
    window = min(window, values.shape[dim])
    return torch.cat([values.narrow(dim, start, window) for start in starts])


def _groups(starts: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for first in range(0, len(starts), size):
        yield starts[first : first + size]
