"""Hosts services in this process: opens their ports, loads them, serves, and drains them in the end."""

import asyncio
import logging
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from kino.rpc import Server
from kino.telemetry import Tracing
from services.reload import Reloading
from services.service import NAMES, Drains, Service, ServiceConfig, load

if TYPE_CHECKING:
    from services.graph.app import RayGraph

_log = logging.getLogger("kino.host")


@dataclass(frozen=True)
class Plan:
    """What one process serves.

    Args:
        ports: port of each service by name, 0 for any that is free.
        config: the settings that all of them share.
        versions: model versions of single services by name, in place of `config.version`.
        host: address to listen on.
        metrics_port: port of the process's Prometheus metrics, 0 for any that is free, None for none.
        drain_seconds: how long running calls may go on after the process was told to end.
        ray: whether the graph runs on Ray Serve instead of in this process.
        reload_seconds: how often to look whether the alias of a version has moved, 0 for never.
    """

    ports: Mapping[str, int]
    config: ServiceConfig
    versions: Mapping[str, str] = field(default_factory=dict)
    host: str = "127.0.0.1"
    metrics_port: int | None = None
    drain_seconds: float = 20.0
    ray: bool = False
    reload_seconds: float = 0.0


class Host:
    """The services of a plan, from their first open port to their last closed file."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.addresses: dict[str, str] = {}  # of each service, and of "metrics"
        names = [name for name in plan.ports if not (plan.ray and name == "graph")]
        self._names = sorted(names, key=lambda name: name == "graph")
        self._running: list[tuple[Server, Service]] = []
        self._loaded: list[Service] = []
        self._following: list[asyncio.Task[None]] = []
        self._ray: RayGraph | None = None

    async def open(self) -> None:
        """Open every port; until `load`, calls are answered with UNAVAILABLE.

        Services that know no others come first: the graph is told where they are.

        Raises:
            OSError: a port is in use.
            ValueError: a setting is wrong.
            ModuleNotFoundError: an extra is not installed.
        """
        for name in self._names:
            await self._open(name)

    async def load(self) -> None:
        """Load every service, and serve each as soon as it is ready; a graph on Ray comes last."""
        tasks = [asyncio.ensure_future(self._load(*named)) for named in zip(self._names, self._running, strict=True)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if self.plan.ray:
            await self._start_ray()

    async def stop(self) -> None:
        """Let running calls end, the graph's before those of the services it calls, then let go of everything."""
        _log.info("draining", extra={"seconds": self.plan.drain_seconds})
        for task in self._following:
            task.cancel()
        await asyncio.gather(*self._following, return_exceptions=True)
        if self._ray is not None:
            await self._ray.stop()
        for service in self._loaded:
            if isinstance(service, Drains):
                service.drain()
        while self._running:
            server, service = self._running.pop()
            await server.stop(self.plan.drain_seconds)
            if service in self._loaded:
                await service.stop()

    async def _open(self, name: str) -> None:
        module, config = load(name), self._config_of(name)
        service = Reloading(name, config, module.create) if self.plan.reload_seconds else module.create(config)
        server = Server(self.plan.host, self.plan.ports[name], None if self._running else self.plan.metrics_port)
        server.add(service, module.add_to_server, module.full_name)
        port = await server.start()
        self._running.append((server, service))
        self.addresses[name] = self._address(port)
        if server.metrics_port is not None:
            self.addresses["metrics"] = self._address(server.metrics_port)

    async def _start_ray(self) -> None:
        from services.graph.app import RayGraph  # Ray takes seconds to import, and few processes run it

        graph = RayGraph(self._config_of("graph"), self.plan.host, self.plan.ports["graph"])
        starting = asyncio.ensure_future(graph.start())
        try:
            self.addresses["graph"] = self._address(await asyncio.shield(starting))
        finally:
            await asyncio.wait([starting])  # half a Ray cannot be stopped
            if starting.exception() is None:
                self._ray = graph

    def _config_of(self, name: str) -> ServiceConfig:
        version = self.plan.versions.get(name, self.plan.config.version)
        here = {name: address for name, address in self.addresses.items() if name in NAMES} if name == "graph" else {}
        return replace(self.plan.config, version=version, peers={**here, **self.plan.config.peers})

    def _address(self, port: int) -> str:
        host = self.plan.host
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def _load(self, name: str, running: tuple[Server, Service]) -> None:
        server, service = running
        await service.start()
        self._loaded.append(service)
        await server.ready(True)
        _log.info("serving", extra={"component": name, "address": self.addresses[name]})
        if isinstance(service, Reloading):
            self._following.append(asyncio.create_task(service.follow(self.plan.reload_seconds)))


async def run(plan: Plan, on_ready: Callable[[Mapping[str, str]], None], stop_on_eof: bool = False) -> None:
    """Serve a plan until SIGTERM or SIGINT; a second signal ends the process at once.

    Args:
        on_ready: is told the address of each service, and of the metrics, once all of them serve.
        stop_on_eof: stop when standard input ends too, as it does when the process that holds its other end dies.
    """
    stop = asyncio.Event()
    _handle_signals(stop)
    if stop_on_eof:
        _stop_at_eof(stop)
    tracing, host = Tracing("-".join(plan.ports)), Host(plan)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await host.open()
        loading = asyncio.ensure_future(host.load())
        await asyncio.wait([loading, stopping], return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()
            _handle_signals(stop)  # again: Ray has put its own handler of SIGTERM, a crash report, in the place of ours
            on_ready(host.addresses)
            await stopping
        loading.cancel()
        await asyncio.wait([loading])
    finally:
        stopping.cancel()
        await host.stop()
        tracing.close()


def _handle_signals(stop: asyncio.Event) -> None:
    """Let the first SIGTERM or SIGINT set `stop`; the next one ends the process."""
    loop, numbers = asyncio.get_running_loop(), (signal.SIGTERM, signal.SIGINT)

    def begin() -> None:
        stop.set()
        for number in numbers:
            loop.remove_signal_handler(number)

    for number in numbers:
        loop.add_signal_handler(number, begin)


def _stop_at_eof(stop: asyncio.Event) -> None:
    """Let the end of standard input set `stop`."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        if not os.read(0, 1024):
            loop.remove_reader(0)
            stop.set()

    loop.add_reader(0, read)
