"""Serves the TAE over gRPC: videos to latents and back, with progress after every tile."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from kino import validate, wire
from kino.compute import ComputeQueue
from kino.errors import FailedPreconditionError, InvalidArgumentError
from kino.footage import read_media
from kino.limits import MAX_FPS, MIN_FPS, limits_of
from kino.media import MEDIA_TYPES, Limits, VideoWriter
from kino.presets import PRESETS
from kino.registry import Registry
from kino.remote import Remote
from kino.shapes import Clips
from kino.store import Store
from kino.v1.info_pb2 import Info
from kino.v1.progress_pb2 import PHASE_QUEUED, PHASE_RUNNING, Progress
from kino.v1.tae_pb2 import (
    DECODE_OUTPUT_FRAMES,
    DecodeOutput,
    TaeServiceDecodeRequest,
    TaeServiceDecodeResponse,
    TaeServiceDecodeResult,
    TaeServiceDescribeRequest,
    TaeServiceDescribeResponse,
    TaeServiceEncodeRequest,
    TaeServiceEncodeResponse,
    TaeServiceEncodeResult,
)
from kino.v1.tae_pb2_grpc import TaeServiceServicer, add_TaeServiceServicer_to_server
from kino.v1.tensor_pb2 import DTYPE_UINT8
from services import description
from services.service import ServiceConfig
from services.tae.engine import Engine, Frames, Latents
from services.tae.families.table import open_engine

add_to_server = add_TaeServiceServicer_to_server


def create(config: ServiceConfig) -> "TaeServicer":
    """Return the servicer. Raises ValueError for a preset that is not there."""
    validate.one_of(config.preset, "preset", tuple(PRESETS))
    return TaeServicer(config)


class TaeServicer(TaeServiceServicer):
    """The TAE's calls; one is on the device, the others wait their turn."""

    engine: Engine
    store: Store

    def __init__(self, config: ServiceConfig) -> None:
        self.config = config
        self.queue = ComputeQueue("tae", config.queue)

    async def start(self) -> None:
        """Open the store and load the weights."""
        config = self.config
        self.store = await config.open_store()
        self.engine = await asyncio.to_thread(
            open_engine,
            config.preset,
            config.version,
            Registry(config.models),
            config.device,
            config.runtime,
            config.tiled,
        )

    async def stop(self) -> None:
        """End the worker thread."""
        await asyncio.to_thread(self.queue.close)

    async def Describe(self, request: TaeServiceDescribeRequest, context: object) -> TaeServiceDescribeResponse:
        """Say which model is served and what it accepts."""
        return TaeServiceDescribeResponse(info=self._info())

    async def Encode(
        self, request: TaeServiceEncodeRequest, context: object
    ) -> AsyncIterator[TaeServiceEncodeResponse]:
        """Yield progress as tiles are finished, and the latents last."""
        frames, fps = await asyncio.to_thread(self._source, request)
        _, height, width, _ = frames.shape
        seed = validate.seed(request.seed, "seed") if request.HasField("seed") else None
        pieces: list[Latents] = []
        num_frames = request.clip_frames or len(frames)
        encoding = self.engine.encode(frames, request.clip_frames, seed, request.crf)
        tiles = _encoded(encoding, pieces, num_frames, self.engine.clips)
        async with aclosing(self._turn(tiles, num_frames)) as turn:
            async for progress in turn:
                yield TaeServiceEncodeResponse(progress=progress)
        latents = np.concatenate(pieces, axis=1)
        result = TaeServiceEncodeResult(
            latents=await asyncio.to_thread(wire.encode, latents, delivery=request.delivery, store=self.store),
            latent_space=self.engine.manifest.latent_space,
            frames=num_frames,
            height=height,
            width=width,
            fps=fps,
            model_digest=self.engine.manifest.digest,
            seconds=progress.seconds,
        )
        yield TaeServiceEncodeResponse(result=result)

    async def Decode(
        self, request: TaeServiceDecodeRequest, context: object
    ) -> AsyncIterator[TaeServiceDecodeResponse]:
        """Yield progress as tiles are finished, and the video last."""
        fps = self._check_decode(request)
        latents = await asyncio.to_thread(self._latents, request)
        pieces = self.engine.decode(latents, request.frames)
        height, width = (side * self.engine.clips.spatial for side in latents.shape[2:])
        kept: list[Frames] = []
        with TemporaryDirectory(prefix="kino-tae-") as folder:
            path = Path(folder) / "video.mkv"
            wants_frames = request.output == DECODE_OUTPUT_FRAMES
            tiles = _kept(pieces, kept) if wants_frames else _written(pieces, path, fps, height, width)
            async with aclosing(self._turn(tiles, request.frames)) as turn:
                async for progress in turn:
                    yield TaeServiceDecodeResponse(progress=progress)
            result = TaeServiceDecodeResult(model_digest=self.engine.manifest.digest, seconds=progress.seconds)
            await asyncio.to_thread(self._deliver, result, request, kept, path)
        yield TaeServiceDecodeResponse(result=result)

    async def _turn(self, tiles: Iterator[int], frames: int) -> AsyncGenerator[Progress]:
        """Run through tiles on the device; each item says how many of the frames are done."""
        with self.queue.place():
            yield Progress(phase=PHASE_QUEUED)
        async with self.queue.turn():
            started = time.monotonic()
            yield Progress(phase=PHASE_RUNNING, of=frames)
            async with aclosing(self.queue.iterate(tiles)) as steps:
                async for done in steps:
                    seconds = time.monotonic() - started
                    yield Progress(phase=PHASE_RUNNING, step=done, of=frames, seconds=seconds)

    def _info(self) -> Info:
        manifest, clips = self.engine.manifest, self.engine.clips
        info = description.part("tae", manifest, self.config.device, self.engine.runtime)
        space = description.latent_space(manifest.latent_space, clips.channels, clips.temporal, clips.spatial)
        info.latent_space.CopyFrom(space)
        info.approximations.extend(["tiles"] if self.config.tiled else [])
        info.limits.CopyFrom(limits_of(clips))
        info.limits.queue.CopyFrom(description.queue_limit(self.config.queue))
        return info

    def _source(self, request: TaeServiceEncodeRequest) -> tuple[Frames, float]:
        """Return the pixels of the request, and the frame rate of its file, 0 where it has none."""
        if request.WhichOneof("source") == "frames":
            axes = "t h w 3"
            return wire.decode(request.frames, "frames", axes, dtypes=(DTYPE_UINT8,), store=self.store), 0.0
        if request.WhichOneof("source") is None:
            raise InvalidArgumentError("source", "", "a video or frames")
        clips = self.engine.clips
        limits = Limits(max_pixels=clips.max_area, max_frames=clips.max_frames)
        remote = Remote(self.config.fetch_urls)
        with wire.open_media(request.video, "video", ("video", "image"), store=self.store, remote=remote) as file:
            frames, fps = read_media(file, request.video.media_type, limits)
        return frames, float(fps)

    def _check_decode(self, request: TaeServiceDecodeRequest) -> Fraction:
        """Check what is not about latents, and return the frame rate of the file."""
        space = self.engine.manifest.latent_space
        if request.latent_space not in ("", space):
            raise FailedPreconditionError(
                f"latent_space is {request.latent_space[:64]!r}, this TAE decodes latents of {space}"
            )
        if request.output not in DecodeOutput.values():
            raise InvalidArgumentError("output", request.output, f"one of {', '.join(DecodeOutput.keys())}")
        if request.output == DECODE_OUTPUT_FRAMES or (request.frames == 1 and not request.fps):
            return Fraction(self.engine.clips.fps)
        validate.real(request.fps, "fps", MIN_FPS, MAX_FPS)
        return Fraction(request.fps).limit_denominator(1001)

    def _latents(self, request: TaeServiceDecodeRequest) -> Latents:
        axes = f"{self.engine.clips.channels} t h w"
        latents: Latents = wire.decode(request.latents, "latents", axes, store=self.store)
        return latents

    def _deliver(
        self, result: TaeServiceDecodeResult, request: TaeServiceDecodeRequest, kept: list[Frames], path: Path
    ) -> None:
        if kept:
            frames = np.concatenate(kept)
            result.frames.CopyFrom(wire.encode(frames, delivery=request.delivery, store=self.store))
        else:
            media_type = MEDIA_TYPES["ffv1"]
            result.video.CopyFrom(wire.make_media(path, media_type, delivery=request.delivery, store=self.store))


def _encoded(tiles: Iterator[Latents], pieces: list[Latents], frames: int, clips: Clips) -> Iterator[int]:
    """Keep the latents of each tile, and yield how many frames are done."""
    for tile in tiles:
        pieces.append(tile)
        yield min(frames, clips.video_frames(sum(piece.shape[1] for piece in pieces))[1])


def _kept(tiles: Iterator[Frames], pieces: list[Frames]) -> Iterator[int]:
    """Keep the frames of each tile, and yield how many are done."""
    for tile in tiles:
        pieces.append(tile)
        yield sum(len(piece) for piece in pieces)


def _written(tiles: Iterator[Frames], path: Path, fps: Fraction, height: int, width: int) -> Iterator[int]:
    """Write the frames of each tile into a lossless file, and yield how many are done."""
    with VideoWriter(path, fps, height, width, "ffv1") as writer:
        for tile in tiles:
            writer.write(tile)
            yield writer.num_frames
