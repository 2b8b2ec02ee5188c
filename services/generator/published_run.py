"""One run of a published transformer: noise by its seed, and the steps of the pipeline's own scheduler."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kino.denoising import State, finite
from services.generator.adapters import key_of
from services.generator.engine import Task
from services.generator.families.denoiser import Denoiser, Order
from services.generator.families.solver import Solver, solver
from services.generator.lockstep import Run
from services.generator.shortcuts import Shortcuts


class PublishedRun(Run):
    """A run of a family's transformer.

    Args:
        order: what to denoise under.
        steps: of the scheduler.
        scheduler: makes a fresh one.
    """

    solver: Solver

    def __init__(
        self,
        task: Task,
        order: Order,
        steps: int,
        denoiser: Denoiser,
        scheduler: Callable[[], Any],
        shortcuts: Shortcuts,
        num_bytes: int,
    ) -> None:
        first = task.start.step if task.start else 0
        exact = [len(task.embeddings[tower]) for tower in denoiser.exact_rows if tower in task.embeddings]
        shape = (order.grid, order.sound, order.fps if denoiser.reads_fps else None, order.picture is None, *exact)
        super().__init__((shape, steps, first, order.guidance, key_of(task.adapters)), num_bytes, first, steps)
        self.seed, self.start, self.adapters, self.order = task.seed, task.start, task.adapters, order
        self._denoiser, self._scheduler, self._shortcuts = denoiser, scheduler, shortcuts

    def begin(self) -> None:
        denoiser, scheduler, order = self._denoiser, self._scheduler(), self.order
        denoiser.set_times(scheduler, self.of, order.grid)
        self.order = order = replace(order, levels=denoiser.levels(scheduler))
        generator = torch.Generator().manual_seed(self.seed)
        if order.picture is not None and denoiser.reads_picture.drawn:  # its latents took the first numbers
            torch.randn(order.picture.shape, generator=generator, dtype=denoiser.dtype)
        noise = denoiser.noise(order, generator).to(denoiser.device)
        self.x_t = denoiser.kept(denoiser.begin(noise, order), order)
        self.solver = solver(scheduler, generator)
        if self.start is not None:
            self.x_t = self._resumed(self.start)

    def time(self, index: int) -> Tensor:
        """The scheduler's time at the step of an index, a scalar."""
        return self.solver.times[index].to(self._denoiser.device)

    def step(self, index: int, prediction: Tensor) -> State:
        denoiser = self._denoiser
        x_t = denoiser.kept(self.solver.step(index, prediction, self.x_t), self.order)
        self.x_t = denoiser.finish(x_t, self.order) if index + 1 == self.of else x_t
        return finite(self._state(index + 1))

    def _resumed(self, start: State) -> Tensor:
        """The sample of the state to go on from, with what the solver keeps of the steps before."""
        sounds: Iterable[Tensor | None] = [self._tensor(array) for array in start.sound] or repeat(None)
        given = zip((start.x_t, *start.history), sounds, strict=False)
        sample, *history = [self._denoiser.arrange(self._tensor(array), sound) for array, sound in given]
        nothing = torch.zeros_like(self.x_t, dtype=self._denoiser.predicts or self._denoiser.dtype)
        kept = partial(self._denoiser.kept, order=self.order)
        typed = self.solver.resume(start.step, history, nothing, torch.zeros_like(self.x_t), kept)
        return sample.to(typed)

    def _state(self, step: int) -> State:
        """The state after a step; in the last one, frames before the clip's own are cut off."""
        denoiser, order = self._denoiser, self.order
        kept = [denoiser.restore(latents, order) for latents in (self.x_t, *self.solver.history(self.x_t))]
        sample, *history = [_array(latents) for latents, _ in kept]
        sounds = tuple(_array(sound) for _, sound in kept if sound is not None)
        if step == self.of:
            lead = denoiser.extent(order.grid).t - order.grid.t
            return State(step, self.of, sample[:, lead:], sound=sounds[:1])
        return State(step, self.of, sample, tuple(history), self._shortcuts.resumes(step), sounds)

    def _tensor(self, array: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(array).to(self._denoiser.device)[None]


def _array(latents: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = latents[0].float().cpu().contiguous().numpy()
    return array
