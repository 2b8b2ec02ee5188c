"""What networks share that denoise latents beside texts: checks, texts as a batch, a beginning, the steps."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import isfinite
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kino import flow
from kino.limits import MAX_GUIDANCE, MAX_LINEAR_STEPS, MAX_STEPS, SamplerDefaults
from kino.models.dit import DitConfig, Texts
from kino.shapes import Grid
from kino.validate import MAX_SEED

Rows = Mapping[str, NDArray[np.float32]]
"""Embeddings [n d] of one text, by tower."""


class State(NamedTuple):
    """The sample after a finished step: its number from 1, how many there are, x_t float32 [c t h w].

    The history is what a solver of several steps keeps of those before, shaped as the sample; others keep nothing.
    Where a video comes with its sound, that of the sample is [c t m], and behind it those of the history.
    A run resumes from it bit for bit unless it says otherwise.
    """

    step: int
    of: int
    x_t: NDArray[np.float32]
    history: tuple[NDArray[np.float32], ...] = ()
    resumes: bool = True
    sound: tuple[NDArray[np.float32], ...] = ()


class Schedule(NamedTuple):
    """How the flow is integrated: steps, the uniform steps whose beginning they follow, the scale of guidance."""

    steps: int
    linear_steps: int
    guidance: float

    @property
    def times(self) -> Tensor:
        """Times [steps + 1] from 0 to 1."""
        return flow.linear_quadratic(self.steps, self.linear_steps)


def schedule(steps: int | None, linear_steps: int | None, guidance: float | None, preset: SamplerDefaults) -> Schedule:
    """What was asked for within its bounds, None being the preset's own value, `linear_steps` raised to `steps`.

    Raises:
        ValueError: a bound is broken; field, value and bound are named.
    """
    steps = preset.steps if steps is None else steps
    linear_steps = max(steps, preset.linear_steps) if linear_steps is None else linear_steps
    guidance = preset.guidance if guidance is None else guidance
    check("sampling.steps", steps, 1, MAX_STEPS)
    check("sampling.linear_steps", linear_steps, steps, MAX_LINEAR_STEPS)
    check("sampling.guidance", guidance, 1.0, MAX_GUIDANCE)
    return Schedule(steps, linear_steps, guidance)


def beginning(start: State | None, seed: int, steps: int, channels: int, grid: Grid) -> State:
    """Where sampling begins: noise drawn on the CPU, alike for every device, or the state to go on from, checked."""
    check("seed", seed, 0, MAX_SEED)
    shape = (channels, grid.t, grid.h, grid.w)
    if start is None:
        return State(0, steps, torch.randn(shape, generator=torch.Generator().manual_seed(seed)).numpy())
    if start.of != steps:
        raise ValueError(f"resume_from.of is {start.of}, must be the {steps} steps of this request")
    check("resume_from.step", start.step, 1, steps - 1)
    if start.history:
        raise ValueError(f"resume_from.history is of {len(start.history)} tensors, must be of none for this solver")
    if start.sound:
        raise ValueError(f"resume_from.sound is of {len(start.sound)} tensors, must be of none: it makes no sound")
    check_floats("resume_from.x_t", start.x_t, shape)
    return start


def states(
    predict: Callable[[Tensor, Tensor], Tensor], start: State, times: Tensor, device: torch.device
) -> Iterator[State]:
    """The states after each further step; raises `FloatingPointError` once one is not finite.

    Args:
        predict: velocity of a state [1 c t h w] at times [1].
    """
    x_t = torch.from_numpy(start.x_t).to(device)[None]
    for step in flow.sample(predict, x_t, times, start.step):
        yield finite(State(step.index, step.of, step.x_t[0].cpu().numpy()))


def finite(state: State) -> State:
    """A state all of whose numbers are finite; raises `FloatingPointError` for another."""
    if not all(np.isfinite(array).all() for array in (state.x_t, *state.sound)):
        raise FloatingPointError(f"the sample is not finite after step {state.step} of {state.of}")
    return state


def batch(texts: Sequence[Rows], config: DitConfig, device: torch.device) -> Texts:
    """Rows of several texts by tower, padded to the longest, and which of them are there."""
    made: Texts = {}
    for tower, width in config.text_widths:
        lengths = [len(rows[tower]) for rows in texts]
        padded = torch.zeros(len(texts), max(lengths), width)
        for index, rows in enumerate(texts):
            padded[index, : lengths[index]] = torch.from_numpy(rows[tower])
        mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
        made[tower] = padded.to(device), mask.to(device)
    return made


def needed_bytes(config: DitConfig, tokens: int, texts: Sequence[Rows]) -> int:
    """Most bytes that a step on one clip holds at once beside the weights: a feed-forward, and what was read of texts.

    The feed-forward is a block's widest part; of the texts every block has its own keys and values.
    """
    rows = sum(max(len(text[tower]) for text in texts) for tower, _ in config.text_widths)
    feed_forward = tokens * (8 * config.width + 4 * config.hidden)
    return 4 * len(texts) * (feed_forward + rows * 2 * config.layers * config.width)


def checked_rows(field: str, rows: Rows, towers: Mapping[str, tuple[int, int]]) -> Rows:
    """Embeddings that are of every tower once, within its most rows and of its width; raises `ValueError`."""
    if set(rows) != set(towers):
        raise ValueError(f"{field} is of {', '.join(rows) or 'no tower'}, must be one each of {', '.join(towers)}")
    for tower, embeddings in rows.items():
        max_rows, width = towers[tower]
        count = min(len(embeddings), max_rows) if embeddings.ndim else max_rows
        check_floats(f"{field}[{tower}].embeddings", embeddings, (count, width))
    return rows


def check(field: str, value: float, minimum: float, maximum: float) -> None:
    """Refuse a number out of its bounds; raises `ValueError` with all of them."""
    if not (isfinite(value) and minimum <= value <= maximum):
        raise ValueError(f"{field} is {value}, must be from {minimum:g} to {maximum:g}")


def check_floats(field: str, array: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    """Refuse an array of another type or shape, or that is not finite; raises `ValueError`."""
    if array.dtype != np.float32 or array.shape != shape:
        raise ValueError(f"{field} is {array.dtype} {list(array.shape)}, must be float32 {list(shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{field} is partly NaN or infinite, must be finite")
