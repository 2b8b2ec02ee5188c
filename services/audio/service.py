"""Serves the audio generator over gRPC: the sound of a video or of words, with progress, ended within a step."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, aclosing
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory

from kino import validate, wire
from kino.compute import ComputeQueue
from kino.errors import InvalidArgumentError
from kino.footage import probe
from kino.limits import MIN_SOUND_FRAMES, MIN_SOUND_SECONDS, sound_limits
from kino.media import LONG_VIDEOS, Limits
from kino.presets import PRESETS
from kino.registry import Registry
from kino.remote import Remote
from kino.shapes import SAMPLE_RATE, audio_samples
from kino.sound import WAV, read_sound, write_sound
from kino.store import Store, open_store
from kino.v1.audio_pb2 import (
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
from services import description
from services.audio.engine import AudioEngine, Made, Task, Video
from services.audio.gate import Sound
from services.denoising import asked
from services.service import ServiceConfig

add_to_server = add_AudioServiceServicer_to_server


def create(config: ServiceConfig) -> "AudioServicer":
    """Return the servicer. Raises ValueError for a preset that is not there."""
    validate.one_of(config.preset, "preset", tuple(PRESETS))
    return AudioServicer(config)


class AudioServicer(AudioServiceServicer):
    """The audio generator's calls; one is on the device, the others wait their turn."""

    engine: AudioEngine
    store: Store

    def __init__(self, config: ServiceConfig) -> None:
        self.config = config
        self.queue = ComputeQueue("audio", config.queue)

    async def start(self) -> None:
        """Open the store and load the weights."""
        config = self.config
        self.store = await asyncio.to_thread(open_store, config.store)
        registry = Registry(config.models)
        self.engine = await asyncio.to_thread(
            AudioEngine, config.preset, config.version, registry, config.device, config.runtime
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
        with ExitStack() as files:
            task = await asyncio.to_thread(self._task, request, files)
            stages = self.engine.generate(task)
            with self.queue.place():
                yield AudioServiceGenerateResponse(progress=Progress(phase=PHASE_QUEUED))
            async with self.queue.turn():
                started, made = time.monotonic(), None
                async with aclosing(self.queue.iterate(stages)) as done:
                    async for stage in done:
                        seconds, made = time.monotonic() - started, stage.made
                        progress = Progress(phase=PHASE_RUNNING, step=stage.step, of=stage.of, seconds=seconds)
                        yield AudioServiceGenerateResponse(progress=progress)
        assert made is not None
        result = await asyncio.to_thread(self._result, made, request)
        result.seconds = seconds
        yield AudioServiceGenerateResponse(result=result)

    def _info(self) -> Info:
        manifest, preset = self.engine.manifest, self.engine.preset
        info = description.part("audio", manifest, self.config.device, self.engine.runtime)
        info.limits.CopyFrom(sound_limits(preset.name))
        info.limits.queue.CopyFrom(description.queue_limit(self.config.queue))
        return info

    def _task(self, request: AudioServiceGenerateRequest, files: ExitStack) -> Task:
        """Return what is asked for; the video's file stays open in `files`."""
        video = self._video(request.video, files) if request.HasField("video") else None
        samples = self._samples(request) if video is None else audio_samples(video.num_frames, video.fps)
        if video is not None and request.HasField("seconds"):
            raise InvalidArgumentError("seconds", request.seconds, "left out where a video says how long it is")
        return Task(
            samples=samples,
            seed=validate.seed(request.seed),
            video=video,
            description=validate.prompt(request.description, "description", blank=True),
            music=validate.prompt(request.music, "music", blank=True),
            quality=request.quality if request.HasField("quality") else None,
            context=self._context(request.context) if request.HasField("context") else None,
            **asked(request.sampling),
        )

    def _samples(self, request: AudioServiceGenerateRequest) -> int:
        if not request.HasField("seconds"):
            raise InvalidArgumentError("seconds", "", "given where there is no video")
        maximum = self.engine.preset.sound.max_seconds
        return round(validate.real(request.seconds, "seconds", MIN_SOUND_SECONDS, maximum) * SAMPLE_RATE)

    def _video(self, media: Media, files: ExitStack) -> Video:
        remote = Remote(self.config.fetch_urls)
        source = files.enter_context(wire.open_media(media, "video", ("video",), store=self.store, remote=remote))
        info, maximum = probe(source, LONG_VIDEOS), self.engine.preset.sound.max_seconds
        if info.num_frames < MIN_SOUND_FRAMES:
            raise InvalidArgumentError(
                "video", f"{info.num_frames} frame", f"at least {MIN_SOUND_FRAMES} frames: a still has no sound"
            )
        if info.duration_seconds > maximum:
            raise InvalidArgumentError("video", f"{float(info.duration_seconds):.6g} s", f"at most {maximum} s")
        return Video(source, info.num_frames, info.fps, LONG_VIDEOS)

    def _context(self, media: Media) -> Sound:
        limits = Limits(max_seconds=self.engine.preset.sound.max_seconds)
        remote = Remote(self.config.fetch_urls)
        with wire.open_media(media, "context", ("audio", "video"), store=self.store, remote=remote) as file:
            sound: Sound = read_sound(file, channels=1, limits=limits)[0]
        return sound

    def _result(self, made: Made, request: AudioServiceGenerateRequest) -> AudioServiceGenerateResult:
        with TemporaryDirectory(prefix="kino-audio-") as folder:
            path = Path(folder) / "sound.wav"
            write_sound(path, made.sound[None])
            sound = wire.make_media(path, WAV, delivery=request.delivery, store=self.store)
        return AudioServiceGenerateResult(
            sound=sound, figures=SoundFigures(**asdict(made.figures)), model_digest=self.engine.manifest.digest
        )
