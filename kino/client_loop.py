"""An event loop beside plain code."""

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from typing import Any, TypeVar

T = TypeVar("T")


class Loop:
    """An event loop in a thread of its own, which plain code hands coroutines to."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kino-client", daemon=True)
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Return the coroutine's result; an exception in the waiting thread, as by Ctrl-C, cancels it to its end."""
        task = asyncio.run_coroutine_threadsafe(_begin(coroutine), self._loop).result()
        try:
            asyncio.run_coroutine_threadsafe(asyncio.wait([task]), self._loop).result()
        except BaseException:
            self._loop.call_soon_threadsafe(task.cancel)
            asyncio.run_coroutine_threadsafe(asyncio.wait([task]), self._loop).result()
            raise
        return task.result()

    def iterate(self, source: AsyncIterator[T]) -> Iterator[T]:
        """Yield what an asynchronous iterator yields."""
        while True:
            try:
                yield self.run(_next(source))
            except StopAsyncIteration:
                return

    def close(self) -> None:
        """End the loop and its thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _begin(coroutine: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    return asyncio.ensure_future(coroutine)


async def _next(source: AsyncIterator[T]) -> T:
    return await anext(source)
