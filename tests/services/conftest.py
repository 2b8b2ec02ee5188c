"""One service at a time on loopback, with the preset of random weights and a store of its own."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc.aio
import pytest

from kino import rpc
from kino.store import Store, open_store
from services.service import ServiceConfig, load


@dataclass
class Served:
    """A running service: its servicer, its address and a channel to it, and its store."""

    servicer: Any
    channel: grpc.aio.Channel
    store: Store
    address: str


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Start a service by name; further settings are those of `ServiceConfig`."""
    async with AsyncExitStack() as stack:

        async def start(name: str, **settings: Any) -> Served:
            given: dict[str, Any] = {
                "preset": "nano",
                "version": "nano",
                "store": str(tmp_path / "store"),
                "models": tmp_path / "models",
            }
            config = ServiceConfig(**given | settings)
            module, server = load(name), rpc.Server()
            servicer = module.create(config)
            server.add(servicer, module.add_to_server, module.full_name)
            port = await server.start()
            stack.push_async_callback(servicer.stop)
            stack.push_async_callback(server.stop)
            await servicer.start()
            await server.ready(True)
            address = f"127.0.0.1:{port}"
            channel = await stack.enter_async_context(rpc.channel(address))
            return Served(servicer, channel, open_store(config.store), address)

        yield start
