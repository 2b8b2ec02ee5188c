"""Flow matching: the path from noise to data, its velocity, training times, the sampling schedule, the Euler sampler.

Notation of Movie Gen (arXiv 2410.13720, section 3.2): x_0 noise, x_1 data, t from 0 (noise) to 1 (data).
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

SIGMA_MIN = 1e-5


class Step(NamedTuple):
    """One finished sampling step: its number from 1, how many there are, and the state x_t after it."""

    index: int  # type: ignore[assignment]  # shadows a method of tuple that nobody calls on a step
    of: int
    x_t: Tensor


def expand(t: Tensor, like: Tensor) -> Tensor:
    """Times [b] shaped to multiply a batch [b, ...]."""
    return t.view(-1, *([1] * (like.ndim - 1)))


def path(x_0: Tensor, x_1: Tensor, t: Tensor) -> Tensor:
    """Point of the optimal-transport path: x_t = t x_1 + (1 - (1 - sigma_min) t) x_0, for times [b]."""
    t = expand(t, x_1)
    return t * x_1 + (1 - (1 - SIGMA_MIN) * t) * x_0


def velocity(x_0: Tensor, x_1: Tensor) -> Tensor:
    """Velocity of the path, constant in t: v = x_1 - (1 - sigma_min) x_0."""
    return x_1 - (1 - SIGMA_MIN) * x_0


def data_from_velocity(x_t: Tensor, v: Tensor, t: Tensor) -> Tensor:
    """Data that a velocity points at: (1 - sigma_min) x_t + (1 - (1 - sigma_min) t) v.

    That is path and velocity solved for x_1.
    """
    t = expand(t, x_t)
    return (1 - SIGMA_MIN) * x_t + (1 - (1 - SIGMA_MIN) * t) * v


def velocity_to_data(x_t: Tensor, x_1: Tensor, t: Tensor) -> Tensor:
    """Velocity that leads to given data: (x_1 - (1 - sigma_min) x_t) / (1 - (1 - sigma_min) t).

    That is `data_from_velocity` solved for v.
    """
    t = expand(t, x_t)
    return (x_1 - (1 - SIGMA_MIN) * x_t) / (1 - (1 - SIGMA_MIN) * t)


def logit_normal_times(count: int, generator: torch.Generator, mean: float = 0.0) -> Tensor:
    """Training times [count]: t = sigmoid(z), z ~ N(mean, 1)."""
    return torch.sigmoid(torch.randn(count, generator=generator) + mean)


def linear_quadratic(steps: int, linear_steps: int) -> Tensor:
    """Times [steps + 1] from 0 to 1: half of them as in `linear_steps` equal steps, the rest growing quadratically.

    The slope is continuous at the join. 50 steps of it follow 1000 linear ones (Movie Gen, section 3.4.2; the smooth
    reading of its second half that later systems use).

    Raises:
        ValueError: steps below 1, or fewer linear steps than steps.
    """
    if steps < 1:
        raise ValueError(f"steps is {steps}, must be at least 1")
    if linear_steps < steps:
        raise ValueError(f"linear_steps is {linear_steps}, must be at least steps, {steps}")
    half = steps // 2
    if half == 0:
        return torch.linspace(0, 1, steps + 1, dtype=torch.float64).float()
    index = torch.arange(steps + 1, dtype=torch.float64)
    join, rest = half / linear_steps, steps - half
    curve = (1 - join - rest / linear_steps) / rest**2
    beyond = index - half
    times = torch.where(index <= half, index / linear_steps, join + beyond / linear_steps + curve * beyond**2)
    times[-1] = 1.0
    return times.float()


def guide(unconditional: Tensor, conditional: Tensor, guidance: float) -> Tensor:
    """Classifier-free guidance: u + g (c - u)."""
    return unconditional + guidance * (conditional - unconditional)


def guide_by_source(
    unconditional: Tensor, source: Tensor, conditional: Tensor, source_guidance: float, guidance: float
) -> Tensor:
    """Guidance by a source and by a text, each with its own scale: u + g_s (s - u) + g (c - s).

    Args:
        source: velocity given the source without the text.
        conditional: velocity given both.
    Source: InstructPix2Pix (arXiv 2211.09800), equation 3.
    """
    return unconditional + source_guidance * (source - unconditional) + guidance * (conditional - source)


def step(x_t: Tensor, v: Tensor, times: Tensor, index: int) -> Tensor:
    """The state after the first-order Euler step of this index, from 0: x_t + (t' - t) v."""
    return x_t + (times[index + 1] - times[index]).to(x_t.device) * v


def sample(predict: Callable[[Tensor, Tensor], Tensor], x_t: Tensor, times: Tensor, start: int = 0) -> Iterator[Step]:
    """Integrate dx/dt = predict(x_t, t) by first-order Euler steps, yielding after every step.

    Progress, cancellation and checkpoints are the caller's, between steps; to resume, pass the last state and index.

    Args:
        predict: velocity of a state [b, ...] at times [b].
        x_t: noise [b, ...], or the state after step `start`.
        times: [steps + 1], increasing from 0 to 1.
        start: steps already done.
    """
    of = len(times) - 1
    for index in range(start, of):
        t = times[index].to(x_t.device).expand(x_t.shape[0])
        x_t = step(x_t, predict(x_t, t), times, index)
        yield Step(index + 1, of, x_t)
