import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest

from kino.compute import ComputeQueue
from kino.errors import ResourceExhaustedError
from kino.telemetry import request_id


@pytest.fixture
async def queue() -> AsyncIterator[ComputeQueue]:
    queue = ComputeQueue("test", max_waiting=1)
    yield queue
    queue.close()


async def test_work_runs_in_one_worker_thread_with_the_callers_context(queue: ComputeQueue) -> None:
    request_id.set("r-1")
    names = {await queue.call(lambda: (threading.current_thread().name, request_id.get())) for _ in range(3)}
    assert names == {("test-compute_0", "r-1")}


async def test_an_exception_of_the_work_reaches_the_caller_and_frees_the_device(queue: ComputeQueue) -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        await queue.call(int, "x")
    assert await queue.call(int, "7") == 7


async def test_turns_are_first_come_first_served_and_whole(queue: ComputeQueue) -> None:
    seen: list[str] = []

    async def request(name: str) -> None:
        async with queue.turn():
            async for step in queue.iterate(iter(range(3))):
                seen.append(f"{name}{step}")

    await asyncio.gather(request("a"), request("b"))
    assert seen == ["a0", "a1", "a2", "b0", "b1", "b2"]


async def test_a_full_queue_refuses_with_a_retry_hint_and_serves_the_rest(queue: ComputeQueue) -> None:
    release = threading.Event()
    first = asyncio.create_task(queue.call(release.wait))
    second = asyncio.create_task(queue.call(lambda: "second"))
    await asyncio.sleep(0)
    with pytest.raises(ResourceExhaustedError, match="test is busy: 1 requests wait, at most 1 may") as refusal:
        await queue.call(lambda: "third")
    assert refusal.value.retry_after_seconds == 2.0
    release.set()
    assert await first
    assert await second == "second"


async def test_a_place_counts_as_waiting_until_it_is_left(queue: ComputeQueue) -> None:
    release = threading.Event()
    with queue.place():  # the device is free: one may take it, one may wait
        first = asyncio.create_task(queue.call(release.wait))
        await asyncio.sleep(0)
        with pytest.raises(ResourceExhaustedError), queue.place():
            pass
    second = asyncio.create_task(queue.call(lambda: "second"))
    release.set()
    assert await first
    assert await second == "second"


async def test_the_next_step_is_computed_while_the_caller_has_the_one_before(queue: ComputeQueue) -> None:
    begun = [threading.Event() for _ in range(3)]

    def steps() -> Iterator[int]:
        for step in range(3):
            begun[step].set()
            yield step

    async with queue.turn(), aclosing(queue.iterate(steps())) as taken:
        assert await anext(taken) == 0
        assert await asyncio.to_thread(begun[1].wait, 10)
        assert not begun[2].is_set()  # one ahead, not more


async def test_leaving_early_waits_for_the_step_ahead_and_its_error_is_nobodys(queue: ComputeQueue) -> None:
    release, closed = threading.Event(), threading.Event()

    def steps() -> Iterator[int]:
        try:
            yield 0
            release.wait(10)
            raise ValueError("nobody waits for this step")
        finally:
            closed.set()

    async with queue.turn():
        taken = queue.iterate(steps())
        assert await anext(taken) == 0
        leaving = asyncio.ensure_future(taken.aclose())
        await asyncio.sleep(0)
        assert not leaving.done()
        release.set()
        await leaving
    assert closed.is_set()
    assert await queue.call(lambda: "next") == "next"


async def test_cancelling_stops_after_the_step_in_progress_and_closes_the_steps(queue: ComputeQueue) -> None:
    begun, release, steps_done, closed = threading.Event(), threading.Event(), [], threading.Event()

    def steps() -> Iterator[int]:
        try:
            for step in range(1000):
                begun.set()
                release.wait(10)
                steps_done.append(step)
                yield step
        finally:
            closed.set()

    async def request() -> None:
        async with queue.turn():
            async for _ in queue.iterate(steps()):
                pass

    task = asyncio.create_task(request())
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    await asyncio.sleep(0)
    assert not task.done()  # the device is not idle yet
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert steps_done == [0]
    assert closed.is_set()
    assert await queue.call(lambda: "next") == "next"
