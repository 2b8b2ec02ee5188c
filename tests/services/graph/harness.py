"""A graph over the fake services, as a test drives it."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

from kino import rpc
from kino.rpc import Server
from kino.v1 import graph_pb2, graph_pb2_grpc
from services.graph.director import Pace
from services.graph.parts import Retry
from services.graph.service import GraphService, add_to_server
from services.service import ServiceConfig
from tests.services.graph.fakes import Services

PACE = Pace(slots=2, lease_seconds=2.0, poll_seconds=0.05, report_seconds=0.0)
RETRY = Retry(attempts=3, first_seconds=0.01, longest_seconds=0.02)


def film(prompt: str = "a red ball", **fields: Any) -> graph_pb2.GenerationSpec:
    """An order for a film without sound, which the fakes make."""
    given = {"seed": 7, "silent": True, **fields}
    return graph_pb2.GenerationSpec(text_to_video=graph_pb2.TextToVideo(prompt=prompt, **given))


async def until(condition: Callable[[], object]) -> None:
    """Return once the condition holds; the test's own time limit ends a wait that is in vain."""
    while not condition():  # noqa: ASYNC110 - what it waits for happens in other tasks, in no one place
        await asyncio.sleep(0.005)


class Graph:
    """A graph over the fake services, behind a real port."""

    def __init__(self, services: Services, folder: Path, retry: Retry = RETRY, ledger: str = "") -> None:
        self.services, self.folder, self.retry = services, folder, retry
        self.ledger = ledger or f"sqlite:///{folder}/ledger.sqlite"

    def config(self) -> ServiceConfig:
        store = str(self.folder / "store")
        return ServiceConfig(
            "fake", "fake", store, self.folder, queue=3, peers=self.services.addresses, ledger=self.ledger
        )

    async def start(self, directs: bool = True) -> None:
        self.service = GraphService(self.config(), directs=directs, pace=PACE, retry=self.retry)
        self.server = Server()
        self.server.add(self.service, add_to_server, "kino.v1.GraphService")
        self.channel = rpc.channel(f"127.0.0.1:{await self.server.start()}")
        self.stub = graph_pb2_grpc.GraphServiceStub(self.channel)
        await self.service.start()
        await self.server.ready(True)

    async def stop(self) -> None:
        await self.channel.close()
        await self.server.stop()
        await self.service.stop()

    async def restart_services(self, *names: str) -> None:
        """Start services again, and return once the graph has found them."""
        await self.services.start(*names)
        while True:
            description = await self.stub.Describe(graph_pb2.GraphServiceDescribeRequest())
            if not any(part.error for part in description.parts):
                return

    async def create(
        self, spec: graph_pb2.GenerationSpec | None = None, key: str = "", fresh: bool = False
    ) -> graph_pb2.Generation:
        request = graph_pb2.CreateGenerationRequest(
            idempotency_key=key or uuid4().hex, spec=spec or film(), fresh=fresh
        )
        response: graph_pb2.CreateGenerationResponse = await self.stub.CreateGeneration(request)
        return response.generation

    async def watch(self, id: str, after: int = 0) -> list[graph_pb2.Generation]:
        request = graph_pb2.WatchGenerationRequest(id=id, after_sequence=after)
        return [response.generation async for response in self.stub.WatchGeneration(request)]

    async def get(self, id: str) -> graph_pb2.Generation:
        response: graph_pb2.GetGenerationResponse = await self.stub.GetGeneration(graph_pb2.GetGenerationRequest(id=id))
        return response.generation

    async def reach(self, id: str, condition: Callable[[graph_pb2.Generation], bool]) -> graph_pb2.Generation:
        """Return the first change of a generation that the condition holds for."""
        request = graph_pb2.WatchGenerationRequest(id=id)
        async for response in self.stub.WatchGeneration(request):
            if condition(response.generation):
                seen: graph_pb2.Generation = response.generation
                return seen
        raise AssertionError("the generation ended without that")

    async def end(self, id: str) -> graph_pb2.Generation:
        """Wait for a generation to end, and return it whole."""
        await self.watch(id)
        return await self.get(id)

    async def make(self, spec: graph_pb2.GenerationSpec | None = None, fresh: bool = False) -> graph_pb2.Generation:
        return await self.end((await self.create(spec, fresh=fresh)).id)
