"""Serves the generator over gRPC: latents from embeddings, with progress and checkpoints, ended within a step."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import asdict
from functools import partial
from typing import Any

from kino import adapter_requests, validate, wire
from kino.batches import Batches
from kino.compute import ComputeQueue
from kino.errors import FailedPreconditionError
from kino.limits import limits_of
from kino.presets import PRESETS
from kino.registry import Registry
from kino.store import Store
from kino.v1.generator_pb2 import (
    Checkpoint,
    GenerateRequest,
    GenerateResponse,
    GenerateResult,
    GeneratorServiceDescribeRequest,
    GeneratorServiceDescribeResponse,
)
from kino.v1.generator_pb2_grpc import GeneratorServiceServicer, add_GeneratorServiceServicer_to_server
from kino.v1.info_pb2 import Info, PictureReading
from kino.v1.progress_pb2 import Progress
from services import description
from services.denoising import Checkpoints, Denoised, asked, rows, start_of, tell
from services.generator.engine import Engine, Task
from services.generator.families.table import open_engine
from services.service import ServiceConfig

add_to_server = add_GeneratorServiceServicer_to_server


def create(config: ServiceConfig) -> "GeneratorServicer":
    """Return the servicer. Raises ValueError for a preset that is not there."""
    validate.one_of(config.preset, "preset", tuple(PRESETS))
    return GeneratorServicer(config)


class GeneratorServicer(GeneratorServiceServicer):
    """The generator's calls; one is on the device, or several of one shape, the others wait their turn."""

    batches: Batches[Any, Any]
    engine: Engine[Any]
    store: Store
    registry: Registry

    def __init__(self, config: ServiceConfig) -> None:
        self.config = config
        self.queue = ComputeQueue("generator", config.queue)

    async def start(self) -> None:
        """Open the store and load the weights."""
        config = self.config
        self.store = await config.open_store()
        self.registry = Registry(config.models)
        self.engine = await asyncio.to_thread(
            open_engine,
            config.preset,
            config.version,
            self.registry,
            config.device,
            config.execution,
            config.adapter_mib << 20,
        )
        self.batches = Batches(self.queue, config.execution.batch, self.engine.room, self.engine.sample)

    async def stop(self) -> None:
        """End the worker thread."""
        await asyncio.to_thread(self.queue.close)

    async def Describe(
        self, request: GeneratorServiceDescribeRequest, context: object
    ) -> GeneratorServiceDescribeResponse:
        """Say which model is served and what it accepts."""
        return GeneratorServiceDescribeResponse(info=await asyncio.to_thread(self._info))

    async def Generate(self, request: GenerateRequest, context: object) -> AsyncIterator[GenerateResponse]:
        """Yield progress and checkpoints as steps are finished, and the latents last."""
        checkpoints = Checkpoints(request)
        run = self.engine.prepare(await asyncio.to_thread(self._task, request))
        encode = partial(wire.encode, delivery=request.delivery, store=self.store)
        events = tell(self.queue, self.batches.turn(run), (run.first, run.of), checkpoints, encode)
        async with aclosing(events):
            async for event in events:
                match event:
                    case Progress():
                        yield GenerateResponse(progress=event)
                    case Checkpoint():
                        yield GenerateResponse(checkpoint=event)
                    case Denoised():
                        result = GenerateResult(
                            latents=await asyncio.to_thread(encode, event.latents),
                            latent_space=self.engine.manifest.spaces.latent,
                            model_digest=self.engine.manifest.digest,
                            seconds=event.seconds,
                        )
                        if event.sound is not None:
                            result.sound_latents.CopyFrom(await asyncio.to_thread(encode, event.sound))
                            result.sound_space = self.engine.manifest.spaces.sound
                        yield GenerateResponse(result=result)

    def _info(self) -> Info:
        manifest, clips = self.engine.manifest, self.engine.clips
        spaces = manifest.spaces
        info = description.part("generator", manifest, self.config.device)
        info.latent_space.CopyFrom(
            description.latent_space(spaces.latent, clips.channels, clips.temporal, clips.spatial)
        )
        if self.engine.sound is not None:
            info.sound_space.CopyFrom(description.sound_space(spaces.sound, self.engine.sound))
        info.text_spaces.extend(description.text_spaces(spaces.text, self.engine.text_shapes))
        info.abilities.extend(description.abilities(self.engine.abilities))
        if self.engine.reads_picture is not None:
            info.picture.CopyFrom(PictureReading(**asdict(self.engine.reads_picture)))
        info.approximations.extend(self.config.execution.approximations)
        info.limits.CopyFrom(limits_of(clips, self.engine.defaults))
        adapter_requests.add_limits(info.limits)
        info.adapters.extend(adapter_requests.told(self.registry, manifest.digest))
        info.limits.queue.CopyFrom(description.queue_limit(self.config.queue))
        return info

    def _task(self, request: GenerateRequest) -> Task:
        spaces = self.engine.manifest.spaces
        if request.latent_space not in ("", spaces.latent):
            raise FailedPreconditionError(
                f"latent_space is {request.latent_space[:64]!r}, this model was trained on {spaces.latent}"
            )
        embeddings, unconditional = (
            rows(getattr(request, field), field, self.engine.text_shapes, spaces, self.store)
            for field in ("embeddings", "unconditional")
        )
        return Task(
            embeddings=embeddings,
            unconditional=unconditional,
            frames=request.frames,
            height=request.height,
            width=request.width,
            seed=request.seed,
            **asked(request.sampling),
            start=start_of(request, self.store),
            fps=request.fps if request.HasField("fps") else None,
            adapters=adapter_requests.choose(request.adapters, "adapters", self.registry, self.engine.manifest),
            picture=(
                wire.decode(request.latents, "latents", "c t h w", store=self.store)
                if request.HasField("latents")
                else None
            ),
        )
