"""Notes of progress, taken beside the work and never in its way."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

_log = logging.getLogger("kino.graph")


class Reporter:
    """Writes down that a generation begins, and its progress as it comes, but not more often than asked."""

    def __init__(
        self, begin: Callable[[], Awaitable[None]], write: Callable[[], Awaitable[None]], least_seconds: float
    ) -> None:
        self._begin, self._write, self._least_seconds = begin, write, least_seconds
        self._changed, self._closed = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(self._report())

    def changed(self) -> None:
        """There is something to write."""
        self._changed.set()

    async def close(self) -> None:
        """Stop, after the write under way; raises where the beginning could not be written."""
        self._closed.set()
        self._changed.set()
        await self._task

    async def _report(self) -> None:
        await self._begin()
        while await self._changed.wait() and not self._closed.is_set():
            self._changed.clear()
            try:
                await self._write()
            except Exception:  # noqa: BLE001 - progress is worth no generation; what counts is written at the end
                _log.exception("cannot write progress")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closed.wait(), self._least_seconds)
