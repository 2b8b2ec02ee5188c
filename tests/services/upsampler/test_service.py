import asyncio
from fractions import Fraction
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import pytest

from kino.client_async import AsyncKino
from kino.errors import InvalidArgumentError, NotFoundError, ResourceExhaustedError, from_rpc_error
from kino.footage import probe, read_video
from kino.media import UPSAMPLED_VIDEOS, VideoInfo, write_video
from kino.shapes import Size as Extent
from kino.v1.info_pb2 import IntRange, Size
from kino.v1.media_pb2 import Media
from kino.v1.progress_pb2 import PHASE_QUEUED, PHASE_RUNNING
from kino.v1.tensor_pb2 import DELIVERY_STORE
from kino.v1.upsampler_pb2 import UpsampleRequest, UpsampleResult, UpsamplerServiceDescribeRequest
from kino.v1.upsampler_pb2_grpc import UpsamplerServiceStub
from services.upsampler.engine import Task, UpsamplerEngine, Video
from tests.kino.clips import noise
from tests.odd_videos import BAD, ODD, RATES
from tests.services.conftest import Serve, Served

SMALL = Size(height=48, width=64)


def video(path: Path, frames: int = 5, height: int = 24, width: int = 32, fps: Fraction | int = 16) -> Media:
    write_video(path, noise(frames, height, width), fps, "ffv1")
    return Media(media_type="video/matroska", data=path.read_bytes())


async def events(served: Served, request: UpsampleRequest, timeout: float | None = None) -> list[Any]:
    try:
        return [event async for event in UpsamplerServiceStub(served.channel).Upsample(request, timeout=timeout)]
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error


async def result(served: Served, request: UpsampleRequest) -> UpsampleResult:
    made: UpsampleResult = (await events(served, request))[-1].result
    return made


@pytest.fixture
async def served(serve: Serve) -> Served:
    return await serve("upsampler")


async def test_the_video_served_is_the_engines(served: Served, tmp_path: Path) -> None:
    media, engine = video(tmp_path / "v.mkv"), served.servicer.engine
    assert isinstance(engine, UpsamplerEngine)
    task = Task(Video(tmp_path / "v.mkv", 5, 24, 32, UPSAMPLED_VIDEOS), seed=3, size=Extent(48, 64))
    made = np.stack([piece.frame for piece in engine.upsample(task) if piece.frame is not None])
    answer = await result(served, UpsampleRequest(video=media, seed=3, size=SMALL))
    frames, fps = read_video(answer.video.data)
    np.testing.assert_array_equal(frames, made)
    assert fps == 16
    assert (answer.frames, answer.size, answer.model_digest) == (5, SMALL, engine.manifest.digest)


@pytest.mark.parametrize(
    ("height", "width", "fps", "size"),
    [(64, 64, 16, (1080, 1080)), (18, 32, Fraction(30000, 1001), (1080, 1920)), (33, 17, 24, (1920, 990))],
)
async def test_full_hd_keeps_aspect_length_and_frame_rate(
    served: Served, tmp_path: Path, height: int, width: int, fps: Fraction | int, size: tuple[int, int]
) -> None:
    media = video(tmp_path / "v.mkv", 1, height, width, fps)
    answer = await result(served, UpsampleRequest(video=media, steps=1, delivery=DELIVERY_STORE))
    assert probe(served.store.get(answer.video.uri)) == VideoInfo(1, Fraction(fps), *size, "ffv1")


async def test_the_client_brings_a_file_to_a_size(served: Served, tmp_path: Path) -> None:
    video(tmp_path / "v.mkv", 2)
    content, seen = (tmp_path / "v.mkv").read_bytes(), []
    async with AsyncKino(services={"upsampler": served.address}) as kino:
        assert (await kino.upsampler.describe()).component == "upsampler"
        made = await kino.upsampler.upsample(
            content,
            "video/matroska",
            size=(48, 64),
            seed=3,
            steps=1,
            on_progress=lambda progress: seen.append(progress),
        )
        with pytest.raises(InvalidArgumentError, match="seed"):
            await kino.upsampler.upsample(content, "video/matroska", seed=-1)
    assert probe(made) == VideoInfo(2, Fraction(16), 48, 64, "ffv1")
    assert seen[-1].step == seen[-1].of == 1


async def test_progress_is_queued_then_counts_the_windows(served: Served, tmp_path: Path) -> None:
    seen = await events(served, UpsampleRequest(video=video(tmp_path / "v.mkv"), size=SMALL))
    progress = [event.progress for event in seen[:-1]]
    assert (progress[0].phase, progress[0].of) == (PHASE_QUEUED, 0)
    assert {(entry.phase, entry.of) for entry in progress[1:]} == {(PHASE_RUNNING, 4)}
    assert sorted({entry.step for entry in progress[1:]}) == [1, 2, 3, 4]
    assert seen[-1].WhichOneof("event") == "result"


async def test_the_part_says_what_it_accepts(served: Served) -> None:
    info = (await UpsamplerServiceStub(served.channel).Describe(UpsamplerServiceDescribeRequest())).info
    assert (info.component, info.digest) == ("upsampler", served.servicer.engine.manifest.digest)
    assert info.limits.steps == IntRange(minimum=1, maximum=50, default_value=2)
    assert info.limits.height == IntRange(minimum=16, maximum=1920)
    assert info.limits.frames == IntRange(minimum=1, maximum=2048)
    assert info.limits.queue.maximum == 16


async def test_odd_videos_are_enlarged_and_last_as_long(served: Served, tmp_path: Path) -> None:
    for name, (write, (num_frames, _, _)) in ODD.items():
        content = write(tmp_path)
        media = Media(media_type="video/mp4", data=content)
        answer = await result(served, UpsampleRequest(video=media, size=Size(height=64, width=64), steps=1))
        made = VideoInfo(num_frames, probe(content).fps, 64, 64, "ffv1")
        assert probe(answer.video.data) == made, name


async def test_bad_videos_are_refused_with_the_reason(served: Served, tmp_path: Path) -> None:
    for name, (write, message) in (BAD | RATES).items():
        media = Media(media_type="video/mp4", data=write(tmp_path))
        with pytest.raises(InvalidArgumentError, match=r"video.*must") as refused:
            await events(served, UpsampleRequest(video=media, size=SMALL))
        assert message in refused.value.message, name


@pytest.mark.parametrize(("height", "width"), [(1, 1), (15, 40), (1080, 1920)])
async def test_videos_of_no_fit_size_are_refused(served: Served, tmp_path: Path, height: int, width: int) -> None:
    with pytest.raises(InvalidArgumentError, match="video"):
        await events(served, UpsampleRequest(video=video(tmp_path / "v.mkv", 1, height, width)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"video": Media(media_type="video/mp4", data=b"no video")}, "video is unreadable"),
        ({"video": Media(media_type="image/png", data=b"no video")}, "video.media_type is 'image/png'"),
        ({"video": Media()}, "video"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": 51}, "steps is 51"),
        ({"seed": -1}, "seed is -1"),
        ({"size": Size(height=48)}, "size.width is 0"),
        ({"size": Size(height=2160, width=3840)}, "size is 3840x2160"),
    ],
)
async def test_requests_beyond_the_bounds_are_refused(
    served: Served, tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message):
        await events(served, UpsampleRequest(**{"video": video(tmp_path / "v.mkv", 1), "size": SMALL, **changes}))


async def test_a_video_that_is_too_long_is_refused(served: Served, tmp_path: Path) -> None:
    write_video(tmp_path / "v.mp4", np.zeros((2060, 16, 16, 3), np.uint8), 60, "h264")
    media = Media(media_type="video/mp4", data=(tmp_path / "v.mp4").read_bytes())
    with pytest.raises(InvalidArgumentError, match="video is longer than 2048 frames"):
        await events(served, UpsampleRequest(video=media))


async def test_a_video_that_breaks_off_is_refused_and_leaves_the_service_working(
    served: Served, tmp_path: Path
) -> None:
    whole = video(tmp_path / "v.mkv", 40)
    broken = Media(media_type=whole.media_type, data=whole.data[: len(whole.data) // 2])
    with pytest.raises(InvalidArgumentError, match="video"):
        await events(served, UpsampleRequest(video=broken, size=SMALL))
    assert (await result(served, UpsampleRequest(video=whole, size=SMALL, steps=1))).frames == 40


async def test_an_artifact_that_is_not_there_is_told(served: Served) -> None:
    media = Media(media_type="video/mp4", uri=f"store://{'0' * 64}")
    with pytest.raises((NotFoundError, InvalidArgumentError)):
        await events(served, UpsampleRequest(video=media))


async def test_cancelling_frees_the_device_for_the_next(served: Served, tmp_path: Path) -> None:
    media = video(tmp_path / "v.mkv", 60)
    running = UpsamplerServiceStub(served.channel).Upsample(UpsampleRequest(video=media, steps=50))
    async for event in running:
        if event.progress.step:
            break
    running.cancel()
    answer = await asyncio.wait_for(result(served, UpsampleRequest(video=media, size=SMALL, steps=1)), 120)
    assert answer.frames == 60


async def test_a_full_queue_says_when_to_come_again(serve: Serve, tmp_path: Path) -> None:
    served, media = await serve("upsampler", queue=0), video(tmp_path / "v.mkv", 60)
    running = UpsamplerServiceStub(served.channel).Upsample(UpsampleRequest(video=media, steps=50))
    async for event in running:
        if event.progress.step:
            break
    with pytest.raises(ResourceExhaustedError) as caught:
        await events(served, UpsampleRequest(video=media, size=SMALL))
    assert caught.value.retry_after_seconds is not None
    running.cancel()
