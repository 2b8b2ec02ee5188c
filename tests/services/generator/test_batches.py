"""Calls that share a turn on the device of one generator: what they get, and what becomes of those that leave."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray

from kino import wire
from kino.errors import InvalidArgumentError
from kino.execution import Execution
from kino.v1.generator_pb2 import GenerateRequest, GenerateResponse, GeneratorServiceDescribeRequest, Sampling
from kino.v1.generator_pb2_grpc import GeneratorServiceStub
from kino.v1.progress_pb2 import PHASE_RUNNING
from kino.v1.tensor_pb2 import Tensor
from tests.services.conftest import Serve, Served
from tests.services.generator.harness import embeddings, events, request, result
from tests.services.generator.test_queue import ENDLESS, running, waiting

NEAR = 1e-4
"""Most that a number of a result may change by what shares its batch; latents spread about 1."""
OTHER = request(frames=1)


def member(seed: int, **changes: Any) -> GenerateRequest:
    """One of several requests of one shape."""
    return request(seed=seed, embeddings=embeddings(seed), **changes)


@asynccontextmanager
async def busy(served: Served) -> AsyncIterator[None]:
    """Keep the device from all others meanwhile."""
    call = GeneratorServiceStub(served.channel).Generate(ENDLESS)
    await running(call)
    yield
    call.cancel()


async def begin(served: Served, *requests: GenerateRequest) -> list["asyncio.Task[list[GenerateResponse]]"]:
    """Let calls wait, in this order."""
    tasks = []
    for number, one in enumerate(requests, start=1):
        tasks.append(asyncio.create_task(events(served, one)))
        while waiting() != number:  # noqa: ASYNC110 - the metric of another task has no event
            await asyncio.sleep(0.01)
    return tasks


def passes(served: Served) -> list[int]:
    """The texts of each further forward pass, two for each clip under guidance."""
    seen: list[int] = []
    served.servicer.engine.network.register_forward_hook(lambda _, given, __: seen.append(len(given[0])))
    return seen


def values(tensor: Tensor) -> NDArray[np.float32]:
    return wire.decode(tensor, "latents", "c t h w")


def latents(seen: list[GenerateResponse]) -> NDArray[np.float32]:
    return values(seen[-1].result.latents)


@pytest.fixture
async def batching(serve: Serve) -> Served:
    return await serve("generator", execution=Execution(batch=3))


async def test_calls_of_one_shape_share_steps_and_give_nearly_what_each_gives_alone(batching: Served) -> None:
    alone = [values((await result(batching, member(seed))).latents) for seed in range(4)]
    other = (await result(batching, OTHER)).latents
    async with busy(batching):
        tasks = await begin(batching, member(0), OTHER, *map(member, (1, 2, 3)))
        seen = passes(batching)
    made = [await task for task in tasks]
    assert seen[-18:] == 6 * [6] + 6 * [2] + 6 * [2]  # three clips, then the other one, then the fourth
    assert made[1][-1].result.latents == other
    for events_of, expected in zip((made[0], *made[2:]), alone, strict=True):
        np.testing.assert_allclose(latents(events_of), expected, atol=NEAR, rtol=NEAR)
        steps = [event.progress.step for event in events_of if event.progress.phase == PHASE_RUNNING]
        assert steps == list(range(7))
    assert expected.std() > 0.1


async def test_without_being_told_to_none_share(served: Served) -> None:
    alone = [(await result(served, member(seed))).latents for seed in range(3)]
    async with busy(served):
        tasks = await begin(served, *map(member, range(3)))
        seen = passes(served)
    assert [(await task)[-1].result.latents for task in tasks] == alone
    assert set(seen) == {2}


async def test_long_clips_share_their_windows(batching: Served) -> None:
    long = [member(seed, frames=40, height=16, width=16, sampling=Sampling(steps=2)) for seed in range(3)]
    alone = [values((await result(batching, one)).latents) for one in long]
    async with busy(batching):
        tasks = await begin(batching, *long)
        seen = passes(batching)
    for task, expected in zip(tasks, alone, strict=True):
        np.testing.assert_allclose(latents(await task), expected, atol=NEAR, rtol=NEAR)
    assert expected.shape == (16, 5, 2, 2)
    assert seen[-8:] == 8 * [6]  # four windows of two latent frames in each step


@pytest.mark.parametrize("leaver", [0, 1])
async def test_one_that_is_cancelled_is_answered_and_the_others_go_on(batching: Served, leaver: int) -> None:
    slow = [member(seed, sampling=Sampling(steps=60, guidance=3.0)) for seed in range(2)]
    expected = (await events(batching, slow[1 - leaver]))[-1]
    stub = GeneratorServiceStub(batching.channel)
    async with busy(batching):
        calls = []
        for number, one in enumerate(slow, start=1):
            calls.append(stub.Generate(one))
            while waiting() != number:  # noqa: ASYNC110 - the metric of another task has no event
                await asyncio.sleep(0.01)
        seen = passes(batching)
    await running(calls[leaver], steps=3)
    calls[leaver].cancel()
    assert await calls[leaver].code() == grpc.StatusCode.CANCELLED
    rest = [event async for event in calls[1 - leaver]]
    np.testing.assert_allclose(latents(rest), latents([expected]), atol=NEAR, rtol=NEAR)
    shared = seen.count(4)
    assert 3 <= shared < 60
    assert seen[-60:] == shared * [4] + (60 - shared) * [2]


async def test_when_all_are_cancelled_the_device_is_idle_within_a_step(batching: Served) -> None:
    stub = GeneratorServiceStub(batching.channel)
    async with busy(batching):
        endless = [member(seed, sampling=Sampling(steps=999)) for seed in range(2)]
        calls = [stub.Generate(one) for one in endless]
        while waiting() != 2:  # noqa: ASYNC110 - the metric of another task has no event
            await asyncio.sleep(0.01)
    await asyncio.gather(*(running(call, steps=2) for call in calls))
    for call in calls:
        call.cancel()
    await result(batching, request(sampling=Sampling(steps=1)))
    seen = passes(batching)
    await result(batching, request(sampling=Sampling(steps=1)))
    await asyncio.sleep(0.2)
    assert seen == [2]


async def test_a_checkpoint_of_a_shared_step_goes_on_alone(batching: Served) -> None:
    alone = [values((await result(batching, member(seed))).latents) for seed in range(2)]
    async with busy(batching):
        tasks = await begin(batching, *(member(seed, checkpoint_every=2) for seed in range(2)))
        seen = passes(batching)
    for seed, task in enumerate(tasks):
        kept = [event.checkpoint for event in await task if event.HasField("checkpoint")]
        assert [checkpoint.step for checkpoint in kept] == [2, 4]
        resumed = await result(batching, member(seed, resume_from=kept[0]))
        np.testing.assert_allclose(values(resumed.latents), alone[seed], atol=NEAR, rtol=NEAR)
    assert seen[-14:] == 6 * [4] + 8 * [2]


async def test_there_are_no_more_in_a_batch_than_there_is_memory_for(
    batching: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with busy(batching):
        tasks = await begin(batching, *map(member, range(3)))
        seen = passes(batching)
        needed: int = batching.servicer.batches._waiting[0].run.num_bytes
        monkeypatch.setattr("kino.devices.free_bytes", lambda device: 2 * needed)
    assert all([(await task)[-1].HasField("result") for task in tasks])
    assert seen[-12:] == 6 * [4] + 6 * [2]


async def test_a_bad_request_is_refused_and_leaves_those_that_wait_alone(batching: Served) -> None:
    async with busy(batching):
        tasks = await begin(batching, *map(member, range(2)))
        with pytest.raises(InvalidArgumentError, match="seed is -1, must be from 0"):
            await events(batching, request(seed=-1))
    assert all([(await task)[-1].HasField("result") for task in tasks])


async def test_the_part_says_that_results_may_differ(batching: Served, serve: Serve) -> None:
    info = (await GeneratorServiceStub(batching.channel).Describe(GeneratorServiceDescribeRequest())).info
    assert list(info.approximations) == ["batches"]
    alone = await serve("generator")
    info = (await GeneratorServiceStub(alone.channel).Describe(GeneratorServiceDescribeRequest())).info
    assert list(info.approximations) == []
