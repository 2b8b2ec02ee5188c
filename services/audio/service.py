"""Serves the audio generator over gRPC: the sound of a video or of words, with progress, ended within a step."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import ExitStack, aclosing
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from kino import validate, wire
from kino.compute import ComputeQueue
from kino.errors import FailedPreconditionError, InvalidArgumentError
from kino.footage import probe
from kino.limits import MAX_FPS, MAX_SOUND_FRAMES, MIN_FPS, MIN_SOUND_FRAMES, MIN_SOUND_SECONDS, sound_limits
from kino.media import LONG_VIDEOS, Limits
from kino.presets import PRESETS
from kino.registry import Registry
from kino.remote import Remote
from kino.shapes import SAMPLE_RATE, audio_samples
from kino.sound import WAV, read_sound, write_sound
from kino.store import Store
from kino.v1.audio_pb2 import (
    AudioServiceDecodeRequest,
    AudioServiceDecodeResponse,
    AudioServiceDecodeResult,
    AudioServiceDescribeRequest,
    AudioServiceDescribeResponse,
    AudioServiceGenerateRequest,
    AudioServiceGenerateResponse,
    AudioServiceGenerateResult,
    SoundFigures,
)
from kino.v1.audio_pb2_grpc import AudioServiceServicer, add_AudioServiceServicer_to_server
from kino.v1.info_pb2 import Info
from kino.v1.media_pb2 import Media
from kino.v1.progress_pb2 import PHASE_QUEUED, PHASE_RUNNING, Progress
from kino.v1.tensor_pb2 import Delivery
from services import description
from services.audio.engine import AudioEngine, Made, Stage, Task, Video
from services.audio.families.table import open_engine
from services.audio.gate import Sound
from services.audio.published import PublishedSound
from services.denoising import asked
from services.service import ServiceConfig

add_to_server = add_AudioServiceServicer_to_server


def create(config: ServiceConfig) -> "AudioServicer":
    """Return the servicer. Raises ValueError for a preset that is not there."""
    validate.one_of(config.preset, "preset", tuple(PRESETS))
    return AudioServicer(config)


class AudioServicer(AudioServiceServicer):
    """The audio generator's calls; one is on the device, the others wait their turn."""

    engine: AudioEngine | PublishedSound
    store: Store

    def __init__(self, config: ServiceConfig) -> None:
        self.config = config
        self.queue = ComputeQueue("audio", config.queue)

    async def start(self) -> None:
        """Open the store and load the weights."""
        config = self.config
        self.store = await config.open_store()
        registry = Registry(config.models)
        self.engine = await asyncio.to_thread(
            open_engine, config.preset, config.version, registry, config.device, config.runtime
        )

    async def stop(self) -> None:
        """End the worker thread."""
        await asyncio.to_thread(self.queue.close)

    async def Describe(self, request: AudioServiceDescribeRequest, context: object) -> AudioServiceDescribeResponse:
        """Say which model is served and what it accepts."""
        return AudioServiceDescribeResponse(info=self._info())

    async def Generate(
        self, request: AudioServiceGenerateRequest, context: object
    ) -> AsyncIterator[AudioServiceGenerateResponse]:
        """Yield progress as pieces of the work are finished, and the sound last."""
        engine = self.engine
        if not isinstance(engine, AudioEngine):
            told = "it decodes what the generator of its model makes, and makes no sound of videos or of words"
            raise FailedPreconditionError(f"audio {engine.manifest.version} makes nothing: {told}")
        with ExitStack() as files:
            task = await asyncio.to_thread(self._task, request, files, engine.preset.sound.max_seconds)
            async with aclosing(self._work(engine.generate(task), request.delivery)) as events:
                async for event in events:
                    if isinstance(event, Progress):
                        yield AudioServiceGenerateResponse(progress=event)
                    else:
                        yield AudioServiceGenerateResponse(result=AudioServiceGenerateResult(**event))

    async def Decode(
        self, request: AudioServiceDecodeRequest, context: object
    ) -> AsyncIterator[AudioServiceDecodeResponse]:
        """Yield progress as pieces of the work are finished, and the sound last."""
        engine = self.engine
        if not isinstance(engine, PublishedSound):
            told = "it makes the sound of videos and of words itself"
            raise FailedPreconditionError(f"audio {engine.manifest.version} decodes no latents: {told}")
        samples = self._check_decode(request, engine.manifest.digest)
        axes = "c t m"
        latents = await asyncio.to_thread(wire.decode, request.sound_latents, "sound_latents", axes, store=self.store)
        async with aclosing(self._work(engine.decode(latents, samples), request.delivery)) as events:
            async for event in events:
                if isinstance(event, Progress):
                    yield AudioServiceDecodeResponse(progress=event)
                else:
                    yield AudioServiceDecodeResponse(result=AudioServiceDecodeResult(**event))

    async def _work(
        self, stages: Iterator[Stage], delivery: Delivery.ValueType
    ) -> AsyncGenerator[Progress | dict[str, Any]]:
        """Run through stages on the device, and yield their progress, and last the fields of the result."""
        made = None
        with self.queue.place():
            yield Progress(phase=PHASE_QUEUED)
        async with self.queue.turn():
            started = time.monotonic()
            async with aclosing(self.queue.iterate(stages)) as done:
                async for stage in done:
                    seconds, made = time.monotonic() - started, stage.made
                    yield Progress(phase=PHASE_RUNNING, step=stage.step, of=stage.of, seconds=seconds)
        assert made is not None
        yield {
            "sound": await asyncio.to_thread(self._sound, made, delivery),
            "figures": SoundFigures(**asdict(made.figures)),
            "model_digest": self.engine.manifest.digest,
            "seconds": seconds,
        }

    def _info(self) -> Info:
        engine = self.engine
        info = description.part("audio", engine.manifest, self.config.device, engine.runtime)
        if isinstance(engine, PublishedSound):
            info.sound_space.CopyFrom(description.sound_space(engine.manifest.digest, engine.sound))
        else:
            info.limits.CopyFrom(sound_limits(engine.preset.name))
        info.limits.queue.CopyFrom(description.queue_limit(self.config.queue))
        return info

    def _check_decode(self, request: AudioServiceDecodeRequest, digest: str) -> int:
        """Check what is not about latents, and return the samples that are asked for."""
        if request.sound_space not in ("", digest):
            raise FailedPreconditionError(
                f"sound_space is {request.sound_space[:64]!r}, this model decodes latents of {digest}"
            )
        frames = validate.whole(request.frames, "frames", 1, MAX_SOUND_FRAMES)
        fps = Fraction(validate.real(request.fps, "fps", MIN_FPS, MAX_FPS)).limit_denominator(1001)
        return audio_samples(frames, fps)

    def _task(self, request: AudioServiceGenerateRequest, files: ExitStack, maximum: int) -> Task:
        """Return what is asked for, of so many seconds at most; the video's file stays open in `files`."""
        video = self._video(request.video, files, maximum) if request.HasField("video") else None
        samples = self._samples(request, maximum) if video is None else audio_samples(video.num_frames, video.fps)
        if video is not None and request.HasField("seconds"):
            raise InvalidArgumentError("seconds", request.seconds, "left out where a video says how long it is")
        return Task(
            samples=samples,
            seed=validate.seed(request.seed),
            video=video,
            description=validate.prompt(request.description, "description", blank=True),
            music=validate.prompt(request.music, "music", blank=True),
            quality=request.quality if request.HasField("quality") else None,
            context=self._context(request.context, maximum) if request.HasField("context") else None,
            **asked(request.sampling),
        )

    def _samples(self, request: AudioServiceGenerateRequest, maximum: int) -> int:
        if not request.HasField("seconds"):
            raise InvalidArgumentError("seconds", "", "given where there is no video")
        return round(validate.real(request.seconds, "seconds", MIN_SOUND_SECONDS, maximum) * SAMPLE_RATE)

    def _video(self, media: Media, files: ExitStack, maximum: int) -> Video:
        remote = Remote(self.config.fetch_urls)
        source = files.enter_context(wire.open_media(media, "video", ("video",), store=self.store, remote=remote))
        info = probe(source, LONG_VIDEOS)
        if info.num_frames < MIN_SOUND_FRAMES:
            raise InvalidArgumentError(
                "video", f"{info.num_frames} frame", f"at least {MIN_SOUND_FRAMES} frames: a still has no sound"
            )
        if info.duration_seconds > maximum:
            raise InvalidArgumentError("video", f"{float(info.duration_seconds):.6g} s", f"at most {maximum} s")
        return Video(source, info.num_frames, info.fps, LONG_VIDEOS)

    def _context(self, media: Media, maximum: int) -> Sound:
        limits = Limits(max_seconds=maximum)
        remote = Remote(self.config.fetch_urls)
        with wire.open_media(media, "context", ("audio", "video"), store=self.store, remote=remote) as file:
            sound: Sound = read_sound(file, channels=1, limits=limits)[0]
        return sound

    def _sound(self, made: Made, delivery: Delivery.ValueType) -> Media:
        with TemporaryDirectory(prefix="kino-audio-") as folder:
            path = Path(folder) / "sound.wav"
            write_sound(path, np.atleast_2d(made.sound))
            return wire.make_media(path, WAV, delivery=delivery, store=self.store)
