"""Follows aliases: a service whose model version has moved is replaced between calls, and no call is lost.

The new servicer loads beside the old one, so that both need room for a while; calls that began on the old end there.
"""

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from inspect import isasyncgenfunction
from typing import Any

from kino.registry import Registry
from kino.store import NotFoundError, StoreUnavailableError
from services.service import Drains, Service, ServiceConfig

COMPONENTS: Mapping[str, tuple[str, ...]] = {
    "encoder": ("ul2", "byt5", "metaclip", "towers"),
    "generator": ("dit",),
    "audio": ("audio", "codec", "vision", "t5"),
    "personalizer": ("personalizer", "identity"),
    "graph": (),
}
"""The components of the registry that a service loads, where these are others than the one of its own name."""

_log = logging.getLogger("kino.reload")


class Reloading:
    """A servicer that is replaced by one of the same settings while it serves; it has the methods of both.

    Args:
        name: of the service.
        create: makes a servicer of the settings.
    """

    def __init__(self, name: str, config: ServiceConfig, create: Callable[[ServiceConfig], Service]) -> None:
        self.name, self.config = name, config
        self._create = create
        self._held = _Held(create(config))
        self._leaving: list[_Held] = []
        self._versions: dict[str, str] = {}

    async def start(self) -> None:
        """Load the first servicer."""
        self._versions = await asyncio.to_thread(_versions, self.name, self.config)
        await self._held.service.start()

    async def stop(self) -> None:
        """Let go of every servicer that is left."""
        for held in (*self._leaving, self._held):
            await held.service.stop()

    def drain(self) -> None:
        """End the calls that wait, of every servicer that has such."""
        for held in (*self._leaving, self._held):
            if isinstance(held.service, Drains):
                held.service.drain()

    async def follow(self, seconds: float) -> None:
        """Replace the servicer whenever what its version or alias stands for has changed; look so often, for ever.

        What cannot be reached is tried again, what cannot be loaded is not; both are logged, and the servicer stays.
        """
        while True:
            await asyncio.sleep(seconds)
            try:
                await self.refresh()
            except StoreUnavailableError as error:
                _log.warning("cannot look for versions", extra={"component": self.name, "reason": str(error)})
            except Exception:  # noqa: BLE001 - a version that cannot be loaded must not end the service
                _log.exception("cannot load", extra={"component": self.name, "versions": self._versions})

    async def refresh(self) -> bool:
        """Load a new servicer if the versions have changed, and return whether; it has the calls from then on.

        Returns after the last call of the old one has ended. Whatever the new one raises while it loads leaves the old
        one in place.
        """
        found = await asyncio.to_thread(_versions, self.name, self.config)
        if found == self._versions:
            return False
        _log.info("loading", extra={"component": self.name, "versions": found})
        new = _Held(self._create(self.config))
        try:
            await new.service.start()
        except BaseException as error:
            if not isinstance(error, StoreUnavailableError):
                self._versions = found
            await new.service.stop()
            raise
        self._versions = found
        old, self._held = self._held, new
        self._leaving.append(old)
        await old.idle.wait()
        self._leaving.remove(old)
        await old.service.stop()
        _log.info("reloaded", extra={"component": self.name, "versions": found})
        return True

    def __getattr__(self, name: str) -> Any:
        async def unary(request: Any, context: Any) -> Any:
            with self._held.call() as service:
                return await getattr(service, name)(request, context)

        async def stream(request: Any, context: Any) -> AsyncGenerator[Any]:
            with self._held.call() as service:
                async with aclosing(getattr(service, name)(request, context)) as responses:
                    async for response in responses:
                        yield response

        return stream if isasyncgenfunction(getattr(self._held.service, name)) else unary


class _Held:
    """A servicer, and whether calls are running on it."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.idle = asyncio.Event()
        self.idle.set()
        self._calls = 0

    @contextmanager
    def call(self) -> Iterator[Service]:
        self._calls += 1
        self.idle.clear()
        try:
            yield self.service
        finally:
            self._calls -= 1
            if not self._calls:
                self.idle.set()


def _versions(name: str, config: ServiceConfig) -> dict[str, str]:
    """Return version and digest of each component of a service, as its version or alias stands for them now."""
    registry, found = Registry(config.models), {}
    for component in COMPONENTS.get(name, (name,)):
        try:
            manifest = registry.resolve(component, config.version)
        except NotFoundError:
            continue  # a random preset has none, and a preset need not have every tower
        found[component] = f"{manifest.version} {manifest.digest}"
    return found
