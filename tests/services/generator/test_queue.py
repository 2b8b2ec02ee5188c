import asyncio
from collections.abc import Callable
from typing import Any

import grpc
import grpc.aio
import pytest
from prometheus_client import REGISTRY

from kino.errors import DeadlineExceededError, ResourceExhaustedError
from kino.v1.generator_pb2 import Sampling
from kino.v1.generator_pb2_grpc import GeneratorServiceStub
from kino.v1.progress_pb2 import PHASE_QUEUED, PHASE_RUNNING
from tests.services.conftest import Serve, Served
from tests.services.generator.harness import events, request, result

ENDLESS = request(sampling=Sampling(steps=1000))


def idle(served: Served) -> Callable[[], int]:
    """Count the network's forward passes from now on."""
    passes: list[None] = []
    served.servicer.engine.network.register_forward_hook(lambda *_: passes.append(None))
    return lambda: len(passes)


async def running(call: Any, steps: int = 1) -> None:
    """Read a stream until so many steps are done."""
    async for event in call:
        if event.progress.phase == PHASE_RUNNING and event.progress.step >= steps:
            return


async def first_phase(call: Any) -> int:
    """The phase that the first event of a stream tells."""
    phase: int = (await call.read()).progress.phase
    return phase


def waiting() -> float | None:
    """How many calls wait, by the service's own metric."""
    return REGISTRY.get_sample_value("kino_compute_waiting", {"component": "generator"})


async def assert_idle(served: Served, passes: Callable[[], int]) -> None:
    """The next request is served, and only it is computed."""
    await result(served, request(sampling=Sampling(steps=1)))
    before = passes()
    await result(served, request(sampling=Sampling(steps=1)))
    await asyncio.sleep(0.2)
    assert passes() == before + 1


async def test_cancelling_leaves_the_worker_idle_within_a_step(served: Served) -> None:
    passes = idle(served)
    call = GeneratorServiceStub(served.channel).Generate(ENDLESS)
    await running(call, steps=3)
    call.cancel()
    await assert_idle(served, passes)
    assert passes() < 500
    assert await call.code() == grpc.StatusCode.CANCELLED


async def test_a_deadline_ends_the_computation(served: Served) -> None:
    passes = idle(served)
    with pytest.raises(DeadlineExceededError):
        await events(served, ENDLESS, timeout=0.3)
    await assert_idle(served, passes)
    assert passes() < 500


async def test_a_full_queue_refuses_and_the_waiting_call_says_that_it_waits(serve: Serve) -> None:
    served = await serve("generator", queue=1)
    stub = GeneratorServiceStub(served.channel)
    first = stub.Generate(ENDLESS)
    await running(first)
    second = stub.Generate(request())
    assert await first_phase(second) == PHASE_QUEUED
    assert waiting() == 1
    with pytest.raises(ResourceExhaustedError, match="generator is busy: 1 requests wait, at most 1 may") as refusal:
        await events(served, request())
    assert refusal.value.retry_after_seconds is not None
    assert refusal.value.retry_after_seconds >= 1
    first.cancel()
    rest = [event async for event in second]
    assert [event.progress.step for event in rest[:-1]] == list(range(7))
    assert rest[-1].HasField("result")
    assert waiting() == 0


async def test_a_call_that_is_cancelled_while_it_waits_gives_up_its_place(serve: Serve) -> None:
    served = await serve("generator", queue=1)
    stub = GeneratorServiceStub(served.channel)
    first = stub.Generate(ENDLESS)
    await running(first)
    second = stub.Generate(request())
    await second.read()
    assert waiting() == 1
    second.cancel()
    while waiting():  # noqa: ASYNC110 - the metric of another task has no event
        await asyncio.sleep(0.01)
    third = stub.Generate(request())
    assert await first_phase(third) == PHASE_QUEUED
    first.cancel()
    assert [event async for event in third][-1].HasField("result")
