from typing import Any

import numpy as np
import pytest
from prometheus_client import REGISTRY

from kino import wire
from kino.errors import FailedPreconditionError, InvalidArgumentError, KinoError, NotFoundError, ResourceExhaustedError
from kino.v1.encoder_pb2 import Embedding
from kino.v1.generator_pb2 import Checkpoint, GeneratorServiceDescribeRequest, Sampling
from kino.v1.generator_pb2_grpc import GeneratorServiceStub
from kino.v1.progress_pb2 import PHASE_QUEUED, PHASE_RUNNING
from kino.v1.tensor_pb2 import DELIVERY_STORE, DTYPE_FLOAT32, DTYPE_INT64, Tensor
from services.generator.engine import GeneratorEngine, Task
from tests.services.conftest import Serve, Served
from tests.services.generator.harness import embeddings, events, request, result, rows


async def test_served_is_in_process_bit_for_bit(served: Served) -> None:
    engine: GeneratorEngine = served.servicer.engine
    *_, state = engine.generate(Task(rows(1), rows(2), 9, 32, 48, 3, steps=6, linear_steps=60, guidance=3.0))
    answer = await result(served, request())
    assert list(answer.latents.shape) == [16, 2, 4, 6]
    assert answer.latents.dtype == DTYPE_FLOAT32
    assert answer.latents.data == state.x_t.tobytes()
    assert answer.latent_space == engine.manifest.spaces.latent
    assert answer.model_digest == engine.manifest.digest
    assert answer.seconds > 0


async def test_the_same_request_gives_the_same_bytes(served: Served) -> None:
    first, second, other = [await result(served, request(seed=seed)) for seed in (3, 3, 4)]
    assert first.latents.data == second.latents.data != other.latents.data


async def test_progress_is_queued_then_every_step_then_the_result(served: Served) -> None:
    seen = await events(served, request())
    assert [event.WhichOneof("event") for event in seen] == ["progress"] * 8 + ["result"]
    progress = [event.progress for event in seen[:-1]]
    assert [(entry.phase, entry.step, entry.of) for entry in progress] == [
        (PHASE_QUEUED, 0, 0),
        *((PHASE_RUNNING, step, 6) for step in range(7)),
    ]
    seconds = [entry.seconds for entry in progress]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize("delivery", [0, DELIVERY_STORE])
async def test_going_on_from_a_checkpoint_gives_the_undisturbed_bytes(served: Served, delivery: Any) -> None:
    seen = await events(served, request(checkpoint_every=2, delivery=delivery))
    checkpoints = [event.checkpoint for event in seen if event.HasField("checkpoint")]
    assert [(checkpoint.step, checkpoint.of) for checkpoint in checkpoints] == [(2, 6), (4, 6)]
    for checkpoint in checkpoints:
        assert (checkpoint.x_t.WhichOneof("content") == "uri") == (delivery == DELIVERY_STORE)
        resumed = await events(served, request(resume_from=checkpoint, delivery=delivery))
        assert resumed[-1].result.latents == seen[-1].result.latents
        steps = [event.progress.step for event in resumed if event.progress.phase == PHASE_RUNNING]
        assert steps == list(range(checkpoint.step, 7))


async def test_checkpoints_by_time_come_so_many_seconds_after_the_one_before(served: Served) -> None:
    seen = await events(served, request(checkpoint_seconds=0.001))
    steps = [event.checkpoint.step for event in seen if event.HasField("checkpoint")]
    assert steps == sorted({*steps} & {1, 2, 3, 4, 5})
    assert steps  # six steps take longer than that
    slow = await events(served, request(checkpoint_seconds=3600))
    assert not any(event.HasField("checkpoint") for event in slow)
    assert slow[-1].result.latents == seen[-1].result.latents


async def test_latents_by_uri_lie_in_the_store(served: Served) -> None:
    inline, stored = await result(served, request()), await result(served, request(delivery=DELIVERY_STORE))
    assert served.store.get(stored.latents.uri) == inline.latents.data


async def test_embeddings_by_uri_are_read_from_the_store(served: Served) -> None:
    by_uri = [
        Embedding(tower=name, embeddings=wire.encode(array, delivery=DELIVERY_STORE, store=served.store))
        for name, array in rows(1).items()
    ]
    assert (await result(served, request(embeddings=by_uri))).latents == (await result(served, request())).latents


async def test_the_part_says_what_it_accepts(served: Served) -> None:
    info = (await GeneratorServiceStub(served.channel).Describe(GeneratorServiceDescribeRequest())).info
    manifest = served.servicer.engine.manifest
    assert (info.component, info.version, info.preset, info.family) == ("generator", "nano", "nano", "kino")
    assert (info.digest, info.latent_space.digest) == (manifest.digest, manifest.spaces.latent)
    assert (info.latent_space.channels, info.latent_space.temporal_factor, info.latent_space.spatial_factor) == (
        16,
        8,
        8,
    )
    assert {space.tower: space.digest for space in info.text_spaces} == manifest.spaces.text
    assert [(space.width, space.max_tokens) for space in info.text_spaces] == [(32, 64), (32, 32), (32, 1)]
    limits = info.limits
    assert (limits.frames.minimum, limits.frames.maximum, limits.frames.default_value) == (1, 256, 16)
    assert (limits.height.minimum, limits.width.maximum, limits.size_multiple) == (16, 112, 16)
    assert (limits.steps.default_value, limits.linear_steps.default_value, limits.guidance.default_value) == (8, 200, 2)
    assert limits.aspects[0].aspect == "1:1"


async def test_every_step_is_measured(served: Served) -> None:
    labels = {"component": "generator"}
    before = REGISTRY.get_sample_value("kino_compute_step_seconds_count", labels) or 0
    await result(served, request())
    assert REGISTRY.get_sample_value("kino_compute_step_seconds_count", labels) == before + 6
    assert REGISTRY.get_sample_value("kino_compute_busy", labels) == 0


def tensor(dtype: Any = DTYPE_FLOAT32, shape: tuple[int, ...] = (5, 32), **content: Any) -> Tensor:
    return Tensor(dtype=dtype, shape=shape, **content or {"data": bytes(4 * int(np.prod(shape)))})


def spoiled(spoilt: Tensor, tower: str = "ul2", text_space: str = "") -> list[Embedding]:
    rest = [entry for entry in embeddings(1) if entry.tower != "ul2"]
    return [Embedding(tower=tower, embeddings=spoilt, text_space=text_space), *rest]


NAN = np.full((5, 32), np.nan, np.float32).tobytes()
MISSING = "kino://sha256/" + "0" * 64


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"embeddings": spoiled(tensor(data=b"123"))}, InvalidArgumentError, r"embeddings\[0\].embeddings.data is 3"),
        ({"embeddings": spoiled(tensor(shape=(5, 32, 1)))}, InvalidArgumentError, r"shape is \[5, 32, 1\], must be"),
        ({"embeddings": spoiled(tensor(shape=(5, 31)))}, InvalidArgumentError, r"shape is \[5, 31\], must be \[n 32\]"),
        ({"embeddings": spoiled(tensor(shape=(-5, 32), data=b""))}, InvalidArgumentError, r"shape is \[-5, 32\]"),
        ({"embeddings": spoiled(tensor(DTYPE_INT64, data=bytes(1280)))}, InvalidArgumentError, r"dtype is 'int64'"),
        ({"embeddings": spoiled(tensor(0))}, InvalidArgumentError, r"dtype is 'unspecified'"),
        ({"embeddings": spoiled(tensor(data=NAN))}, InvalidArgumentError, r"\[0, 0\] is nan, must be finite"),
        ({"embeddings": spoiled(tensor(uri=MISSING))}, NotFoundError, r"is not in the store"),
        ({"embeddings": spoiled(tensor(uri="../../etc"))}, InvalidArgumentError, r"must be kino://sha256"),
        ({"embeddings": spoiled(tensor(), tower="t5")}, InvalidArgumentError, r"tower is 't5', must be one of ul2"),
        ({"embeddings": spoiled(tensor(), tower="byt5")}, InvalidArgumentError, r"tower is 'byt5', must be there once"),
        ({"embeddings": embeddings(1)[:2]}, InvalidArgumentError, r"embeddings is of ul2, byt5, must be one each of"),
        ({"unconditional": []}, InvalidArgumentError, r"unconditional is of no tower"),
        ({"embeddings": spoiled(tensor(), text_space="ab12")}, FailedPreconditionError, r"text_space is 'ab12'"),
        ({"frames": 0}, InvalidArgumentError, r"frames is 0, must be from 1 to 256"),
        ({"height": 33}, InvalidArgumentError, r"height is 33, must be a positive multiple of 16"),
        ({"width": 1024}, InvalidArgumentError, r"width is 1024, must be from 1 to 112"),
        ({"seed": -1}, InvalidArgumentError, r"seed is -1, must be from 0 to"),
        ({"sampling": Sampling(steps=0)}, InvalidArgumentError, r"sampling.steps is 0, must be from 1 to 1000"),
        ({"sampling": Sampling(guidance=float("nan"))}, InvalidArgumentError, r"sampling.guidance is nan"),
        ({"sampling": Sampling(guidance=1e9)}, InvalidArgumentError, r"sampling.guidance is 1000000000.0"),
        ({"checkpoint_every": 0}, InvalidArgumentError, r"checkpoint_every is 0, must be from 1 to 1000"),
        ({"checkpoint_seconds": 0.0}, InvalidArgumentError, r"checkpoint_seconds is 0.0, must be from 0.001 to 86400"),
        ({"checkpoint_seconds": float("nan")}, InvalidArgumentError, r"checkpoint_seconds is nan"),
        (
            {"resume_from": Checkpoint(step=9, of=6, x_t=tensor(shape=(16, 2, 4, 6)))},
            InvalidArgumentError,
            r"resume_from.step is 9, must be from 1 to 5",
        ),
        (
            {"resume_from": Checkpoint(step=3, of=6, x_t=tensor(shape=(16, 2, 4, 4)))},
            InvalidArgumentError,
            r"resume_from.x_t is float32 \[16, 2, 4, 4\], must be float32 \[16, 2, 4, 6\]",
        ),
    ],
)
async def test_a_bad_request_gets_a_typed_answer_and_the_next_one_is_served(
    served: Served, changes: dict[str, Any], kind: type[KinoError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        await events(served, request(**changes))
    assert (await events(served, request(sampling=Sampling(steps=1))))[-1].HasField("result")


async def test_what_does_not_fit_the_device_is_refused_and_the_next_request_is_served(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("kino.devices.free_bytes", lambda device: 1000)
        with pytest.raises(ResourceExhaustedError, match=r"too big .* \(a clip of 12 tokens takes"):
            await events(served, request())
    assert (await result(served, request())).latents.data


async def test_a_preset_that_is_not_there_is_refused(serve: Serve) -> None:
    with pytest.raises(ValueError, match="preset is 'huge', must be one of nano"):
        await serve("generator", preset="huge")
