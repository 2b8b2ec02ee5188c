"""Serves the editor over gRPC: reads instructions, edits latents with progress and checkpoints, ends within a step."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial

from kino import validate, wire
from kino.compute import ComputeQueue
from kino.errors import FailedPreconditionError, InvalidArgumentError
from kino.instructions import understand
from kino.limits import EDITS, editor_limits
from kino.presets import PRESETS
from kino.registry import Registry
from kino.store import Store
from kino.v1.editor_pb2 import (
    EditorServiceDescribeRequest,
    EditorServiceDescribeResponse,
    EditRequest,
    EditResponse,
    EditResult,
    EditTask,
    InterpretRequest,
    InterpretResponse,
)
from kino.v1.editor_pb2_grpc import EditorServiceServicer, add_EditorServiceServicer_to_server
from kino.v1.generator_pb2 import Checkpoint
from kino.v1.info_pb2 import Info
from kino.v1.progress_pb2 import Progress
from services import description
from services.denoising import Checkpoints, Denoised, asked, denoise, rows, start_of
from services.editor.engine import EditorEngine, Task
from services.service import ServiceConfig

_TASK = "EDIT_TASK_"

add_to_server = add_EditorServiceServicer_to_server


def create(config: ServiceConfig) -> "EditorServicer":
    """Return the servicer. Raises ValueError for a preset that is not there."""
    validate.one_of(config.preset, "preset", tuple(PRESETS))
    return EditorServicer(config)


class EditorServicer(EditorServiceServicer):
    """The editor's calls; one is on the device, the others wait their turn."""

    engine: EditorEngine
    store: Store

    def __init__(self, config: ServiceConfig) -> None:
        self.config = config
        self.queue = ComputeQueue("editor", config.queue)

    async def start(self) -> None:
        """Open the store and load the weights."""
        config = self.config
        self.store = await config.open_store()
        registry = Registry(config.models)
        self.engine = await asyncio.to_thread(EditorEngine, config.preset, config.version, registry, config.device)

    async def stop(self) -> None:
        """End the worker thread."""
        await asyncio.to_thread(self.queue.close)

    async def Describe(self, request: EditorServiceDescribeRequest, context: object) -> EditorServiceDescribeResponse:
        """Say which model is served and what it accepts."""
        return EditorServiceDescribeResponse(info=self._info())

    async def Interpret(self, request: InterpretRequest, context: object) -> InterpretResponse:
        """Say what an instruction asks for."""
        found = understand(request.instruction)
        return InterpretResponse(task=EditTask.Value(_TASK + found.task.upper()), instruction=found.text)

    async def Edit(self, request: EditRequest, context: object) -> AsyncIterator[EditResponse]:
        """Yield progress and checkpoints as steps are finished, and the latents last."""
        checkpoints = Checkpoints(request)
        task = await asyncio.to_thread(self._task, request)
        begin = task.start.step if task.start else 0, task.steps or EDITS[self.engine.preset.name].sampler.steps
        encode = partial(wire.encode, delivery=request.delivery, store=self.store)
        events = denoise(self.queue, self.engine.edit(task), begin, checkpoints, encode)
        async with aclosing(events):
            async for event in events:
                match event:
                    case Progress():
                        yield EditResponse(progress=event)
                    case Checkpoint():
                        yield EditResponse(checkpoint=event)
                    case Denoised():
                        result = EditResult(
                            latents=await asyncio.to_thread(encode, event.latents),
                            latent_space=self.engine.manifest.spaces.latent,
                            model_digest=self.engine.manifest.digest,
                            seconds=event.seconds,
                            frames=request.frames,
                        )
                        yield EditResponse(result=result)

    def _info(self) -> Info:
        manifest, preset = self.engine.manifest, self.engine.preset
        spaces = manifest.spaces
        info = description.part("editor", manifest, self.config.device)
        info.latent_space.CopyFrom(description.latent_space(spaces.latent, preset.dit.latent_channels))
        info.text_spaces.extend(description.text_spaces(spaces.text, preset.text_shapes))
        info.limits.CopyFrom(editor_limits(preset.name))
        info.limits.queue.CopyFrom(description.queue_limit(self.config.queue))
        return info

    def _task(self, request: EditRequest) -> Task:
        spaces = self.engine.manifest.spaces
        if request.task not in EditTask.values() or not request.task:
            known = ", ".join(name.removeprefix(_TASK) for name in EditTask.keys()[1:])
            raise InvalidArgumentError("task", request.task, f"one of {known}")
        if request.latent_space not in ("", spaces.latent):
            raise FailedPreconditionError(
                f"latent_space is {request.latent_space[:64]!r}, this model was trained on {spaces.latent}"
            )
        embeddings, unconditional = (
            rows(getattr(request, field), field, self.engine.preset.text_shapes, spaces, self.store)
            for field in ("embeddings", "unconditional")
        )
        return Task(
            task=EditTask.Name(request.task).removeprefix(_TASK).lower(),
            embeddings=embeddings,
            unconditional=unconditional,
            latents=wire.decode(request.latents, "latents", "c t h w", store=self.store),
            frames=request.frames,
            seed=request.seed,
            **asked(request.sampling),
            source_guidance=request.source_guidance if request.HasField("source_guidance") else None,
            start=start_of(request, self.store),
        )
