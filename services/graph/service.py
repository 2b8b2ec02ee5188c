"""The graph over gRPC: accepts generations, and tells what became of them."""

import asyncio
import base64
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

from kino import validate
from kino.errors import InvalidArgumentError, KinoError
from kino.remote import Remote
from kino.store import Store
from kino.v1 import graph_pb2, graph_pb2_grpc
from kino.v1.graph_pb2_grpc import add_GraphServiceServicer_to_server as add_to_server
from services.graph import adapters, artifacts, orders
from services.graph.calls import COMPONENTS
from services.graph.database import parse
from services.graph.director import Director, Pace
from services.graph.engine import Engine
from services.graph.export import SOFTWARE
from services.graph.ledger import Ledger
from services.graph.parts import GrpcParts, Retry
from services.graph.pipeline import MAX_NODES
from services.graph.rows import ACTIVE, ENDED, request_digest
from services.service import ServiceConfig

__all__ = ["GraphService", "add_to_server", "create"]

STATES = (*ACTIVE, *ENDED)
_PAGE = 50
_MAX_PAGE = 1000
_MAX_NUMBER = 2**63 - 1


def create(config: ServiceConfig) -> "GraphService":
    """Return the graph of these settings.

    Raises:
        ValueError: the store's or the ledger's URL is wrong, or no service has an address.
    """
    if not config.peers.keys() & COMPONENTS.keys():
        raise ValueError(f"peers is {', '.join(config.peers) or 'empty'}, must name some of {', '.join(COMPONENTS)}")
    parse(config.ledger)
    return GraphService(config)


class GraphService(graph_pb2_grpc.GraphServiceServicer):
    """`kino.v1.GraphService`, the same behind grpc.aio and behind Ray Serve.

    Args:
        directs: whether it runs generations too; without that, directors elsewhere share its ledger and store.
    """

    _store: Store
    _ledger: Ledger
    _parts: GrpcParts
    _engine: Engine

    def __init__(
        self, config: ServiceConfig, *, directs: bool = True, pace: Pace | None = None, retry: Retry | None = None
    ) -> None:
        self._config, self._directs, self._pace = config, directs, pace
        self._retry = retry or Retry.lasting(config.patience_seconds)
        self._max_queued = max(1, config.queue)  # whatever runs has waited, if only for a moment
        self._director: Director | None = None

    async def start(self) -> None:
        """Open the store and the ledger, and begin to take work.

        Raises:
            OSError: the store's folder or the ledger's file cannot be made.
        """
        self._store = await self._config.open_store()
        self._ledger = await Ledger.open(self._config.ledger)
        self._parts = GrpcParts(self._config.peers, self._retry)
        self._engine = Engine(self._parts, self._store)
        if self._directs:
            self._director = Director(self._ledger, self._engine, self._store, self._pace, self._retry)
            self._director.start()

    async def stop(self) -> None:
        """Hand what is running back to the ledger, and close everything."""
        if self._director is not None:
            await self._director.stop()
        self._engine.close()
        await self._parts.close()
        await self._ledger.close()

    def drain(self) -> None:
        """End every watch, so that who watches asks another graph, or this one's successor."""
        self._ledger.watchers.end()

    async def Describe(
        self, request: graph_pb2.GraphServiceDescribeRequest, context: Any
    ) -> graph_pb2.GraphServiceDescribeResponse:
        """Return the parts, those that do not answer with the reason."""
        parts = await asyncio.gather(*(self._part(name) for name in COMPONENTS if name in self._config.peers))
        return graph_pb2.GraphServiceDescribeResponse(
            parts=parts, max_nodes=MAX_NODES, max_queued=self._max_queued, software=SOFTWARE
        )

    async def CreateGeneration(
        self, request: graph_pb2.CreateGenerationRequest, context: Any
    ) -> graph_pb2.CreateGenerationResponse:
        """Accept a generation, or find the one that was made under the same key; refuse what could not run."""
        key = orders.check_key(request.idempotency_key)
        await asyncio.to_thread(orders.keep_contents, request.spec, self._store, Remote(self._config.fetch_urls))
        generation = await self._ledger.find(key, request_digest(request.spec, request.fresh))
        if generation is None:
            if adapters.named(request.spec):  # they may have been imported a moment ago
                await self._parts.describe("generator")
            order = await orders.prepare(key, request.spec, request.fresh, self._parts.recent)
            generation = await self._ledger.create(order, self._max_queued)
            if self._director is not None:
                self._director.wake()
        return graph_pb2.CreateGenerationResponse(generation=generation)

    async def GetGeneration(
        self, request: graph_pb2.GetGenerationRequest, context: Any
    ) -> graph_pb2.GetGenerationResponse:
        """Return one generation, with its record once it has succeeded."""
        return graph_pb2.GetGenerationResponse(generation=await self._ledger.get(request.id, with_record=True))

    async def ListGenerations(
        self, request: graph_pb2.ListGenerationsRequest, context: Any
    ) -> graph_pb2.ListGenerationsResponse:
        """Return a page, newest first."""
        size = validate.whole(request.page_size, "page_size", 0, _MAX_PAGE) or _PAGE
        for index, state in enumerate(request.states):
            validate.whole(state, f"states[{index}]", min(STATES), max(STATES))
        before = _position(request.page_token) if request.page_token else None
        page, position = await self._ledger.list(size, before, request.states)
        token = "" if position is None else _token(position)
        return graph_pb2.ListGenerationsResponse(generations=page, next_page_token=token)

    async def WatchGeneration(
        self, request: graph_pb2.WatchGenerationRequest, context: Any
    ) -> AsyncGenerator[graph_pb2.WatchGenerationResponse]:
        """Yield the generation as it changes, until it has ended."""
        validate.whole(request.after_sequence, "after_sequence", 0, _MAX_NUMBER)
        async with aclosing(self._ledger.watch(request.id, request.after_sequence)) as generations:
            async for generation in generations:
                yield graph_pb2.WatchGenerationResponse(generation=generation)

    async def CancelGeneration(
        self, request: graph_pb2.CancelGenerationRequest, context: Any
    ) -> graph_pb2.CancelGenerationResponse:
        """End a generation, down to the sampler."""
        generation = await self._ledger.cancel(request.id)
        if self._director is not None:
            self._director.drop(request.id)
        return graph_pb2.CancelGenerationResponse(generation=generation)

    async def DeleteGeneration(
        self, request: graph_pb2.DeleteGenerationRequest, context: Any
    ) -> graph_pb2.DeleteGenerationResponse:
        """Forget a generation that has ended."""
        await self._ledger.delete(request.id)
        return graph_pb2.DeleteGenerationResponse()

    async def UploadArtifact(
        self, request_iterator: AsyncIterator[graph_pb2.UploadArtifactRequest], context: Any
    ) -> graph_pb2.UploadArtifactResponse:
        """Store a file."""
        return await artifacts.upload(request_iterator, self._store)

    async def DownloadArtifact(
        self, request: graph_pb2.DownloadArtifactRequest, context: Any
    ) -> AsyncGenerator[graph_pb2.DownloadArtifactResponse]:
        """Yield a file."""
        async with aclosing(artifacts.download(request, self._store)) as chunks:
            async for chunk in chunks:
                yield chunk

    async def LinkArtifact(
        self, request: graph_pb2.LinkArtifactRequest, context: Any
    ) -> graph_pb2.LinkArtifactResponse:
        """Give a link to a file."""
        return await artifacts.link(request, self._store)

    async def _part(self, component: str) -> graph_pb2.Part:
        part = graph_pb2.Part(component=component, address=self._config.peers[component])
        try:
            part.info.CopyFrom(await self._parts.describe(component))
        except KinoError as error:
            part.error = error.message
        return part


def _token(number: int) -> str:
    return base64.urlsafe_b64encode(str(number).encode()).decode()


def _position(token: str) -> int:
    try:
        number = int(base64.urlsafe_b64decode(token))
    except ValueError:
        number = 0
    if not 1 <= number <= _MAX_NUMBER:
        raise InvalidArgumentError("page_token", token, "a next_page_token as the graph gave it out")
    return number
