"""Who waits in this process for a change of which generation."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

from kino.errors import UnavailableError

_LOOK_SECONDS = 0.25  # how soon one who waits learns what another process wrote; its own process tells at once

Look = Callable[[Collection[str]], Awaitable[Mapping[str, int]]]
"""Reads the sequences of generations by id from the ledger; those that are not there are left out."""


class Watchers:
    """Wakes those who wait for a generation, until the process is about to end.

    However many wait, one look at the ledger finds for all of them what other processes changed.
    """

    def __init__(self, look: Look) -> None:
        self._look = look
        self._looking: asyncio.Task[None] | None = None
        self._waiting: dict[str, set[Waiter]] = {}
        self._ending = False

    @contextmanager
    def waiter(self, id: str) -> Iterator["Waiter"]:
        """Yield what waits for the changes of a generation that happen from now on."""
        waiter = Waiter(self)
        self._waiting.setdefault(id, set()).add(waiter)
        try:
            yield waiter
        finally:
            self._waiting[id].discard(waiter)
            if not self._waiting[id]:
                del self._waiting[id]

    def tell(self, id: str) -> None:
        """A generation has changed."""
        for waiter in self._waiting.get(id, ()):
            waiter.changed.set()

    def end(self) -> None:
        """Let every wait end with `UnavailableError`, also those that begin now; each first reads what is new."""
        self._ending = True
        self._tell_all()

    def check(self) -> None:
        """Raise `UnavailableError` once `end` was called."""
        if self._ending:
            raise UnavailableError("this graph is about to end: watch again")

    def look(self) -> None:
        """Look for what other processes change, from now on and for as long as anyone waits."""
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look_on())

    async def close(self) -> None:
        """End the looking."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])

    async def _look_on(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(_LOOK_SECONDS)
                await self._compare()
        finally:  # nobody waits for what no longer looks: who is woken has it begin again
            self._tell_all()

    async def _compare(self) -> None:
        try:
            sequences = await self._look([*self._waiting])
        except UnavailableError:  # whoever waits asks the ledger itself, and so learns why
            self._tell_all()
            return
        for id, waiters in self._waiting.items():
            for waiter in waiters:
                if sequences.get(id) != waiter.seen:
                    waiter.changed.set()

    def _tell_all(self) -> None:
        for id in self._waiting:
            self.tell(id)


class Waiter:
    """One who waits; `seen` is the sequence of the generation that it read last."""

    def __init__(self, watchers: Watchers) -> None:
        self._watchers = watchers
        self.changed = asyncio.Event()
        self.seen = 0

    def begin(self) -> None:
        """What happens from now on ends the next wait."""
        self.changed.clear()

    async def wait(self) -> None:
        """Return at the next change; raises `UnavailableError` where the process is about to end."""
        self._watchers.check()
        self._watchers.look()
        await self.changed.wait()
