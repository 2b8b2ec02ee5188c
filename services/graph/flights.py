"""Work in flight: whoever asks for what is being made already joins it, and it stops when the last one leaves."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from kino.v1 import progress_pb2

T = TypeVar("T")
Listener = Callable[[progress_pb2.Progress], None]
Work = Callable[[Listener], Awaitable[T]]


class Flights(Generic[T]):
    """Running work by key."""

    def __init__(self) -> None:
        self._running: dict[str, _Flight[T]] = {}

    async def join(self, key: str, work: Work[T], listener: Listener) -> T:
        """Return what the work under this key gives, starting it if nobody has.

        Args:
            work: is told whom to tell its progress.
            listener: hears the last progress at once and then every further one.
        """
        flight = self._running.get(key)
        if flight is None:
            flight = self._running[key] = _Flight(work)
        flight.listeners.append(listener)
        if flight.last is not None:
            listener(flight.last)
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.listeners.remove(listener)
            if not flight.listeners:
                del self._running[key]
                if not flight.task.done():
                    flight.task.cancel()
                    await asyncio.wait([flight.task])


class _Flight(Generic[T]):
    def __init__(self, work: Work[T]) -> None:
        self.listeners: list[Listener] = []
        self.last: progress_pb2.Progress | None = None
        self.task = asyncio.ensure_future(work(self._tell))

    def _tell(self, progress: progress_pb2.Progress) -> None:
        self.last = progress
        for listener in self.listeners:
            listener(progress)
