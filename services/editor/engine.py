"""Edits latents: noise carried along the flow beside the latents of a source, as a text says. Arrays in, arrays out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kino import conditions, flow
from kino.denoising import (
    Rows,
    Schedule,
    State,
    batch,
    beginning,
    check,
    check_floats,
    checked_rows,
    needed_bytes,
    schedule,
    states,
)
from kino.devices import reserve
from kino.limits import EDITS, MAX_GUIDANCE
from kino.models.dit import DiT
from kino.presets import EDITOR_TASKS, Preset
from kino.registry import Registry
from kino.shapes import SPATIAL_COMPRESSION, Grid, latent_frames
from kino.weights import open_network
from kino.windows import cut, merged

IMAGE = "image"
"""The task that brings a picture to life; every other one edits a video."""


@dataclass(frozen=True)
class Task:
    """What to make of what. What is None is the preset's own value.

    Args:
        task: one of `kino.presets.EDITOR_TASKS`, but for "text".
        embeddings: of the instruction, or of the prompt where a picture is given; one entry for each tower.
        unconditional: what guidance moves away from; not read where guidance and source guidance are 1.
        latents: of the video, or of the picture, which has one latent frame: float32 [c t h w].
        frames: of the result: those of the video, or any number to follow a picture.
        seed: of the noise, 0 to 2^63 - 1.
        start: the state to go on from; None to begin at noise.
    """

    task: str
    embeddings: Rows
    unconditional: Rows
    latents: NDArray[np.float32]
    frames: int
    seed: int
    steps: int | None = None
    linear_steps: int | None = None
    guidance: float | None = None
    source_guidance: float | None = None
    start: State | None = None


@dataclass(frozen=True)
class _Guided:
    """A task that was checked: the texts that the network reads at each step, and how what it says is joined.

    Args:
        texts: without words and with them, or only with them where there is no guidance; three where `source_guidance`
            is not 1, the first of which goes without the source.
        window: latent frames that are denoised together.
    """

    task: str
    texts: Sequence[Rows]
    latents: NDArray[np.float32]
    grid: Grid
    window: int
    how: Schedule
    source_guidance: float


class EditorEngine:
    """A DiT with a condition on extra channels, on one device.

    A video longer than the clips that the network was trained on is edited in windows of their length, half of it
    apart, whose velocities are merged at every step. Guidance takes a window through the network in one batch of two or
    three. No two tasks share a batch, so a result depends on its task alone, bit for bit.

    Args:
        preset: name of the row; one of random weights needs no registry.
        version: model version or alias in the registry.
        device: as torch names it.
    """

    def __init__(self, preset: str, version: str, registry: Registry, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.preset: Preset
        self.manifest, self.preset, self.network = open_network(
            "editor", preset, version, registry, lambda row: DiT(row.editor)
        )
        self.network.to(self.device)
        self.clips = self.preset.video.clips(self.preset.dit.latent_channels)

    def edit(self, task: Task) -> Iterator[State]:
        """Check a task, and return the iterator that computes one step for each item: `of` states, or those left.

        The first `start.step` items of an undisturbed run and then those of a resumed one are the undisturbed run's,
        bit for bit. Dropping the iterator ends the computation.

        Raises:
            ValueError: a bound is broken, or latents, embeddings or start do not fit; field, value and bound are named.
            MemoryError: the device has no room for a task of this size.
        """
        edits, towers, config = EDITS[self.preset.name], self.preset.text_shapes, self.preset.editor
        grid = self._grid(task)
        how = schedule(task.steps, task.linear_steps, task.guidance, edits.sampler)
        own = edits.picture_guidance if task.task == IMAGE else edits.source_guidance
        source_guidance = own if task.source_guidance is None else task.source_guidance
        check("source_guidance", source_guidance, 1.0, MAX_GUIDANCE)
        texts = [checked_rows("embeddings", task.embeddings, towers)]
        if how.guidance != 1 or source_guidance != 1:
            nothing = checked_rows("unconditional", task.unconditional, towers)
            texts = [nothing] * (1 if source_guidance == 1 else 2) + texts
        start = beginning(task.start, task.seed, how.steps, config.latent_channels, grid)
        window = grid.t if task.task == IMAGE else min(grid.t, latent_frames(self.preset.video.frames))
        num_bytes = needed_bytes(config, grid.tokens * window // grid.t, texts)
        reserve(num_bytes, self.device, f"a clip of {grid.tokens} tokens")
        return self._sample(start, _Guided(task.task, texts, task.latents, grid, window, how, source_guidance))

    def _grid(self, task: Task) -> Grid:
        """The grid of the result, from a source that fits it."""
        known = [name for name in EDITOR_TASKS if name != "text"]
        if task.task not in known:
            raise ValueError(f"task is {task.task!r}, must be one of {', '.join(known)}")
        channels, latents = self.preset.dit.latent_channels, task.latents
        if latents.ndim != 4:
            raise ValueError(f"latents is {latents.dtype} {list(latents.shape)}, must be float32 [{channels} t h w]")
        height, width = (side * SPATIAL_COMPRESSION for side in latents.shape[2:])
        grid = self.clips.grid(task.frames, height, width)
        source_frames = 1 if task.task == IMAGE else grid.t
        check_floats("latents", latents, (channels, source_frames, grid.h, grid.w))
        return grid

    @torch.inference_mode()
    def _sample(self, start: State, given: _Guided) -> Iterator[State]:
        count = len(given.texts)
        task = torch.full((count,), EDITOR_TASKS.index(given.task), device=self.device)
        reading = self.network.read(batch(given.texts, self.preset.editor, self.device), task)
        source = torch.from_numpy(given.latents).to(self.device)[None]
        if given.task == IMAGE:
            condition = conditions.from_picture(source, given.grid.t)
        else:
            condition = conditions.from_video(source)

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            def of_window(state: Tensor, starts: Sequence[int]) -> Tensor:
                here = cut(condition, 2, starts, given.window).expand(count, -1, -1, -1, -1).clone()
                if count == 3:
                    here[0] = 0.0
                beside = torch.cat([state.expand(count, -1, -1, -1, -1), here], dim=1)
                return _joined(self.network(beside, t.expand(count), reading), given)

            return merged(of_window, x_t, given.window, 1)

        yield from states(predict, start, given.how.times, self.device)


def _joined(v: Tensor, given: _Guided) -> Tensor:
    """One velocity [1 c t h w] of those of all texts [n c t h w]."""
    if len(v) == 1:
        return v
    if len(v) == 2:
        return flow.guide(v[:1], v[1:], given.how.guidance)
    return flow.guide_by_source(v[:1], v[1:2], v[2:], given.source_guidance, given.how.guidance)
