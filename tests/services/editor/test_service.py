from typing import Any

import grpc
import grpc.aio
import numpy as np
import pytest

from kino import wire
from kino.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    KinoError,
    ResourceExhaustedError,
    from_rpc_error,
)
from kino.v1 import editor_pb2
from kino.v1.editor_pb2_grpc import EditorServiceStub
from kino.v1.generator_pb2 import Checkpoint, Sampling
from kino.v1.progress_pb2 import PHASE_QUEUED, PHASE_RUNNING
from kino.v1.tensor_pb2 import DELIVERY_STORE
from services.editor.engine import EditorEngine, Task
from tests.services.conftest import Serve, Served
from tests.services.editor.test_engine import latents
from tests.services.generator.harness import embeddings, rows

FEW = Sampling(steps=4, linear_steps=40, guidance=3.0)
LONG = Sampling(steps=1000)


def request(**changes: Any) -> editor_pb2.EditRequest:
    given: dict[str, Any] = {
        "embeddings": embeddings(1),
        "unconditional": embeddings(2),
        "task": editor_pb2.EDIT_TASK_REPLACE,
        "latents": wire.encode(latents()),
        "frames": 9,
        "seed": 3,
        "sampling": FEW,
    }
    return editor_pb2.EditRequest(**given | changes)


async def events(served: Served, request: editor_pb2.EditRequest) -> list[editor_pb2.EditResponse]:
    try:
        return [event async for event in EditorServiceStub(served.channel).Edit(request)]
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error


async def result(served: Served, request: editor_pb2.EditRequest) -> editor_pb2.EditResult:
    return (await events(served, request))[-1].result


async def test_served_is_in_process_bit_for_bit(served: Served) -> None:
    engine: EditorEngine = served.servicer.engine
    task = Task("replace", rows(1), rows(2), latents(), 9, 3, steps=4, linear_steps=40, guidance=3.0)
    *_, state = engine.edit(task)
    answer = await result(served, request())
    assert (list(answer.latents.shape), answer.frames) == ([16, 2, 4, 6], 9)
    assert answer.latents.data == state.x_t.tobytes()
    assert (answer.latent_space, answer.model_digest) == (engine.manifest.spaces.latent, engine.manifest.digest)


async def test_a_picture_comes_to_life(served: Served) -> None:
    given = request(task=editor_pb2.EDIT_TASK_IMAGE, latents=wire.encode(latents(1)), frames=20)
    assert list((await result(served, given)).latents.shape) == [16, 3, 4, 6]


async def test_progress_checkpoints_and_going_on(served: Served) -> None:
    seen = await events(served, request(checkpoint_every=2, delivery=DELIVERY_STORE))
    phases = [(event.progress.phase, event.progress.step) for event in seen if event.HasField("progress")]
    assert phases == [(PHASE_QUEUED, 0), *((PHASE_RUNNING, step) for step in range(5))]
    (checkpoint,) = [event.checkpoint for event in seen if event.HasField("checkpoint")]
    assert (checkpoint.step, checkpoint.of, checkpoint.x_t.WhichOneof("content")) == (2, 4, "uri")
    resumed = await events(served, request(resume_from=checkpoint, delivery=DELIVERY_STORE))
    assert resumed[-1].result.latents == seen[-1].result.latents
    assert [event.progress.step for event in resumed[1:-1]] == [2, 3, 4]


async def test_cancelling_leaves_the_device_to_the_next(serve: Serve) -> None:
    served = await serve("editor", queue=0)
    stub = EditorServiceStub(served.channel)
    call = stub.Edit(request(sampling=LONG))
    async for event in call:
        if event.progress.step == 2:
            break
    with pytest.raises(ResourceExhaustedError, match="editor is busy"):
        await events(served, request())
    call.cancel()
    assert await call.code() == grpc.StatusCode.CANCELLED
    for _ in range(100):  # the step under way ends first
        try:
            assert await result(served, request())
        except ResourceExhaustedError:
            continue
        break
    else:
        raise AssertionError("the device is never free")


async def test_the_part_says_what_it_accepts(served: Served) -> None:
    answer = await EditorServiceStub(served.channel).Describe(editor_pb2.EditorServiceDescribeRequest())
    info, manifest = answer.info, served.servicer.engine.manifest
    assert (info.component, info.preset, info.digest) == ("editor", "nano", manifest.digest)
    assert info.latent_space.digest == manifest.spaces.latent
    assert {space.tower: space.digest for space in info.text_spaces} == manifest.spaces.text
    limits = info.limits
    assert (limits.frames.maximum, limits.frames.default_value, limits.seconds.maximum) == (256, 16, 16)
    for guidance in (limits.source_guidance, limits.picture_guidance):
        assert (guidance.minimum, guidance.maximum, guidance.default_value) == (1, 30, 1)
    assert (limits.fps.default_value, limits.steps.default_value, limits.prompt_bytes.maximum) == (16, 8, 4096)


async def test_an_instruction_is_read(served: Served) -> None:
    stub = EditorServiceStub(served.channel)
    answer = await stub.Interpret(editor_pb2.InterpretRequest(instruction="Could you make it snowy?"))
    assert (answer.task, answer.instruction) == (editor_pb2.EDIT_TASK_PLACE, "set the scene in the snow")
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await stub.Interpret(editor_pb2.InterpretRequest(instruction="the ball"))
    error = from_rpc_error(refused.value)
    assert isinstance(error, InvalidArgumentError)
    assert (error.field, error.value) == ("instruction", "'the ball'")
    assert "make the ball blue" in error.bound


@pytest.mark.parametrize(
    ("changes", "kind", "message"),
    [
        ({"task": 0}, InvalidArgumentError, r"task is 0, must be one of IMAGE, MARK, RECOLOUR"),
        ({"task": 99}, InvalidArgumentError, r"task is 99, must be one of"),
        ({"latent_space": "ab12"}, FailedPreconditionError, r"latent_space is 'ab12', this model was trained on"),
        ({"latents": wire.encode(latents()[0])}, InvalidArgumentError, r"latents.shape is \[2, 4, 6\]"),
        ({"latents": wire.encode(np.full_like(latents(), np.inf))}, InvalidArgumentError, r"is inf, must be finite"),
        ({"frames": 99}, InvalidArgumentError, r"latents is float32 \[16, 2, 4, 6\], must be"),
        ({"frames": 1 << 20}, InvalidArgumentError, r"frames is 1048576, must be from 1 to 256"),
        ({"embeddings": []}, InvalidArgumentError, r"embeddings is of no tower"),
        ({"source_guidance": 0.0}, InvalidArgumentError, r"source_guidance is 0.0, must be from 1 to 30"),
        ({"sampling": Sampling(guidance=0.0)}, InvalidArgumentError, r"sampling.guidance is 0.0"),
        ({"checkpoint_every": 0}, InvalidArgumentError, r"checkpoint_every is 0"),
        ({"resume_from": Checkpoint(step=2, of=4)}, InvalidArgumentError, r"resume_from.x_t"),
    ],
)
async def test_a_bad_request_gets_a_typed_answer_and_the_next_one_is_served(
    served: Served, changes: dict[str, Any], kind: type[KinoError], message: str
) -> None:
    with pytest.raises(kind, match=message):
        await events(served, request(**changes))
    assert (await events(served, request(sampling=Sampling(steps=1))))[-1].HasField("result")


async def test_a_preset_that_is_not_there_is_refused(serve: Serve) -> None:
    with pytest.raises(ValueError, match="preset is 'huge', must be one of nano"):
        await serve("editor", preset="huge")
