"""What a graph was asked for and what became of it, for asyncio."""

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import TypeVar

from kino.client_connections import Connections, typed_errors
from kino.errors import CallCancelledError, DeadlineExceededError, UnavailableError, from_status
from kino.v1 import graph_pb2, graph_pb2_grpc
from kino.v1.graph_pb2 import Generation

ENDED = (
    graph_pb2.GENERATION_STATE_SUCCEEDED,
    graph_pb2.GENERATION_STATE_FAILED,
    graph_pb2.GENERATION_STATE_CANCELLED,
)
OnChange = Callable[[Generation], None]
T = TypeVar("T")
# What is heard of a graph that went away: one that ends cancels the calls that it still has.
_GONE = (UnavailableError, CallCancelledError, DeadlineExceededError)
_PAUSE_SECONDS = 0.5
_QUIET_SECONDS = 5.0  # a stream that lasted longer was open, though it told nothing


class AsyncGenerations:
    """What a graph was asked for and what became of it.

    Args:
        patience_seconds: how long a graph is waited for that has answered before; one that never did is not.
    """

    def __init__(self, connections: Connections, patience_seconds: float = 30.0) -> None:
        self._connections, self._patience_seconds = connections, patience_seconds
        self._has_answered = False

    async def create(
        self, spec: graph_pb2.GenerationSpec, *, idempotency_key: str | None = None, fresh: bool = False
    ) -> Generation:
        """Return the accepted generation; the same key and spec return the same one again.

        Args:
            spec: from `kino.client_specs`, or with a pipeline of your own.
            idempotency_key: 1 to 128 printable ASCII characters; a new one is drawn where it is left out.
            fresh: compute everything anew, even what is in the store.
        """
        request = graph_pb2.CreateGenerationRequest(
            idempotency_key=uuid.uuid4().hex if idempotency_key is None else idempotency_key, spec=spec, fresh=fresh
        )
        stub = await self._stub()
        return (await self._patiently(lambda: stub.CreateGeneration(request))).generation

    async def get(self, id: str) -> Generation:
        """Return one generation, with its record once it has succeeded."""
        stub, request = await self._stub(), graph_pb2.GetGenerationRequest(id=id)
        return (await self._patiently(lambda: stub.GetGeneration(request))).generation

    async def list(
        self, *, states: Sequence[graph_pb2.GenerationState.ValueType] = (), page_size: int = 0
    ) -> AsyncIterator[Generation]:
        """Yield the generations in one of `states`, or all of them, newest first."""
        request = graph_pb2.ListGenerationsRequest(page_size=page_size, states=states)
        stub = await self._stub()
        while True:
            with typed_errors():
                page = await stub.ListGenerations(request)
            for generation in page.generations:
                yield generation
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def watch(self, id: str, *, after_sequence: int = 0) -> AsyncIterator[Generation]:
        """Yield the generation after each change, until it has ended; a broken stream is taken up where it broke."""
        stub = await self._stub()
        seen, state, broken = after_sequence, None, None
        while True:
            request = graph_pb2.WatchGenerationRequest(id=id, after_sequence=seen)
            began = time.monotonic()
            try:
                with typed_errors():
                    async for response in stub.WatchGeneration(request):
                        seen, state, broken = response.generation.sequence, response.generation.state, None
                        self._has_answered = True
                        yield response.generation
                if state is None or state in ENDED:
                    return
            except _GONE:
                now = time.monotonic()
                broken = now if broken is None or now - began > _QUIET_SECONDS else broken
                if not self._has_answered or now - broken > self._patience_seconds:
                    raise
            await asyncio.sleep(_PAUSE_SECONDS)

    async def cancel(self, id: str) -> Generation:
        """Cancel a generation down to the sampler and return it as it ended."""
        stub, request = await self._stub(), graph_pb2.CancelGenerationRequest(id=id)
        return (await self._patiently(lambda: stub.CancelGeneration(request))).generation

    async def delete(self, id: str) -> None:
        """Forget a generation that has ended."""
        stub = await self._stub()
        with typed_errors():
            await stub.DeleteGeneration(graph_pb2.DeleteGenerationRequest(id=id))

    async def run(
        self, spec: graph_pb2.GenerationSpec, *, fresh: bool = False, on_change: OnChange | None = None
    ) -> Generation:
        """Create a generation, follow it to its end and return it with its record; raises what it failed with.

        Cancelling the task cancels the generation, and waits until it is.
        """
        creation = asyncio.ensure_future(self.create(spec, fresh=fresh))
        try:
            generation = await asyncio.shield(creation)
            async for changed in self.watch(generation.id):
                generation = changed
                if on_change is not None:
                    on_change(generation)
        except asyncio.CancelledError:
            await self.cancel((await creation).id)
            raise
        if generation.state == graph_pb2.GENERATION_STATE_CANCELLED:
            raise CallCancelledError(f"generation {generation.id} was cancelled")
        if generation.state == graph_pb2.GENERATION_STATE_FAILED:
            raise from_status(generation.error)
        return await self.get(generation.id)

    async def _patiently(self, call: Callable[[], Awaitable[T]]) -> T:
        """What a call returns that may be made again."""
        began = time.monotonic()
        while True:
            try:
                with typed_errors():
                    response = await call()
            except _GONE:
                if not self._has_answered or time.monotonic() - began > self._patience_seconds:
                    raise
            else:
                self._has_answered = True
                return response
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _stub(self) -> "graph_pb2_grpc.GraphServiceAsyncStub":
        return graph_pb2_grpc.GraphServiceStub(await self._connections.channel("graph"))
