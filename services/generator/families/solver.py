"""Schedulers of `diffusers` as solvers that can stop after any step and go on later, bit for bit."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor


class Solver:
    """One run of a scheduler whose times are laid out.

    Args:
        scheduler: a fresh one; it is changed by every step.
        generator: of noise that steps add, where the scheduler does.
    """

    def __init__(self, scheduler: Any, generator: torch.Generator) -> None:
        self.scheduler, self.generator = scheduler, generator
        self.times: Tensor = scheduler.timesteps
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)

    def step(self, index: int, prediction: Tensor, x_t: Tensor) -> Tensor:
        """The latents after the step of this index, from 0."""
        after: Tensor = self.scheduler.step(prediction, self.times[index], x_t, return_dict=False)[0]
        return after

    def history(self, like: Tensor) -> list[Tensor]:
        """What is kept of the steps before, tensors shaped as the latents, always in the same order."""
        return [holder[key] for holder, key in self._kept(like)]

    def resume(
        self, steps: int, history: Sequence[Tensor], prediction: Tensor, x_t: Tensor, kept: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """Come to where a run was after so many steps, and return nothing in the type of what it had there.

        The steps are taken again with nothing in them, which counts what is to be counted and draws what noise is to be
        drawn; then what was kept takes its place.

        Args:
            prediction, x_t: zeros, shaped and typed as those of the first step.
            kept: what is done to latents after every step.

        Raises:
            ValueError: the history is not of as many tensors as there.
        """
        for index in range(steps):
            x_t = kept(self.step(index, prediction, x_t))
        slots = list(self._kept(x_t))
        if len(slots) != len(history):
            raise ValueError(f"resume_from.history is of {len(history)} tensors, must be of {len(slots)}")
        for (holder, key), array in zip(slots, history, strict=True):
            holder[key] = array.to(holder[key])
        return x_t

    def _kept(self, like: Tensor) -> Iterator[tuple[Any, Any]]:
        """Where tensors shaped as the latents lie, in this solver and its scheduler."""
        for owner in (self, self.scheduler):
            for name, value in sorted(vars(owner).items()):
                if isinstance(value, Tensor) and value.shape == like.shape:
                    yield vars(owner), name
                elif isinstance(value, list):
                    yield from (
                        (value, n) for n, item in enumerate(value) if getattr(item, "shape", None) == like.shape
                    )


class LookingBack(Solver):
    """CogVideoX's multistep scheduler, which is handed what it said of the data one step before."""

    data: Tensor | None = None

    def step(self, index: int, prediction: Tensor, x_t: Tensor) -> Tensor:
        """The latents after a step; noise is added on the way."""
        back = self.times[index - 1] if index else None
        after: Tensor
        after, self.data = self.scheduler.step(
            prediction, self.data, self.times[index], back, x_t, generator=self.generator, return_dict=False
        )
        return after


SOLVERS: dict[str, type[Solver]] = {"CogVideoXDPMScheduler": LookingBack}
"""Schedulers whose steps are called otherwise than all others'."""


def solver(scheduler: Any, generator: torch.Generator) -> Solver:
    """The solver that drives a scheduler."""
    return SOLVERS.get(type(scheduler).__name__, Solver)(scheduler, generator)
