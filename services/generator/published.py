"""Generates latents with the transformer of a published pipeline. Arrays in, arrays out."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from itertools import repeat

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kino.denoising import Rows, State, check, check_floats, checked_rows
from kino.devices import reserve
from kino.execution import Execution
from kino.family import IMAGE_TO_VIDEO
from kino.limits import MAX_FPS, MAX_GUIDANCE, MAX_STEPS, MIN_FPS, Defaults
from kino.manifest import Manifest
from kino.parts import Parts
from kino.registry import Registry
from kino.shapes import Grid
from kino.validate import MAX_SEED
from services.generator.adapters import ADAPTER_BYTES, Adapters, active
from services.generator.engine import PictureReading, Task, check_picture
from services.generator.families.denoiser import Denoiser, Order
from services.generator.families.solver import Solver, solver
from services.generator.shortcuts import Shortcuts


class PublishedEngine:
    """A family's transformer on one device, its steps those of the pipeline's own scheduler.

    Args:
        family: its denoiser.
        device: as torch names it.
        adapter_bytes: most bytes of adapters.
        execution: as published if None.
    """

    def __init__(
        self,
        family: type[Denoiser],
        manifest: Manifest,
        registry: Registry,
        device: str = "cpu",
        adapter_bytes: int = ADAPTER_BYTES,
        execution: Execution | None = None,
    ) -> None:
        self.manifest, self.device = manifest, torch.device(device)
        self.parts = Parts(manifest, registry, execution)
        self.denoiser = family(self.parts, self.device)
        self.shortcuts = Shortcuts(self.denoiser.networks.values(), self.parts.execution)
        self.adapters = Adapters(self.denoiser.networks, manifest, registry, self.device, adapter_bytes)
        assert self.parts.settings.sampling is not None
        sampling = self.parts.settings.sampling
        self.clips, self.sound = self.denoiser.clips, self.parts.settings.sound
        self.defaults = Defaults(sampling.steps, None, sampling.guidance, family.reads_fps)
        self.text_shapes: Mapping[str, tuple[int, int]] = self.parts.settings.texts
        self.abilities = self.parts.settings.abilities

    @property
    def reads_picture(self) -> PictureReading | None:
        """How it reads the picture that a video begins with, None where it reads none."""
        return self.denoiser.reads_picture if IMAGE_TO_VIDEO in self.abilities else None

    def generate(self, task: Task) -> Iterator[State]:
        """Check a task, and return the iterator over its states; see `Engine`."""
        check_picture(task.picture, self.abilities)
        grid = self.clips.grid(task.frames, task.height, task.width)
        steps = self.defaults.steps if task.steps is None else task.steps
        check("seed", task.seed, 0, MAX_SEED)
        check("sampling.steps", steps, 1, MAX_STEPS)
        if task.linear_steps not in (None, steps):
            raise ValueError(
                f"sampling.linear_steps is {task.linear_steps}, must be left out: the scheduler is the model's"
            )
        self.shortcuts.check(task.adapters)
        order = self._order(task, grid)
        extent = self.denoiser.extent(grid)
        needed = self.denoiser.needed_bytes(order) + self.adapters.check(task.adapters)
        reserve(needed, self.device, f"a clip of {extent.t} x {extent.h} x {extent.w} latents")
        return self._sample(task, self._start(task.start, steps, order), steps, order, extent.t - grid.t)

    @torch.inference_mode()
    def _sample(self, task: Task, start: State | None, steps: int, order: Order, lead: int) -> Iterator[State]:
        denoiser, scheduler = self.denoiser, self.parts.scheduler()
        denoiser.set_times(scheduler, steps, order.grid)
        order = replace(order, levels=denoiser.levels(scheduler))
        generator = torch.Generator().manual_seed(task.seed)
        if order.picture is not None and denoiser.reads_picture.drawn:  # its latents took the first numbers
            torch.randn(order.picture.shape, generator=generator, dtype=denoiser.dtype)
        noise = denoiser.noise(order, generator).to(self.device)
        x_t = denoiser.kept(denoiser.begin(noise, order), order)
        run, changes = solver(scheduler, generator), self.adapters.open(task.adapters)
        with active(changes):
            predict = denoiser.predictor(order)
        if start is not None:
            sounds: Iterable[Tensor | None] = [self._tensor(array) for array in start.sound] or repeat(None)
            given = zip((start.x_t, *start.history), sounds, strict=False)
            sample, *history = [denoiser.arrange(self._tensor(array), sound) for array, sound in given]
            nothing = torch.zeros_like(x_t, dtype=denoiser.predicts or denoiser.dtype)
            typed = run.resume(start.step, history, nothing, torch.zeros_like(x_t), partial(denoiser.kept, order=order))
            x_t = sample.to(typed)
        first = start.step if start else 0
        for index in range(first, steps):
            time = run.times[index].to(self.device)
            with active(changes), self.shortcuts.step(index, index == first):
                prediction = predict(x_t, time)
            x_t = denoiser.kept(run.step(index, prediction, x_t), order)
            x_t = denoiser.finish(x_t, order) if index + 1 == steps else x_t
            state = self._state(index + 1, steps, x_t, run, order, lead)
            if not all(np.isfinite(array).all() for array in (state.x_t, *state.sound)):
                raise FloatingPointError(f"the sample is not finite after step {state.step} of {state.of}")
            yield state

    def _state(self, step: int, of: int, x_t: Tensor, run: Solver, order: Order, lead: int) -> State:
        """The state after a step; in the last one, frames before the clip's own are cut off."""
        kept = [self.denoiser.restore(latents, order) for latents in (x_t, *run.history(x_t))]
        sample, *history = [_array(latents) for latents, _ in kept]
        sounds = tuple(_array(sound) for _, sound in kept if sound is not None)
        if step == of:
            return State(step, of, sample[:, lead:], sound=sounds[:1])
        return State(step, of, sample, tuple(history), self.shortcuts.resumes(step), sounds)

    def _order(self, task: Task, grid: Grid) -> Order:
        default = self.defaults.guidance
        if default is None and task.guidance not in (None, 1):
            raise ValueError(
                f"sampling.guidance is {task.guidance}, must be left out: the model was distilled to need none"
            )
        guidance = 1.0 if default is None else default if task.guidance is None else task.guidance
        check("sampling.guidance", guidance, 1.0, MAX_GUIDANCE)
        fps = float(self.clips.fps) if task.fps is None else task.fps
        check("fps", fps, MIN_FPS, MAX_FPS)
        prompt = self._rows("embeddings", task.embeddings)
        needs_negative = guidance != 1 and not self.denoiser.embeds_guidance
        negative = self._rows("unconditional", task.unconditional) if needs_negative else None
        sound = () if self.sound is None else self.sound.shape(self.clips.video_frames(grid.t)[1], fps)
        return Order(prompt, negative, guidance, grid, fps, self._picture(task, grid), sound)

    def _picture(self, task: Task, grid: Grid) -> Tensor | None:
        if task.picture is None:
            return None
        check_floats("latents", task.picture, self.denoiser.picture_shape(grid))
        return self._tensor(task.picture)

    def _rows(self, field: str, rows: Rows) -> dict[str, Tensor]:
        checked = checked_rows(field, rows, self.text_shapes)
        return {tower: self._tensor(array) for tower, array in checked.items()}

    def _start(self, start: State | None, steps: int, order: Order) -> State | None:
        if start is None:
            return None
        if start.of != steps:
            raise ValueError(f"resume_from.of is {start.of}, must be the {steps} steps of this request")
        check("resume_from.step", start.step, 1, steps - 1)
        extent = self.denoiser.extent(order.grid)
        shape = (self.clips.channels, extent.t, extent.h, extent.w)
        for field, array in (("x_t", start.x_t), *(("history", array) for array in start.history)):
            check_floats(f"resume_from.{field}", array, shape)
        count = 1 + len(start.history) if order.sound else 0
        if len(start.sound) != count:
            raise ValueError(f"resume_from.sound is of {len(start.sound)} tensors, must be of {count}")
        for array in start.sound:
            check_floats("resume_from.sound", array, order.sound)
        return start

    def _tensor(self, array: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(array).to(self.device)[None]


def _array(latents: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = latents[0].float().cpu().contiguous().numpy()
    return array
