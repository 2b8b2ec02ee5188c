"""Serves the generator over gRPC: latents from embeddings, with progress and checkpoints, ended within a step."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing

import numpy as np
from numpy.typing import NDArray

from kino import validate, wire
from kino.compute import ComputeQueue
from kino.errors import FailedPreconditionError, InvalidArgumentError
from kino.limits import MAX_STEPS, generator_limits
from kino.presets import PRESETS
from kino.registry import Registry
from kino.store import Store, open_store
from kino.v1.encoder_pb2 import Embedding
from kino.v1.generator_pb2 import (
    Checkpoint,
    GenerateRequest,
    GenerateResponse,
    GenerateResult,
    GeneratorServiceDescribeRequest,
    GeneratorServiceDescribeResponse,
)
from kino.v1.generator_pb2_grpc import GeneratorServiceServicer, add_GeneratorServiceServicer_to_server
from kino.v1.info_pb2 import Info, TextSpace
from kino.v1.progress_pb2 import PHASE_QUEUED, PHASE_RUNNING, Progress
from kino.v1.tensor_pb2 import Tensor
from services import description
from services.generator.engine import GeneratorEngine, State, Task
from services.service import ServiceConfig

_MIN_CHECKPOINT_SECONDS, _MAX_CHECKPOINT_SECONDS = 1e-3, 86_400.0

add_to_server = add_GeneratorServiceServicer_to_server


def create(config: ServiceConfig) -> "GeneratorServicer":
    """Return the servicer. Raises ValueError for a preset that is not there."""
    validate.one_of(config.preset, "preset", tuple(PRESETS))
    return GeneratorServicer(config)


class GeneratorServicer(GeneratorServiceServicer):
    """The generator's calls; one is on the device, the others wait their turn."""

    engine: GeneratorEngine
    store: Store

    def __init__(self, config: ServiceConfig) -> None:
        self.config = config
        self.queue = ComputeQueue("generator", config.queue)

    async def start(self) -> None:
        """Open the store and load the weights."""
        config = self.config
        self.store = await asyncio.to_thread(open_store, config.store)
        registry = Registry(config.models)
        self.engine = await asyncio.to_thread(GeneratorEngine, config.preset, config.version, registry, config.device)

    async def stop(self) -> None:
        """End the worker thread."""
        await asyncio.to_thread(self.queue.close)

    async def Describe(
        self, request: GeneratorServiceDescribeRequest, context: object
    ) -> GeneratorServiceDescribeResponse:
        """Say which model is served and what it accepts."""
        return GeneratorServiceDescribeResponse(info=self._info())

    async def Generate(self, request: GenerateRequest, context: object) -> AsyncIterator[GenerateResponse]:
        """Yield progress and checkpoints as steps are finished, and the latents last."""
        checkpoints = _Checkpoints(request)
        task = await asyncio.to_thread(self._task, request)
        steps = self.engine.generate(task)
        with self.queue.place():
            yield GenerateResponse(progress=Progress(phase=PHASE_QUEUED))
        async with self.queue.turn():
            started = checkpoints.last = time.monotonic()
            yield _running(
                task.start.step if task.start else 0, task.steps or self.engine.preset.sampler.steps, started
            )
            kept: asyncio.Task[Checkpoint] | None = None  # written while the next step is computed
            async with aclosing(self.queue.iterate(steps)) as states:
                async for state in states:
                    if kept is not None:
                        yield GenerateResponse(checkpoint=await kept)
                        kept = None
                    yield _running(state.step, state.of, started)
                    if checkpoints.due(state):
                        kept = asyncio.create_task(self._checkpoint(state, request))
            seconds = time.monotonic() - started
        result = GenerateResult(
            latents=await asyncio.to_thread(self._tensor, state.x_t, request),
            latent_space=self.engine.manifest.spaces.latent,
            model_digest=self.engine.manifest.digest,
            seconds=seconds,
        )
        yield GenerateResponse(result=result)

    async def _checkpoint(self, state: State, request: GenerateRequest) -> Checkpoint:
        x_t = await asyncio.to_thread(self._tensor, state.x_t, request)
        return Checkpoint(step=state.step, of=state.of, x_t=x_t)

    def _info(self) -> Info:
        manifest, preset = self.engine.manifest, self.engine.preset
        spaces = manifest.spaces
        info = description.part("generator", manifest, self.config.device)
        info.latent_space.CopyFrom(description.latent_space(spaces.latent, preset.dit.latent_channels))
        for name, (max_rows, width) in preset.text_shapes.items():
            info.text_spaces.append(TextSpace(tower=name, digest=spaces.text[name], width=width, max_tokens=max_rows))
        info.limits.CopyFrom(generator_limits(preset.name))
        info.limits.queue.CopyFrom(description.queue_limit(self.config.queue))
        return info

    def _task(self, request: GenerateRequest) -> Task:
        sampling, start = request.sampling, None
        if request.HasField("resume_from"):
            given = request.resume_from
            x_t = wire.decode(given.x_t, "resume_from.x_t", "c t h w", store=self.store)
            start = State(given.step, given.of, x_t)
        return Task(
            embeddings=self._rows(request.embeddings, "embeddings"),
            unconditional=self._rows(request.unconditional, "unconditional"),
            frames=request.frames,
            height=request.height,
            width=request.width,
            seed=request.seed,
            steps=sampling.steps if sampling.HasField("steps") else None,
            linear_steps=sampling.linear_steps if sampling.HasField("linear_steps") else None,
            guidance=sampling.guidance if sampling.HasField("guidance") else None,
            start=start,
        )

    def _rows(self, entries: Iterable[Embedding], field: str) -> dict[str, NDArray[np.float32]]:
        """Embeddings by tower; each tower once, each of the space that the model was trained on."""
        rows: dict[str, NDArray[np.float32]] = {}
        towers, spaces = self.engine.preset.text_shapes, self.engine.manifest.spaces.text
        for index, entry in enumerate(entries):
            name = f"{field}[{index}]"
            tower = validate.one_of(entry.tower, f"{name}.tower", tuple(towers))
            if tower in rows:
                raise InvalidArgumentError(f"{name}.tower", tower, "there once")
            if entry.text_space not in ("", spaces[tower]):
                raise FailedPreconditionError(
                    f"{name}.text_space is {entry.text_space[:64]!r}, this generator was trained on {spaces[tower]}"
                )
            axes = f"n {towers[tower][1]}"
            rows[tower] = wire.decode(entry.embeddings, f"{name}.embeddings", axes, store=self.store)
        return rows

    def _tensor(self, array: NDArray[np.float32], request: GenerateRequest) -> Tensor:
        return wire.encode(array, delivery=request.delivery, store=self.store)


class _Checkpoints:
    """Which states are worth keeping: so many steps, or so many seconds, after the one before; never the last."""

    def __init__(self, request: GenerateRequest) -> None:
        self._every, self._seconds = MAX_STEPS, math.inf
        if request.HasField("checkpoint_every"):
            self._every = validate.whole(request.checkpoint_every, "checkpoint_every", 1, MAX_STEPS)
        if request.HasField("checkpoint_seconds"):
            bounds = (_MIN_CHECKPOINT_SECONDS, _MAX_CHECKPOINT_SECONDS)
            self._seconds = validate.real(request.checkpoint_seconds, "checkpoint_seconds", *bounds)
        self.last = time.monotonic()

    def due(self, state: State) -> bool:
        """Return whether a state is to be kept; time counts from `last` on."""
        now = time.monotonic()
        if state.step == state.of or (state.step % self._every and now - self.last < self._seconds):
            return False
        self.last = now
        return True


def _running(step: int, of: int, started: float) -> GenerateResponse:
    seconds = time.monotonic() - started
    return GenerateResponse(progress=Progress(phase=PHASE_RUNNING, step=step, of=of, seconds=seconds))
