"""Generates latents with the transformer of a published pipeline. Arrays in, arrays out."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kino.denoising import Rows, State, check, check_floats, checked_rows
from kino.devices import reserve, room
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
from services.generator.families.denoiser import Denoiser, Order, joined
from services.generator.lockstep import Outcomes, Predict, alone, lockstep
from services.generator.published_run import PublishedRun
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

    def prepare(self, task: Task) -> PublishedRun:
        """Check a task, and return its run; see `Engine`."""
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
        self._check_start(task.start, steps, order)
        extent = self.denoiser.extent(grid)
        needed = self.denoiser.needed_bytes(order) + self.adapters.check(task.adapters)
        reserve(needed, self.device, f"a clip of {extent.t} x {extent.h} x {extent.w} latents")
        return PublishedRun(task, order, steps, self.denoiser, self.parts.scheduler, self.shortcuts, needed)

    def room(self, run: PublishedRun) -> int:
        """How many runs like this one the device has the memory for; see `Engine`."""
        return room(run.num_bytes, self.device)

    def generate(self, task: Task) -> Iterator[State]:
        """Check a task, and return the iterator over its states; see `Engine`."""
        return alone(self.sample([self.prepare(task)]))

    @torch.inference_mode()
    def sample(self, runs: Sequence[PublishedRun]) -> Iterator[Outcomes[PublishedRun]]:
        """Compute runs of one key; see `Engine`."""
        changes = self.adapters.open(runs[0].adapters)

        def predictor(together: Sequence[PublishedRun]) -> Predict:
            with active(changes):
                predict = self.denoiser.predictor(joined([run.order for run in together]))

            def predict_step(x_t: Tensor, index: int) -> Tensor:
                first = together[0]
                with active(changes), self.shortcuts.step(index, index == first.first):
                    return predict(x_t, first.time(index))

            return predict_step

        yield from lockstep(runs, predictor)

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
        negatives = [self._rows("unconditional", task.unconditional)] if needs_negative else []
        sound = () if self.sound is None else self.sound.shape(self.clips.video_frames(grid.t)[1], fps)
        return Order([prompt], negatives, guidance, grid, fps, self._picture(task, grid), sound)

    def _picture(self, task: Task, grid: Grid) -> Tensor | None:
        if task.picture is None:
            return None
        check_floats("latents", task.picture, self.denoiser.picture_shape(grid))
        return self._tensor(task.picture)

    def _rows(self, field: str, rows: Rows) -> dict[str, Tensor]:
        checked = checked_rows(field, rows, self.text_shapes)
        for tower in self.denoiser.whole_rows:
            count, most = len(checked[tower]), self.text_shapes[tower][0]
            if count != most:
                raise ValueError(
                    f"{field}[{tower}].embeddings is of {count} rows, must be of all {most}: the network does not tell "
                    "padding from text"
                )
        return {tower: self._tensor(array) for tower, array in checked.items()}

    def _check_start(self, start: State | None, steps: int, order: Order) -> None:
        if start is None:
            return
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

    def _tensor(self, array: NDArray[np.float32]) -> Tensor:
        return torch.from_numpy(array).to(self.device)[None]
