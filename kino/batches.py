"""Waiting runs of one key share a turn on the device: a batch is computed step by step, and each takes its own part."""

import asyncio
import contextvars
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Hashable, Iterator, Sequence
from contextlib import aclosing, asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

from prometheus_client import Histogram

from kino.compute import ComputeQueue

_SIZES = Histogram(
    "kino_compute_batch_size",
    "Requests that went to the device together.",
    ["component"],
    buckets=(1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64),
)
_END = object()


class Joins(Protocol):
    """What can be computed beside others of its key, for as long as it is wanted."""

    wanted: bool

    @property
    def key(self) -> Hashable:
        """What is equal for those that fit into one batch."""


R = TypeVar("R", bound=Joins)
S = TypeVar("S")


class Batches(Generic[R, S]):
    """Turns on the device of a queue, each for one run or for several of one key.

    When the device is free, the run that waits longest takes others of its key with it, in the order in which they
    came. The batch is nobody's own: whoever leaves it leaves the others in it, and it ends within a step of the last
    one. A step is computed while all of them use the one before, so one that is slow to do so slows the others.

    Args:
        queue: used by nobody else.
        size: most runs of a batch, at least 1.
        room: how many runs like one the device has the memory for, at least 1.
        compute: for each step what became of each run; an error is the end of that run alone.
    """

    def __init__(
        self,
        queue: ComputeQueue,
        size: int,
        room: Callable[[R], int],
        compute: Callable[[Sequence[R]], Iterator[Sequence[tuple[R, S | Exception]]]],
    ) -> None:
        self.queue, self.size = queue, size
        self._room, self._compute = room, compute
        self._waiting: list[_Seat[R]] = []
        self._batch: list[_Seat[R]] = []
        self._serving: asyncio.Task[None] | None = None

    @asynccontextmanager
    async def turn(self, run: R) -> AsyncIterator[AsyncIterator[S]]:
        """Wait for the device, and give the iterator over what each step makes of a run.

        Leaving early ends the run; the last one to leave a batch waits for the step that is being computed.

        Raises:
            ResourceExhaustedError: too many requests wait already; it says when to try again.
        """
        seat: _Seat[R] = _Seat(run)
        try:
            with self.queue.place():
                self._waiting.append(seat)
                self._serve_next()
                await seat.begun.wait()
            async with aclosing(seat.outcomes()) as states:
                yield states
        finally:
            await self._leave(seat)

    def _serve_next(self) -> None:
        if self._serving is None and self._waiting:
            self._serving = asyncio.create_task(self._serve(), context=self._waiting[0].context)
            self._serving.add_done_callback(self._served)

    def _served(self, _: asyncio.Task[None]) -> None:
        self._serving = None
        self._serve_next()

    async def _serve(self) -> None:
        """Compute the batch of whoever waits longest."""
        async with self.queue.hold():
            if not self._waiting:
                return
            end: object = _END
            try:
                self._board(self._waiting[0])
                for seat in self._mates(self._batch[0].run):
                    self._board(seat)
                await self._compute_batch()
            except Exception as error:  # noqa: BLE001 - whatever it is, every run of the batch ends with it
                end = error
            finally:
                seats, self._batch = self._batch, []
        for seat in seats:
            seat.give(end)

    def _board(self, seat: "_Seat[R]") -> None:
        self._waiting.remove(seat)
        self._batch.append(seat)
        seat.begun.set()

    def _mates(self, run: R) -> "list[_Seat[R]]":
        """Those that wait and fit beside a run."""
        mates = [seat for seat in self._waiting if seat.run.key == run.key][: self.size - 1]
        return mates[: self._room(run) - 1] if mates else []

    async def _compute_batch(self) -> None:
        seats = {seat.run: seat for seat in self._batch}
        _SIZES.labels(self.queue.component).observe(len(seats))
        async with aclosing(self.queue.iterate(self._compute(list(seats)))) as steps:
            async for outcomes in steps:
                for run, outcome in outcomes:
                    seats[run].give(outcome)
                for seat in seats.values():
                    await seat.used()

    async def _leave(self, seat: "_Seat[R]") -> None:
        seat.leave()
        if seat in self._waiting:
            self._waiting.remove(seat)
        elif seat in self._batch and all(one.gone for one in self._batch):
            assert self._serving is not None
            self._serving.cancel()
            await asyncio.wait([self._serving])


class _Seat(Generic[R]):
    """A run, and what it is given: outcomes, and the end of the batch."""

    def __init__(self, run: R) -> None:
        self.run, self.begun, self.gone = run, asyncio.Event(), False
        self.context = contextvars.copy_context()
        self._given: asyncio.Queue[object] = asyncio.Queue()

    def give(self, outcome: object) -> None:
        """Hand it what a step made of it, an error that ends it, or the end."""
        if not self.gone:
            self._given.put_nowait(outcome)

    async def used(self) -> None:
        """Wait until it has used all that it was given."""
        await self._given.join()

    async def outcomes(self) -> AsyncGenerator[Any]:
        """What it is given, until the end; raises the error that ends it."""
        while True:
            outcome = await self._given.get()
            try:
                if outcome is _END:
                    return
                if isinstance(outcome, Exception):
                    raise outcome
                yield outcome
            finally:
                self._given.task_done()

    def leave(self) -> None:
        """Want nothing any more, and let go of what was given."""
        self.gone, self.run.wanted = True, False
        while not self._given.empty():
            self._given.get_nowait()
            self._given.task_done()
