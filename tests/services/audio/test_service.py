from fractions import Fraction
from math import inf, nan
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import pytest

from kino.errors import (
    DeadlineExceededError,
    InvalidArgumentError,
    KinoError,
    NotFoundError,
    ResourceExhaustedError,
    from_rpc_error,
)
from kino.media import write_video
from kino.sound import read_sound, write_sound
from kino.v1.audio_pb2 import AudioServiceDescribeRequest, AudioServiceGenerateRequest, AudioServiceGenerateResult
from kino.v1.audio_pb2_grpc import AudioServiceStub
from kino.v1.generator_pb2 import Sampling
from kino.v1.media_pb2 import Media
from kino.v1.progress_pb2 import PHASE_QUEUED, PHASE_RUNNING
from kino.v1.tensor_pb2 import DELIVERY_STORE
from services.audio.engine import AudioEngine, Task
from tests.kino.clips import greys, noise, write_pictures
from tests.services.conftest import Serve, Served

SECOND = 48_000
WORDS = "a ball hits the ground"


def words(**changes: Any) -> AudioServiceGenerateRequest:
    given: dict[str, Any] = {"seconds": 1.0, "description": WORDS, "seed": 3, "sampling": Sampling(steps=3)}
    return AudioServiceGenerateRequest(**given | changes)


def video(path: Path, num_frames: int, fps: Fraction | int = 16) -> Media:
    write_video(path, noise(num_frames, 18, 22), fps, "ffv1")
    return Media(media_type="video/matroska", data=path.read_bytes())


async def events(served: Served, request: AudioServiceGenerateRequest, timeout: float | None = None) -> list[Any]:
    try:
        return [event async for event in AudioServiceStub(served.channel).Generate(request, timeout=timeout)]
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error


async def result(served: Served, request: AudioServiceGenerateRequest) -> AudioServiceGenerateResult:
    made: AudioServiceGenerateResult = (await events(served, request))[-1].result
    return made


@pytest.fixture
async def served(serve: Serve) -> Served:
    return await serve("audio")


async def test_the_sound_served_is_the_engines_with_its_figures(served: Served) -> None:
    engine: AudioEngine = served.servicer.engine
    *_, last = engine.generate(Task(SECOND, 3, description=WORDS, steps=3))
    assert last.made is not None
    answer = await result(served, words())
    assert answer.sound.media_type == "audio/wav"
    np.testing.assert_array_equal(read_sound(answer.sound.data, channels=1)[0], last.made.sound)
    figures = answer.figures
    assert (figures.samples, figures.silent) == (SECOND, False)
    assert figures.loudness_lufs == last.made.figures.loudness_lufs == pytest.approx(-23, abs=0.1)
    assert figures.true_peak_dbtp == last.made.figures.true_peak_dbtp
    assert answer.model_digest == engine.manifest.digest


@pytest.mark.parametrize(
    ("num_frames", "fps"), [(33, 16), (2, 24), (7, Fraction(30000, 1001)), (3, Fraction(1, 10)), (250, 1000)]
)
async def test_the_sound_of_a_video_is_exactly_as_long(
    served: Served, tmp_path: Path, num_frames: int, fps: Fraction | int
) -> None:
    request = AudioServiceGenerateRequest(video=video(tmp_path / "v.mkv", num_frames, fps), delivery=DELIVERY_STORE)
    answer = await result(served, request)
    heard = read_sound(served.store.get(answer.sound.uri), channels=1)
    assert heard.shape == (1, round(num_frames / Fraction(fps) * SECOND))
    assert answer.figures.samples == heard.shape[1]


async def test_a_video_of_varying_rate_is_as_long_as_it_plays(served: Served, tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    write_pictures(path, "mp4", "mpeg4", greys(4), ticks=[0, 1, 5, 6], time_base=Fraction(1, 10), fps=10)
    answer = await result(served, words(video=Media(media_type="video/mp4", data=path.read_bytes()), seconds=None))
    assert answer.figures.samples == round(0.7 * SECOND)


async def test_the_same_request_gives_the_same_bytes(served: Served) -> None:
    assert (await result(served, words())).sound == (await result(served, words())).sound
    assert (await result(served, words(seed=4))).sound != (await result(served, words())).sound


async def test_a_sound_goes_on_from_another(served: Served, tmp_path: Path) -> None:
    write_sound(tmp_path / "before.wav", (noise(1, 1, SECOND)[..., 0].reshape(1, -1) / 255 - 0.5).astype(np.float32))
    context = Media(media_type="audio/wav", data=(tmp_path / "before.wav").read_bytes())
    going_on = await result(served, words(seconds=2.0, context=context))
    assert going_on.figures.samples == 2 * SECOND
    assert going_on.sound != (await result(served, words(seconds=2.0))).sound


async def test_progress_is_queued_then_counts_the_work(served: Served, tmp_path: Path) -> None:
    seen = await events(served, words(video=video(tmp_path / "v.mkv", 17), seconds=None))
    assert [event.WhichOneof("event") for event in seen] == ["progress"] * 9 + ["result"]
    progress = [event.progress for event in seen[:-1]]
    assert (progress[0].phase, progress[0].of) == (PHASE_QUEUED, 0)
    assert [(entry.phase, entry.step, entry.of) for entry in progress[1:]] == [
        (PHASE_RUNNING, step, 8) for step in range(1, 9)
    ]


async def test_the_part_says_what_it_accepts(served: Served) -> None:
    info = (await AudioServiceStub(served.channel).Describe(AudioServiceDescribeRequest())).info
    assert (info.component, info.digest) == ("audio", served.servicer.engine.manifest.digest)
    limits = info.limits
    assert (limits.seconds.maximum, limits.frames.minimum, limits.fps.maximum) == (600, 2, 1000)
    assert (limits.steps.default_value, limits.guidance.default_value) == (4, 2)


async def test_a_deadline_ends_the_computation(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    network = served.servicer.engine.network
    steps: list[None] = []
    network.register_forward_hook(lambda *_: steps.append(None))
    with pytest.raises(DeadlineExceededError):
        await events(served, words(sampling=Sampling(steps=1000)), timeout=0.5)
    await result(served, words(sampling=Sampling(steps=1)))
    assert len(steps) < 900


MISSING = "kino://sha256/" + "0" * 64
SOUND = Media(media_type="audio/wav", data=b"RIFF no sound at all")


@pytest.mark.parametrize(
    ("request_", "kind", "message"),
    [
        (words(seconds=None), InvalidArgumentError, r"seconds is '', must be given where there is no video"),
        (words(seconds=0.0), InvalidArgumentError, r"seconds is 0.0, must be from 0.1 to 600"),
        (words(seconds=nan), InvalidArgumentError, r"seconds is nan, must be"),
        (words(seconds=inf), InvalidArgumentError, r"seconds is inf, must be"),
        (words(seconds=601.0), InvalidArgumentError, r"seconds is 601.0, must be from 0.1 to 600"),
        (words(description=""), InvalidArgumentError, r"description is '', must be given"),
        (words(description="\x00"), InvalidArgumentError, r"description is .*control characters"),
        (words(music="!?"), InvalidArgumentError, r"music is '!\?', must be words"),
        (words(quality=0.5), InvalidArgumentError, r"quality is 0.5, must be from 1 to 10"),
        (words(quality=nan), InvalidArgumentError, r"quality is nan, must be from 1 to 10"),
        (words(seed=-1), InvalidArgumentError, r"seed is -1, must be"),
        (words(sampling=Sampling(steps=0)), InvalidArgumentError, r"sampling.steps is 0, must be"),
        (words(sampling=Sampling(guidance=nan)), InvalidArgumentError, r"sampling.guidance is nan"),
        (words(context=SOUND), InvalidArgumentError, r"sound is unreadable"),
        (words(context=Media(media_type="image/png", data=b"1")), InvalidArgumentError, r"context.media_type is"),
        (words(video=Media(media_type="video/mp4", uri=MISSING)), NotFoundError, r"not in the store"),
        (words(video=Media(media_type="video/mp4")), InvalidArgumentError, r"video.content is"),
        (words(video=Media(media_type="video/mp4", data=b"no video")), InvalidArgumentError, r"video is unreadable"),
        (words(video=Media(media_type="image/png", data=b"1")), InvalidArgumentError, r"video.media_type is"),
        (
            words(video=Media(media_type="video/mp4", uri="http://127.0.0.1/a.mp4")),
            InvalidArgumentError,
            r"this deployment fetches no URLs",
        ),
    ],
)
async def test_a_bad_request_gets_a_typed_answer_and_the_next_one_is_served(
    served: Served, request_: AudioServiceGenerateRequest, kind: type[KinoError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        await events(served, request_)
    assert (await events(served, words(sampling=Sampling(steps=1))))[-1].HasField("result")


@pytest.mark.parametrize(
    ("num_frames", "fps", "message"),
    [
        (1, 16, r"video is '1 frame', must be at least 2 frames: a still has no sound"),
        (70, Fraction(1, 10), r"video is '700 s', must be at most 600 s"),
        (3, Fraction(1, 20), r"video is at 0.05 frames per second, must be from 1/10 to 1000"),
        (3, 2000, r"video is at 2000 frames per second, must be"),
    ],
)
async def test_a_video_out_of_bounds_is_refused_with_the_bound(
    served: Served, tmp_path: Path, num_frames: int, fps: Fraction | int, message: str
) -> None:
    given = video(tmp_path / "v.mkv", num_frames, fps)
    with pytest.raises(InvalidArgumentError, match=message):
        await events(served, AudioServiceGenerateRequest(video=given))
    assert (await events(served, words(sampling=Sampling(steps=1))))[-1].HasField("result")


async def test_a_video_broken_half_way_is_refused(served: Served, tmp_path: Path) -> None:
    given = video(tmp_path / "v.mkv", 40)
    given.data = given.data[: len(given.data) // 2]
    with pytest.raises(InvalidArgumentError, match=r"video is (truncated|unreadable|broken)"):
        await events(served, AudioServiceGenerateRequest(video=given))
    with pytest.raises(InvalidArgumentError, match=r"seconds is 1.0, must be left out where a video"):
        await events(served, words(video=video(tmp_path / "v.mkv", 4)))
    assert (await events(served, words(sampling=Sampling(steps=1))))[-1].HasField("result")


async def test_what_does_not_fit_the_device_is_refused_and_the_next_request_is_served(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("kino.devices.free_bytes", lambda device: 1000)
        with pytest.raises(ResourceExhaustedError, match=r"too big .* \(a sound of 48000 samples takes"):
            await events(served, words())
    assert (await events(served, words()))[-1].HasField("result")
