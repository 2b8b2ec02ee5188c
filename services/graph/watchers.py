"""Who waits in this process for a change of which generation."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from kino.errors import UnavailableError


class Watchers:
    """Wakes those who wait for a generation, until the process is about to end."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._ending = False

    @contextmanager
    def waiter(self, id: str) -> Iterator["Waiter"]:
        """Yield what waits for the changes of a generation that happen from now on."""
        event = asyncio.Event()
        self._waiting.setdefault(id, set()).add(event)
        try:
            yield Waiter(self, event)
        finally:
            self._waiting[id].discard(event)
            if not self._waiting[id]:
                del self._waiting[id]

    def tell(self, id: str) -> None:
        """A generation has changed."""
        for event in self._waiting.get(id, ()):
            event.set()

    def end(self) -> None:
        """Let every wait end with `UnavailableError`, also those that begin now."""
        self._ending = True
        for id in self._waiting:
            self.tell(id)

    def check(self) -> None:
        """Raise `UnavailableError` once `end` was called."""
        if self._ending:
            raise UnavailableError("this graph is about to end: watch again")


class Waiter:
    """One who waits."""

    def __init__(self, watchers: Watchers, event: asyncio.Event) -> None:
        self._watchers, self._event = watchers, event

    def begin(self) -> None:
        """What happens from now on ends the next wait."""
        self._event.clear()

    async def wait(self, most_seconds: float) -> None:
        """Return at the next change, or after so long; raises `UnavailableError` where the process is about to end."""
        self._watchers.check()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), most_seconds)
