from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc.aio
import numpy as np
import pytest
from numpy.typing import NDArray

from kino import wire
from kino.errors import (
    DataLossError,
    DeadlineExceededError,
    FailedPreconditionError,
    InvalidArgumentError,
    KinoError,
    NotFoundError,
    ResourceExhaustedError,
    from_rpc_error,
)
from kino.footage import read_video
from kino.images import encode_png
from kino.manifest import Spaces
from kino.media import write_video
from kino.v1.media_pb2 import Media
from kino.v1.progress_pb2 import PHASE_QUEUED, PHASE_RUNNING
from kino.v1.tae_pb2 import (
    DECODE_OUTPUT_FRAMES,
    TaeServiceDecodeRequest,
    TaeServiceDescribeRequest,
    TaeServiceEncodeRequest,
)
from kino.v1.tae_pb2_grpc import TaeServiceStub
from kino.v1.tensor_pb2 import DELIVERY_STORE, DTYPE_FLOAT16, DTYPE_FLOAT32, DTYPE_INT64, DTYPE_UINT8, Tensor
from services.tae.engine import TaeEngine
from tests.services.conftest import Serve, Served


def frames(count: int, height: int = 16, width: int = 32) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


LATENTS = np.random.default_rng(1).standard_normal((16, 6, 2, 4), np.float32)


def to_encode(**changes: Any) -> TaeServiceEncodeRequest:
    given: dict[str, Any] = {"frames": wire.encode(frames(40))}
    return TaeServiceEncodeRequest(**given | changes)


def to_decode(**changes: Any) -> TaeServiceDecodeRequest:
    given: dict[str, Any] = {"latents": wire.encode(LATENTS), "frames": 45, "fps": 16.0}
    return TaeServiceDecodeRequest(**given | changes)


async def events(served: Served, request: Any, timeout: float | None = None) -> list[Any]:
    stub = TaeServiceStub(served.channel)
    method = stub.Encode if isinstance(request, TaeServiceEncodeRequest) else stub.Decode
    try:
        return [event async for event in method(request, timeout=timeout)]
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error


async def result(served: Served, request: Any) -> Any:
    return (await events(served, request))[-1].result


def decoded(served: Served) -> NDArray[np.uint8]:
    engine: TaeEngine = served.servicer.engine
    return np.concatenate(list(engine.decode(LATENTS, 45)))


@pytest.fixture
async def served(serve: Serve) -> Served:
    return await serve("tae")


async def test_encoding_pixels_served_is_in_process_bit_for_bit(served: Served) -> None:
    engine: TaeEngine = served.servicer.engine
    expected = np.concatenate(list(engine.encode(frames(40))), axis=1)
    answer = await result(served, to_encode())
    assert answer.latents.data == expected.tobytes()
    assert list(answer.latents.shape) == [16, 5, 2, 4]
    assert (answer.frames, answer.height, answer.width, answer.fps) == (40, 16, 32, 0)
    assert answer.latent_space == answer.model_digest == engine.manifest.digest


async def test_decoding_to_pixels_served_is_in_process_bit_for_bit(served: Served) -> None:
    answer = await result(served, to_decode(output=DECODE_OUTPUT_FRAMES, fps=0.0))
    assert answer.frames.dtype == DTYPE_UINT8
    assert list(answer.frames.shape) == [45, 16, 32, 3]
    assert answer.frames.data == decoded(served).tobytes()


@pytest.mark.parametrize("delivery", [0, DELIVERY_STORE])
async def test_decoding_to_a_file_loses_nothing(served: Served, delivery: Any) -> None:
    answer = await result(served, to_decode(delivery=delivery, fps=23.976))
    assert answer.video.media_type == "video/matroska"
    file = served.store.get(answer.video.uri) if delivery == DELIVERY_STORE else answer.video.data
    pixels, fps = read_video(file)
    assert np.array_equal(pixels, decoded(served))
    assert float(fps) == pytest.approx(23.976, abs=1e-3)
    assert answer.model_digest == served.servicer.engine.manifest.digest


async def test_the_same_latents_give_the_same_file(served: Served) -> None:
    assert (await result(served, to_decode())).video == (await result(served, to_decode())).video


async def test_an_image_needs_no_frame_rate(served: Served) -> None:
    answer = await result(served, to_decode(latents=wire.encode(LATENTS[:, :1]), frames=1, fps=0.0))
    assert read_video(answer.video.data)[0].shape == (1, 16, 32, 3)


async def test_a_video_file_is_encoded_as_its_frames(served: Served, tmp_path: Path) -> None:
    write_video(tmp_path / "video.mkv", frames(40), 24, "ffv1")
    video = wire.make_media(tmp_path / "video.mkv", "video/matroska", delivery=DELIVERY_STORE, store=served.store)
    answer = await result(served, TaeServiceEncodeRequest(video=video))
    assert answer.latents == (await result(served, to_encode())).latents
    assert (answer.frames, answer.fps) == (40, 24.0)


async def test_a_picture_is_encoded_as_one_frame(served: Served) -> None:
    picture = Media(media_type="image/png", data=encode_png(frames(1)[0]))
    answer = await result(served, TaeServiceEncodeRequest(video=picture))
    assert answer.latents == (await result(served, to_encode(frames=wire.encode(frames(1))))).latents
    assert (answer.frames, answer.fps) == (1, 0)


async def test_half_precision_latents_are_welcome(served: Served) -> None:
    half = LATENTS.astype(np.float16)
    given = await result(served, to_decode(latents=wire.encode(half, dtype=DTYPE_FLOAT16)))
    same = await result(served, to_decode(latents=wire.encode(half.astype(np.float32))))
    assert given.video == same.video


@pytest.mark.parametrize(
    ("request_", "steps", "of"), [(to_encode(), [0, 32, 40], 40), (to_decode(), [0, 16, 32, 45], 45)]
)
async def test_progress_is_queued_then_counts_frames(served: Served, request_: Any, steps: list[int], of: int) -> None:
    seen = await events(served, request_)
    assert [event.WhichOneof("event") for event in seen] == ["progress"] * (len(steps) + 1) + ["result"]
    progress = [event.progress for event in seen[:-1]]
    assert [(entry.phase, entry.step, entry.of) for entry in progress] == [
        (PHASE_QUEUED, 0, 0),
        *((PHASE_RUNNING, step, of) for step in steps),
    ]


async def test_the_part_says_what_it_accepts(served: Served) -> None:
    info = (await TaeServiceStub(served.channel).Describe(TaeServiceDescribeRequest())).info
    digest = served.servicer.engine.manifest.digest
    assert (info.component, info.digest, info.latent_space.digest) == ("tae", digest, digest)
    assert (info.limits.frames.maximum, info.limits.height.maximum, info.limits.size_multiple) == (256, 112, 16)
    assert (info.limits.fps.minimum, info.limits.fps.maximum) == (1, 60)


async def test_generator_and_tae_name_the_same_space(served: Served, serve: Serve) -> None:
    generator = await serve("generator")
    assert generator.servicer.engine.manifest.spaces.latent == served.servicer.engine.manifest.digest


async def test_a_tuned_decoder_serves_the_space_of_the_tae_that_it_was_tuned_from(served: Served) -> None:
    engine: TaeEngine = served.servicer.engine
    engine.manifest = replace(engine.manifest, spaces=Spaces(latent="ab" * 32))
    info = (await TaeServiceStub(served.channel).Describe(TaeServiceDescribeRequest())).info
    assert (info.digest, info.latent_space.digest) == (engine.manifest.digest, "ab" * 32)
    made = await result(served, to_encode())
    assert (made.latent_space, made.model_digest) == ("ab" * 32, engine.manifest.digest)
    assert (await result(served, to_decode(latent_space="ab" * 32))).model_digest == engine.manifest.digest
    with pytest.raises(FailedPreconditionError, match="this TAE decodes latents of abab"):
        await result(served, to_decode(latent_space=engine.manifest.digest))


async def test_a_deadline_ends_the_computation(served: Served) -> None:
    tiles: list[None] = []
    served.servicer.engine.network.decoder.register_forward_hook(lambda *_: tiles.append(None))
    long = np.zeros((16, 32, 16, 16), np.float32)[:, :, :8, :8]
    with pytest.raises(DeadlineExceededError):
        await events(served, to_decode(latents=wire.encode(long), frames=256), timeout=0.02)
    await result(served, to_decode())
    assert len(tiles) < 15 + 2


def tensor(dtype: Any, shape: tuple[int, ...], **content: Any) -> Tensor:
    return Tensor(dtype=dtype, shape=shape, **content)


NAN = np.full((16, 6, 2, 4), np.nan, np.float32)
MISSING = "kino://sha256/" + "0" * 64
NO_VIDEO = Media(media_type="video/mp4", data=b"not a video at all")


@pytest.mark.parametrize(
    ("request_", "kind", "message"),
    [
        (TaeServiceEncodeRequest(), InvalidArgumentError, r"source is '', must be a video or frames"),
        (to_encode(frames=tensor(DTYPE_UINT8, (1, 16, 32, 3), data=b"1")), InvalidArgumentError, r"frames.data is 1,"),
        (
            to_encode(frames=tensor(DTYPE_UINT8, (16, 32, 3), data=b"")),
            InvalidArgumentError,
            r"frames.shape is \[16, 32, 3\]",
        ),
        (
            to_encode(frames=tensor(DTYPE_INT64, (1, 16, 32, 3), data=b"")),
            InvalidArgumentError,
            r"frames.dtype is 'int64'",
        ),
        (
            to_encode(frames=wire.encode(frames(257, 16, 16))),
            InvalidArgumentError,
            r"frames is 257, must be from 1 to 256",
        ),
        (
            to_encode(frames=wire.encode(frames(1, 24, 16))),
            InvalidArgumentError,
            r"height is 24, must be a positive mul",
        ),
        (TaeServiceEncodeRequest(video=NO_VIDEO), InvalidArgumentError, r"video"),
        (
            TaeServiceEncodeRequest(video=Media(media_type="image/png", data=b"no")),
            InvalidArgumentError,
            r"image is unread",
        ),
        (
            TaeServiceEncodeRequest(video=Media(media_type="text/plain", data=b"hi")),
            InvalidArgumentError,
            r"media_type is",
        ),
        (TaeServiceEncodeRequest(video=Media(media_type="video/mp4", uri=MISSING)), NotFoundError, r"not in the store"),
        (to_decode(latents=tensor(DTYPE_FLOAT32, (16, 6, 2, 4), data=b"")), InvalidArgumentError, r"latents.data is 0"),
        (to_decode(latents=wire.encode(LATENTS[:8])), InvalidArgumentError, r"latents.shape is \[8, 6, 2, 4\]"),
        (to_decode(latents=wire.encode(LATENTS[0])), InvalidArgumentError, r"latents.shape is \[6, 2, 4\]"),
        (to_decode(latents=wire.encode(NAN)), InvalidArgumentError, r"latents\[0, 0, 0, 0\] is nan, must be finite"),
        (
            to_decode(latents=tensor(DTYPE_UINT8, (16, 6, 2, 4), data=b"")),
            InvalidArgumentError,
            r"latents.dtype is 'uint8'",
        ),
        (
            to_decode(latent_space="ab12"),
            FailedPreconditionError,
            r"latent_space is 'ab12', this TAE decodes latents of",
        ),
        (to_decode(frames=49), InvalidArgumentError, r"frames is 49, must be from 41 to 48 for 6 latent frames"),
        (to_decode(frames=0), InvalidArgumentError, r"frames is 0, must be"),
        (to_decode(fps=0.0), InvalidArgumentError, r"fps is 0.0, must be from 1 to 60"),
        (to_decode(fps=float("nan")), InvalidArgumentError, r"fps is nan, must be from 1 to 60"),
        (to_decode(output=9), InvalidArgumentError, r"output is 9, must be one of"),
    ],
)
async def test_a_bad_request_gets_a_typed_answer_and_the_next_one_is_served(
    served: Served, request_: Any, kind: type[KinoError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        await events(served, request_)
    assert (await events(served, to_decode()))[-1].HasField("result")


async def test_a_damaged_artifact_is_told_and_the_next_request_is_served(served: Served, tmp_path: Path) -> None:
    latents = wire.encode(LATENTS, delivery=DELIVERY_STORE, store=served.store)
    digest = latents.uri.rpartition("/")[2]
    path = tmp_path / "store" / "sha256" / digest[:2] / digest
    path.write_bytes(bytes(path.stat().st_size))
    with pytest.raises(DataLossError, match="is damaged"):
        await events(served, to_decode(latents=latents))
    assert (await events(served, to_decode()))[-1].HasField("result")


async def test_what_does_not_fit_the_device_is_refused_and_the_next_request_is_served(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("kino.devices.free_bytes", lambda device: 1000)
        with pytest.raises(ResourceExhaustedError, match=r"too big .* \(a tile of 16x32 pixels takes"):
            await events(served, to_decode())
    assert (await events(served, to_encode()))[-1].HasField("result")
