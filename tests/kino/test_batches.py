import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field

import pytest
from prometheus_client import REGISTRY

from kino.batches import Batches
from kino.compute import ComputeQueue
from kino.errors import ResourceExhaustedError

Outcomes = list[tuple["Run", "int | Exception"]]


@dataclass(eq=False)
class Run:
    """Something that counts its steps."""

    name: str
    key: str = "small"
    of: int = 2
    wanted: bool = True


@dataclass
class Device:
    """What is computed, and when: nothing before `go` is set."""

    batches: list[str] = field(default_factory=list)
    steps: list[str] = field(default_factory=list)
    go: threading.Event = field(default_factory=threading.Event)
    closed: int = 0

    def compute(self, runs: Sequence[Run]) -> Iterator[Outcomes]:
        self.batches.append("".join(run.name for run in runs))
        try:
            for step in range(runs[0].of):
                self.go.wait(10)
                self.steps.append("".join(run.name for run in runs if run.wanted))
                yield [(run, step) for run in runs if run.wanted]
        finally:
            self.closed += 1


@pytest.fixture
async def queue() -> AsyncIterator[ComputeQueue]:
    queue = ComputeQueue("batches", max_waiting=4)
    yield queue
    queue.close()


def batches(
    queue: ComputeQueue, compute: Callable[[Sequence[Run]], Iterator[Outcomes]], size: int = 3, room: int = 9
) -> Batches[Run, int]:
    return Batches(queue, size, lambda _: room, compute)


async def take(batches: Batches[Run, int], run: Run) -> list[int]:
    async with batches.turn(run) as states:
        return [state async for state in states]


async def begin(batches: Batches[Run, int], *runs: Run) -> list["asyncio.Task[list[int]]"]:
    """Let runs wait one after the other; the first one of all is on the device then."""
    tasks = []
    for run in runs:
        tasks.append(asyncio.create_task(take(batches, run)))
        await asyncio.sleep(0.02)
    return tasks


async def until(done: Callable[[], bool]) -> None:
    """Wait for what the device's thread does."""
    while not done():  # noqa: ASYNC110 - another thread has no event of this loop
        await asyncio.sleep(0.01)


def sizes() -> tuple[float, float]:
    """How many batches there were, and how many requests in them, by the metric."""
    count, total = (
        REGISTRY.get_sample_value(f"kino_compute_batch_size_{name}", {"component": "batches"}) or 0
        for name in ("count", "sum")
    )
    return count, total


async def test_those_that_wait_and_fit_go_together_and_the_others_in_turn(queue: ComputeQueue) -> None:
    device, before = Device(), sizes()
    turns = batches(queue, device.compute)
    runs = [Run("a"), Run("b"), Run("c", key="large", of=3), Run("d"), Run("e", key="large", of=3)]
    tasks = await begin(turns, *runs)
    device.go.set()
    assert await asyncio.gather(*tasks) == [[0, 1], [0, 1], [0, 1, 2], [0, 1], [0, 1, 2]]
    assert device.batches == ["a", "bd", "ce"]
    count, total = (now - then for now, then in zip(sizes(), before, strict=True))
    assert (count, total) == (3, 5)


@pytest.mark.parametrize(
    ("size", "room", "expected"), [(1, 9, "a,b,c,d"), (2, 9, "a,bc,d"), (4, 2, "a,bc,d"), (4, 1, "a,b,c,d")]
)
async def test_no_more_than_asked_for_and_than_there_is_memory_for(
    queue: ComputeQueue, size: int, room: int, expected: str
) -> None:
    device = Device()
    tasks = await begin(batches(queue, device.compute, size, room), *map(Run, "abcd"))
    device.go.set()
    await asyncio.gather(*tasks)
    assert ",".join(device.batches) == expected


async def test_who_is_on_the_device_does_not_count_as_waiting(queue: ComputeQueue) -> None:
    device = Device()
    turns = batches(queue, device.compute)
    tasks = await begin(turns, *map(Run, "abcde"))
    with pytest.raises(ResourceExhaustedError, match="batches is busy: 4 requests wait, at most 4 may"):
        await take(turns, Run("f"))
    device.go.set()
    await asyncio.wait(tasks[:1])
    device.go.clear()  # in the second batch, of three
    await until(lambda: len(device.batches) == 2)
    later = await begin(turns, *map(Run, "fgh"))
    with pytest.raises(ResourceExhaustedError, match="4 requests wait"):
        await take(turns, Run("i"))
    device.go.set()
    assert await asyncio.gather(*tasks, *later) == 8 * [[0, 1]]
    assert device.batches == ["a", "bcd", "efg", "h"]


@pytest.mark.parametrize("leaver", [0, 1])
async def test_one_that_leaves_is_answered_and_the_others_go_on(queue: ComputeQueue, leaver: int) -> None:
    device = Device()
    first, *tasks = await begin(batches(queue, device.compute), *(Run(name, of=20) for name in "abc"))
    device.go.set()
    await first
    device.go.clear()
    tasks[leaver].cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(tasks[leaver], 5)  # at once: the device still computes the step
    device.go.set()
    assert await tasks[1 - leaver] == list(range(20))
    assert device.batches == ["a", "bc"]
    assert device.steps[-1] == "cb"[leaver]


async def test_the_last_one_that_leaves_ends_the_computation(queue: ComputeQueue) -> None:
    device = Device()
    turns = batches(queue, device.compute)
    first, *tasks = await begin(turns, Run("a"), *(Run(name, of=1000) for name in "bc"))
    device.go.set()
    await first
    device.go.clear()
    for task in tasks:
        task.cancel()
    await asyncio.sleep(0.02)
    assert tasks[0].done()
    assert not tasks[1].done()  # it is the last one, and the device is not idle yet
    device.go.set()
    assert [type(one) for one in await asyncio.gather(*tasks, return_exceptions=True)] == 2 * [asyncio.CancelledError]
    assert (device.closed, len(device.steps) < 50) == (2, True)
    assert await take(turns, Run("d")) == [0, 1]


async def test_one_that_leaves_while_it_waits_gives_up_its_place(queue: ComputeQueue) -> None:
    device = Device()
    turns = batches(queue, device.compute)
    tasks = await begin(turns, *map(Run, "abc"))
    tasks[1].cancel()
    await asyncio.wait(tasks[1:2])
    device.go.set()
    assert [await tasks[0], await tasks[2]] == [[0, 1], [0, 1]]
    assert device.batches == ["a", "c"]


async def test_an_error_of_one_run_is_its_own_and_one_of_all_is_everyones(queue: ComputeQueue) -> None:
    go = threading.Event()

    def compute(runs: Sequence[Run]) -> Iterator[Outcomes]:
        go.wait(10)
        yield [(run, ValueError(run.name) if run.name == "b" else 0) for run in runs]
        if len(runs) == 2:
            yield [(run, 1) for run in runs if run.name != "b"]
        else:
            raise MemoryError("none left")

    turns = batches(queue, compute, size=2)
    tasks = await begin(turns, *map(Run, "abc"))
    go.set()
    with pytest.raises(MemoryError, match="none left"):
        await tasks[0]
    with pytest.raises(ValueError, match="b"):
        await tasks[1]
    assert await tasks[2] == [0, 1]


async def test_an_error_before_the_first_step_ends_one_batch_alone(queue: ComputeQueue) -> None:
    device = Device()
    device.go.set()

    def room(run: Run) -> int:
        raise RuntimeError("the device is gone")

    turns: Batches[Run, int] = Batches(queue, 2, room, device.compute)
    tasks = await begin(turns, Run("a", of=1))
    device.go.clear()
    tasks += await begin(turns, *map(Run, "bcd"))
    device.go.set()
    made = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in made] == [list, list, RuntimeError, list]


async def test_a_step_is_computed_while_all_use_the_one_before(queue: ComputeQueue) -> None:
    device = Device()
    turns = batches(queue, device.compute)
    tasks = await begin(turns, Run("a", of=1))

    async with asyncio.TaskGroup() as group:
        other = group.create_task(take(turns, Run("b", of=5)))
        await asyncio.sleep(0.02)
        group.create_task(_free(device))
        async with turns.turn(Run("c", of=5)) as states:
            assert await anext(states) == 0
            await until(lambda: len(device.steps) == 3)
            await asyncio.sleep(0.05)
            assert device.steps[1:] == ["bc", "bc"]  # one ahead, not more
            assert [state async for state in states] == [1, 2, 3, 4]
        assert await other == [0, 1, 2, 3, 4]
    await asyncio.gather(*tasks)


async def _free(device: Device) -> None:
    await asyncio.sleep(0.02)
    device.go.set()
