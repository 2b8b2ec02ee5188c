"""The queue in front of a device: requests take turns on one worker thread, and only so many may wait."""

import asyncio
import contextvars
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from typing import ParamSpec, TypeVar

from prometheus_client import Gauge, Histogram

from kino.errors import ResourceExhaustedError

P = ParamSpec("P")
T = TypeVar("T")

_WAITING = Gauge("kino_compute_waiting", "Requests waiting for the device.", ["component"])
_BUSY = Gauge("kino_compute_busy", "Whether a request is on the device, 0 or 1.", ["component"])
_TURN_SECONDS = Histogram(
    "kino_compute_turn_seconds",
    "Seconds a request was on the device.",
    ["component"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000),
)
_STEPS = Histogram(
    "kino_compute_step_seconds",
    "Seconds of one step on the device.",
    ["component"],
    buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100),
)
_END = object()


class ComputeQueue:
    """Turns on one device, first come first served.

    Torch runs in the queue's own thread, so the event loop stays free; whoever cancels leaves the device after the step
    that is being computed, since a step cannot be interrupted.

    Args:
        component: the service's name in metrics and messages.
        max_waiting: requests that may wait behind the one on the device, at least 0.
    """

    def __init__(self, component: str, max_waiting: int = 8) -> None:
        self.component, self.max_waiting = component, max_waiting
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"{component}-compute")
        self._device = asyncio.Lock()
        self._waiting = 0
        self._turn_seconds = 1.0  # running mean, the unit of retry hints

    @contextmanager
    def place(self) -> Iterator[None]:
        """Keep a place in the queue: a stream that says so to its client leaves it right before its `turn`.

        Raises:
            ResourceExhaustedError: too many requests wait already; it says when to try again.
        """
        free = not self._device.locked()
        if self._waiting >= self.max_waiting + free:
            seconds = self._turn_seconds * (self._waiting + 1)
            raise ResourceExhaustedError(
                f"{self.component} is busy: {self._waiting} requests wait, at most {self.max_waiting} may",
                retry_after_seconds=round(max(1.0, seconds), 1),
            )
        self._waiting += 1
        _WAITING.labels(self.component).inc()
        try:
            yield
        finally:
            self._waiting -= 1
            _WAITING.labels(self.component).dec()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for the device and hold it; `iterate` and `run` are for whoever holds it. Raises as `place`."""
        with ExitStack() as waiting:
            waiting.enter_context(self.place())
            async with self.hold():
                waiting.close()
                yield

    @asynccontextmanager
    async def hold(self) -> AsyncIterator[None]:
        """Wait for the device and hold it, as `turn`, for those who wait in places of their own."""
        await self._device.acquire()
        started = time.monotonic()
        _BUSY.labels(self.component).set(1)
        try:
            yield
        finally:
            seconds = time.monotonic() - started
            self._turn_seconds += 0.3 * (seconds - self._turn_seconds)
            _TURN_SECONDS.labels(self.component).observe(seconds)
            _BUSY.labels(self.component).set(0)
            self._device.release()

    async def call(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Take a turn and return what `work` returns."""
        async with self.turn():
            return await self.run(work, *args, **kwargs)

    async def run(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Return what `work` returns, computed in the worker thread with the caller's context variables.

        When the caller is cancelled, the computation that has begun is awaited first, so that a turn ends only when the
        device is idle.
        """
        future = self._submit(partial(work, *args, **kwargs))
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await asyncio.wait([future])
            raise

    async def iterate(self, steps: Iterator[T]) -> AsyncGenerator[T]:
        """Yield what `steps` yields, each step computed in the worker while the caller has the one before.

        Leaving early closes the iterator there, after the step that is being computed.
        """
        ahead = self._submit(partial(self._step, steps))
        try:
            while (step := await asyncio.shield(ahead)) is not _END:
                ahead = self._submit(partial(self._step, steps))
                yield step  # type: ignore[misc]
        finally:
            await asyncio.wait([ahead])
            ahead.exception()  # of a step that nobody waits for any more
            close = getattr(steps, "close", None)  # generators have it, plain iterators hold nothing
            if close is not None:
                await self.run(close)

    def _step(self, steps: Iterator[T]) -> T | object:
        started = time.monotonic()
        step = next(steps, _END)
        if step is not _END:
            _STEPS.labels(self.component).observe(time.monotonic() - started)
        return step

    def _submit(self, job: Callable[[], T]) -> asyncio.Future[T]:
        """Give the worker a job, to do with the caller's context variables."""
        context = contextvars.copy_context()
        return asyncio.get_running_loop().run_in_executor(self._worker, context.run, job)

    def close(self) -> None:
        """End the worker thread after the step that is being computed."""
        self._worker.shutdown(wait=True, cancel_futures=True)
