"""Serves the upsampler over gRPC: videos in full HD, with progress, ended within a window."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, aclosing
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

from kino import validate, wire
from kino.compute import ComputeQueue
from kino.footage import probe
from kino.limits import MAX_UPSAMPLER_STEPS, upsampler_limits
from kino.media import MEDIA_TYPES, UPSAMPLED_VIDEOS, VideoWriter
from kino.presets import PRESETS
from kino.registry import Registry
from kino.remote import Remote
from kino.shapes import Size
from kino.store import Store
from kino.upsampling import Piece
from kino.v1.info_pb2 import Info
from kino.v1.info_pb2 import Size as WireSize
from kino.v1.progress_pb2 import PHASE_QUEUED, PHASE_RUNNING, Progress
from kino.v1.upsampler_pb2 import (
    UpsampleRequest,
    UpsampleResponse,
    UpsampleResult,
    UpsamplerServiceDescribeRequest,
    UpsamplerServiceDescribeResponse,
)
from kino.v1.upsampler_pb2_grpc import UpsamplerServiceServicer, add_UpsamplerServiceServicer_to_server
from services import description
from services.service import ServiceConfig
from services.upsampler.engine import Task, UpsamplerEngine, Video

add_to_server = add_UpsamplerServiceServicer_to_server


def create(config: ServiceConfig) -> "UpsamplerServicer":
    """Return the servicer. Raises ValueError for a preset that is not there, or that has no upsampler of ours."""
    validate.one_of(config.preset, "preset", tuple(name for name, row in PRESETS.items() if row.upsampler))
    return UpsamplerServicer(config)


class UpsamplerServicer(UpsamplerServiceServicer):
    """The upsampler's calls; one is on the device, the others wait their turn."""

    engine: UpsamplerEngine
    store: Store

    def __init__(self, config: ServiceConfig) -> None:
        self.config = config
        self.queue = ComputeQueue("upsampler", config.queue)

    async def start(self) -> None:
        """Open the store and load the weights."""
        config = self.config
        self.store = await config.open_store()
        registry = Registry(config.models)
        self.engine = await asyncio.to_thread(UpsamplerEngine, config.preset, config.version, registry, config.device)

    async def stop(self) -> None:
        """End the worker thread."""
        await asyncio.to_thread(self.queue.close)

    async def Describe(
        self, request: UpsamplerServiceDescribeRequest, context: object
    ) -> UpsamplerServiceDescribeResponse:
        """Say which model is served and what it accepts."""
        return UpsamplerServiceDescribeResponse(info=self._info())

    async def Upsample(self, request: UpsampleRequest, context: object) -> AsyncIterator[UpsampleResponse]:
        """Yield progress as windows are finished, and the video last."""
        with ExitStack() as files:
            task, fps = await asyncio.to_thread(self._task, request, files)
            size = self.engine.plan(task).size
            pieces = self.engine.upsample(task)
            path = Path(files.enter_context(TemporaryDirectory(prefix="kino-upsampler-"))) / "video.mkv"
            with self.queue.place():
                yield UpsampleResponse(progress=Progress(phase=PHASE_QUEUED))
            async with self.queue.turn():
                started, seconds = time.monotonic(), 0.0
                async with aclosing(self.queue.iterate(_written(pieces, path, fps, size))) as done:
                    async for piece in done:
                        seconds = time.monotonic() - started
                        progress = Progress(phase=PHASE_RUNNING, step=piece.step, of=piece.of, seconds=seconds)
                        yield UpsampleResponse(progress=progress)
            result = UpsampleResult(
                frames=task.video.num_frames,
                size=WireSize(height=size.height, width=size.width),
                model_digest=self.engine.manifest.digest,
                seconds=seconds,
            )
            video = await asyncio.to_thread(
                wire.make_media, path, MEDIA_TYPES["ffv1"], delivery=request.delivery, store=self.store
            )
            result.video.CopyFrom(video)
        yield UpsampleResponse(result=result)

    def _info(self) -> Info:
        manifest, preset = self.engine.manifest, self.engine.preset
        info = description.part("upsampler", manifest, self.config.device)
        info.limits.CopyFrom(upsampler_limits(preset.name))
        info.limits.queue.CopyFrom(description.queue_limit(self.config.queue))
        return info

    def _task(self, request: UpsampleRequest, files: ExitStack) -> tuple[Task, Fraction]:
        """Return what is asked for, and the frame rate of the video, whose file stays open in `files`."""
        remote = Remote(self.config.fetch_urls)
        source = files.enter_context(
            wire.open_media(request.video, "video", ("video",), store=self.store, remote=remote)
        )
        info = probe(source, UPSAMPLED_VIDEOS)
        steps = None
        if request.HasField("steps"):
            steps = validate.whole(request.steps, "steps", 1, MAX_UPSAMPLER_STEPS)
        size = Size(request.size.height, request.size.width) if request.HasField("size") else None
        video = Video(source, info.num_frames, info.height, info.width, UPSAMPLED_VIDEOS)
        return Task(video, validate.seed(request.seed), size, steps), info.fps


def _written(pieces: Iterator[Piece], path: Path, fps: Fraction, size: Size) -> Iterator[Piece]:
    """Yield the pieces of the work, their frames written into a lossless file."""
    with VideoWriter(path, fps, size.height, size.width, "ffv1") as writer:
        for piece in pieces:
            if piece.frame is not None:
                writer.write(piece.frame[None])
            yield piece
