"""Calls through Ray Serve: a deployment wraps the stub of one kind of call, and the director calls its handle.

What travels is the bytes of messages. They name tensors and frames by address; none of those passes through Ray.
"""

from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

from google.protobuf.message import Message
from google.rpc import status_pb2
from ray.exceptions import RayError
from ray.serve.exceptions import BackPressureError, RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponseGenerator

from kino.errors import (
    FailedPreconditionError,
    KinoError,
    ResourceExhaustedError,
    UnavailableError,
    from_status,
    to_status,
)
from kino.telemetry import request_id
from kino.v1 import generator_pb2, info_pb2, progress_pb2
from services.graph.calls import CALLS, Call, Event
from services.graph.parts import GrpcParts, Retry, persist

Reply = tuple[str, bytes]  # what it is, and its bytes; an error travels whole, which an exception in Ray would not

_REPLICA_LOSSES = Retry(attempts=2)  # the deployments wait for their services; this makes up for a lost replica
_BUSY_SECONDS = 1.0
_ERROR, _RESULT = "error", "result"
_EVENTS: dict[str, type[Message]] = {"progress": progress_pb2.Progress, "checkpoint": generator_pb2.Checkpoint}


class Caller:
    """Makes the calls of one kind, and waits for its service where that is away.

    Args:
        name: of a row of `CALLS`.
        address: `host:port` of its service.
        patience_seconds: about how long that is waited for.
    """

    def __init__(self, name: str, address: str, patience_seconds: float) -> None:
        self._call, self._address, self._retry = CALLS[name], address, Retry.lasting(patience_seconds)
        self._parts: GrpcParts | None = None

    async def describe(self) -> Reply:
        """Return the service's `Info`, or why it does not answer."""
        try:
            info = await self._open().describe(self._call.component)
        except KinoError as error:
            return _ERROR, to_status(error).SerializeToString()
        return _RESULT, info.SerializeToString()

    async def run(self, request: bytes, id: str) -> AsyncGenerator[Reply]:
        """Yield the events of one call; an error is the last of them.

        Args:
            request: a serialised request of this kind of call.
            id: request id, for the logs of all services.
        """
        request_id.set(id)
        events = self._open().call(self._call, self._call.request.FromString(request))
        try:
            async with aclosing(events):
                async for event in events:
                    kinds = [kind for kind, message in _EVENTS.items() if isinstance(event, message)]
                    yield kinds[0] if kinds else _RESULT, event.SerializeToString()
        except KinoError as error:
            yield _ERROR, to_status(error, id).SerializeToString()

    def _open(self) -> GrpcParts:
        """Return the channel, made in the event loop that uses it."""
        if self._parts is None:
            self._parts = GrpcParts({self._call.component: self._address}, self._retry)
        return self._parts


class RayParts:
    """The services behind their deployments, by the name of the call; see `parts.Parts`."""

    def __init__(self, callers: Mapping[str, DeploymentHandle[Any]]) -> None:
        self._callers = callers

    async def describe(self, component: str) -> info_pb2.Info:
        """Return what a service says of itself now; raises as `GrpcParts.describe`."""
        name = next((name for name in self._callers if CALLS[name].component == component), None)
        if name is None:
            raise FailedPreconditionError(f"this graph has no {component} service: it was given no address of one")
        try:
            kind, data = await self._callers[name].describe.remote()
        except (RayError, RayServeException) as error:
            raise _typed(error, component) from None
        _raise_error(kind, data)
        return info_pb2.Info.FromString(data)

    async def call(self, call: Call, request: Message) -> AsyncGenerator[Event]:
        """Yield the events of one call, its result last; the call of a replica that is lost goes on in another."""

        def attempt(request: Message, seconds: float) -> AsyncGenerator[Event]:
            return self._attempt(call, request)

        async with aclosing(persist(attempt, call, request, _REPLICA_LOSSES)) as events:
            async for event in events:
                yield event

    async def _attempt(self, call: Call, request: Message) -> AsyncGenerator[Event]:
        caller = self._callers[call.name].options(stream=True)
        replies = caller.run.remote(request.SerializeToString(), request_id.get())
        assert isinstance(replies, DeploymentResponseGenerator)
        try:
            async for kind, data in replies:
                _raise_error(kind, data)
                yield _EVENTS.get(kind, call.result).FromString(data)
        except (RayError, RayServeException) as error:
            raise _typed(error, call.component) from None
        finally:
            replies.cancel()  # type: ignore[no-untyped-call]


def _raise_error(kind: str, data: bytes) -> None:
    if kind == _ERROR:
        raise from_status(status_pb2.Status.FromString(data))


def _typed(error: Exception, component: str) -> KinoError:
    """Return what Ray's own trouble means: too many calls wait, or a replica is gone."""
    if isinstance(error, BackPressureError):
        return ResourceExhaustedError(f"too many calls of the {component} wait", retry_after_seconds=_BUSY_SECONDS)
    return UnavailableError(f"the deployment that calls the {component} is gone: {type(error).__name__}")
