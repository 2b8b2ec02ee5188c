"""Generates latents: noise from a seed, carried along the flow under the guidance of text. Arrays in, arrays out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kino import flow
from kino.devices import reserve
from kino.limits import MAX_GUIDANCE, MAX_LINEAR_STEPS, MAX_STEPS
from kino.models.dit import DiT, Texts
from kino.presets import Preset
from kino.registry import Registry
from kino.shapes import Grid
from kino.weights import open_network

MAX_SEED = 2**63 - 1

Rows = Mapping[str, NDArray[np.float32]]
"""Embeddings [n d] of one text, by tower."""


class State(NamedTuple):
    """The sample after a finished step: its number from 1, how many there are, x_t float32 [c t h w]."""

    step: int
    of: int
    x_t: NDArray[np.float32]


@dataclass(frozen=True)
class Task:
    """What to generate. The size is in pixels; what is None is the preset's own value.

    Args:
        embeddings: the prompt's, one entry for each tower of the model.
        unconditional: what guidance moves away from; not read where guidance is 1.
        seed: of the noise, 0 to 2^63 - 1.
        linear_steps: of the schedule to follow, at least `steps`; the preset's own is raised to that.
        start: the state to go on from; None to begin at noise.
    """

    embeddings: Rows
    unconditional: Rows
    frames: int
    height: int
    width: int
    seed: int
    steps: int | None = None
    linear_steps: int | None = None
    guidance: float | None = None
    start: State | None = None


class GeneratorEngine:
    """A DiT on one device.

    Guidance takes both texts through the network in one batch of two. No two tasks share a batch, so a result depends
    on its task alone, bit for bit.

    Args:
        preset: name of the row; one of random weights needs no registry.
        version: model version or alias in the registry.
        device: as torch names it.
    """

    def __init__(self, preset: str, version: str, registry: Registry, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.preset: Preset
        self.manifest, self.preset, self.network = open_network(
            "dit", preset, version, registry, lambda row: DiT(row.dit)
        )
        self.network.to(self.device)

    def generate(self, task: Task) -> Iterator[State]:
        """Check a task, and return the iterator that computes one step for each item: `of` states, or those left.

        The first `start.step` items of an undisturbed run and then those of a resumed one are the undisturbed run's,
        bit for bit. Dropping the iterator ends the computation.

        Raises:
            ValueError: a bound is broken, or embeddings or start do not fit; field, value and bound are named.
            MemoryError: the device has no room for a task of this size.
        """
        grid = self.preset.video.grid(task.frames, task.height, task.width)
        _check("seed", task.seed, 0, MAX_SEED)
        sampler = self.preset.sampler
        steps = sampler.steps if task.steps is None else task.steps
        linear_steps = max(steps, sampler.linear_steps) if task.linear_steps is None else task.linear_steps
        guidance = sampler.guidance if task.guidance is None else task.guidance
        _check("sampling.steps", steps, 1, MAX_STEPS)
        _check("sampling.linear_steps", linear_steps, steps, MAX_LINEAR_STEPS)
        _check("sampling.guidance", guidance, 1.0, MAX_GUIDANCE)
        texts = [self._checked_rows("embeddings", task.embeddings)]
        if guidance != 1:
            texts.insert(0, self._checked_rows("unconditional", task.unconditional))
        start = self._start(task, grid, steps)
        reserve(self._needed_bytes(grid, texts), self.device, f"a clip of {grid.tokens} tokens")
        return self._sample(start, flow.linear_quadratic(steps, linear_steps), texts, guidance)

    @torch.inference_mode()
    def _sample(self, start: State, times: Tensor, texts: Sequence[Rows], guidance: float) -> Iterator[State]:
        reading = self.network.read(self._batch(texts))

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            v = self.network(x_t.expand(len(texts), -1, -1, -1, -1), t.expand(len(texts)), reading)
            return v if len(texts) == 1 else flow.guide(v[:1], v[1:], guidance)

        x_t = torch.from_numpy(start.x_t).to(self.device)[None]
        for step in flow.sample(predict, x_t, times, start.step):
            state = State(step.index, step.of, step.x_t[0].cpu().numpy())
            if not np.isfinite(state.x_t).all():
                raise FloatingPointError(f"the sample is not finite after step {state.step} of {state.of}")
            yield state

    def _batch(self, texts: Sequence[Rows]) -> Texts:
        """Rows of several texts by tower, padded to the longest, and which of them are there."""
        batch: Texts = {}
        for tower, width in self.preset.dit.text_widths:
            lengths = [len(rows[tower]) for rows in texts]
            padded = torch.zeros(len(texts), max(lengths), width)
            for index, rows in enumerate(texts):
                padded[index, : lengths[index]] = torch.from_numpy(rows[tower])
            mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
            batch[tower] = padded.to(self.device), mask.to(self.device)
        return batch

    def _start(self, task: Task, grid: Grid, steps: int) -> State:
        """Where sampling begins: noise drawn on the CPU, alike for every device, or the state to go on from."""
        shape = (self.preset.dit.latent_channels, grid.t, grid.h, grid.w)
        if task.start is None:
            noise = torch.randn(shape, generator=torch.Generator().manual_seed(task.seed))
            return State(0, steps, noise.numpy())
        if task.start.of != steps:
            raise ValueError(f"resume_from.of is {task.start.of}, must be the {steps} steps of this request")
        _check("resume_from.step", task.start.step, 1, steps - 1)
        _check_floats("resume_from.x_t", task.start.x_t, shape)
        return task.start

    def _checked_rows(self, field: str, rows: Rows) -> Rows:
        towers = self.preset.text_shapes
        if set(rows) != set(towers):
            raise ValueError(f"{field} is of {', '.join(rows) or 'no tower'}, must be one each of {', '.join(towers)}")
        for tower, embeddings in rows.items():
            max_rows, width = towers[tower]
            count = min(len(embeddings), max_rows) if embeddings.ndim else max_rows
            _check_floats(f"{field}[{tower}].embeddings", embeddings, (count, width))
        return rows

    def _needed_bytes(self, grid: Grid, texts: Sequence[Rows]) -> int:
        """Most bytes that a step holds at once beside the weights: a block's feed-forward, and what was read of texts.

        The feed-forward is a block's widest part; of the texts every block has its own keys and values.
        """
        config = self.preset.dit
        rows = sum(max(len(text[tower]) for text in texts) for tower, _ in config.text_widths)
        feed_forward = grid.tokens * (8 * config.width + 4 * config.hidden)
        return 4 * len(texts) * (feed_forward + rows * 2 * config.layers * config.width)


def _check(field: str, value: float, minimum: float, maximum: float) -> None:
    if not (isfinite(value) and minimum <= value <= maximum):
        raise ValueError(f"{field} is {value}, must be from {minimum:g} to {maximum:g}")


def _check_floats(field: str, array: NDArray[np.float32], shape: tuple[int, ...]) -> None:
    if array.dtype != np.float32 or array.shape != shape:
        raise ValueError(f"{field} is {array.dtype} {list(array.shape)}, must be float32 {list(shape)}")
    if not np.isfinite(array).all():
        raise ValueError(f"{field} is partly NaN or infinite, must be finite")
