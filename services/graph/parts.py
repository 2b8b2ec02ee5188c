"""The services that the graph calls: what they say of themselves, and calls that survive their restarts."""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
from google.protobuf.message import Message

from kino import rpc
from kino.errors import (
    CallCancelledError,
    DataLossError,
    DeadlineExceededError,
    FailedPreconditionError,
    KinoError,
    NotFoundError,
    ResourceExhaustedError,
    UnavailableError,
    from_rpc_error,
)
from kino.v1 import generator_pb2, info_pb2
from services.graph.calls import COMPONENTS, Call, Event

_DESCRIBE_SECONDS = 5.0
_FRESH_SECONDS = 5.0  # how long a description is believed without asking again


@dataclass(frozen=True)
class Retry:
    """How long a call is repeated that failed through no fault of its own.

    Args:
        attempts: calls in all, counted anew whenever one has made progress.
        first_seconds: wait after the first failure; each further wait is twice as long.
        longest_seconds: bound of a wait.
    """

    attempts: int = 6
    first_seconds: float = 0.5
    longest_seconds: float = 8.0

    @classmethod
    def lasting(cls, seconds: float) -> "Retry":
        """Return what waits for a service for about so long, and at least so long in the mean."""
        attempts, waited = 1, 0.0
        while waited < seconds:
            waited += 0.75 * min(cls.longest_seconds, cls.first_seconds * 2.0 ** (attempts - 1))
            attempts += 1
        return cls(attempts)

    def wait_seconds(self, failures: int) -> float:
        """Return how long to wait after so many failures in a row: between half and all of the doubling wait."""
        return min(self.longest_seconds, self.first_seconds * 2.0 ** (failures - 1)) * random.uniform(0.5, 1.0)


class Parts(Protocol):
    """What an engine needs of the services."""

    async def describe(self, component: str) -> info_pb2.Info:
        """Return what a service says of itself now; raises `KinoError`."""

    def call(self, call: Call, request: Message) -> AsyncGenerator[Event]:
        """Yield the events of one call, its result last; raises `KinoError`. Leaving early cancels the call."""


class GrpcParts:
    """The services at their addresses, over one channel each. Make it in the event loop that uses it.

    Args:
        addresses: `host:port` by component.
    """

    def __init__(self, addresses: Mapping[str, str], retry: Retry | None = None) -> None:
        self.addresses = dict(addresses)
        self._retry = retry or Retry()
        self._channels: dict[str, grpc.aio.Channel] = {}
        self._described: dict[str, tuple[float, info_pb2.Info]] = {}

    async def close(self) -> None:
        """Close every channel; calls that still run are cancelled."""
        while self._channels:
            await self._channels.popitem()[1].close()

    async def describe(self, component: str) -> info_pb2.Info:
        """Return what a service says of itself now.

        Raises:
            FailedPreconditionError: the graph has no such service.
            UnavailableError: it does not answer; the message says where it was looked for.
        """
        stub = self._stub(component)
        try:
            response = await stub.Describe(COMPONENTS[component].describe_request(), timeout=_DESCRIBE_SECONDS)
        except grpc.RpcError as error:
            failure = from_rpc_error(error)
            place = f"{component} at {self.addresses[component]}"
            raise UnavailableError(f"{place} does not answer: {failure.message}") from None
        info: info_pb2.Info = response.info
        self._described[component] = time.monotonic(), info
        return info

    async def recent(self, needed: Collection[str], welcome: Collection[str] = ()) -> dict[str, info_pb2.Info]:
        """Return what services have said lately, and ask those that have not; raises as `describe`.

        Args:
            welcome: further services, as far as the graph has them.
        """
        components = (*needed, *(name for name in welcome if name in self.addresses))
        since = time.monotonic() - _FRESH_SECONDS
        stale = [name for name in components if self._described.get(name, (0.0,))[0] < since]
        await asyncio.gather(*(self.describe(name) for name in stale))
        return {name: self._described[name][1] for name in components}

    async def call(self, call: Call, request: Message) -> AsyncGenerator[Event]:
        """Yield the events of one call; see `Parts.call`. It is repeated as `Retry` says, from its last checkpoint."""

        def attempt(request: Message, seconds: float) -> AsyncGenerator[Event]:
            return _attempt(self._stub(call.component), call, request, seconds)

        async with aclosing(persist(attempt, call, request, self._retry)) as events:
            async for event in events:
                yield event

    def _stub(self, component: str) -> Any:
        if component not in self.addresses:
            raise FailedPreconditionError(f"this graph has no {component} service: it was given no address of one")
        if component not in self._channels:
            self._channels[component] = rpc.channel(self.addresses[component])
        return COMPONENTS[component].stub(self._channels[component])


Attempt = Callable[[Message, float], AsyncGenerator[Event]]


async def persist(attempt: Attempt, call: Call, request: Message, retry: Retry) -> AsyncGenerator[Event]:
    """Yield the events of a call that is attempted again while its service is away or full.

    A service that is away is waited for as `retry` says. One whose queue is full says when to come again, and is asked
    again until the call's time is over. A call that can resume goes on from its last checkpoint; if that turns out to
    be lost, it begins anew.

    Args:
        attempt: makes one call, given the request and the seconds left for it.
    """
    until, failures = time.monotonic() + call.timeout_seconds, 0
    while True:
        try:
            async with aclosing(attempt(request, until - time.monotonic())) as events:
                async for event in events:
                    if isinstance(event, generator_pb2.Checkpoint):
                        request, failures = _resumed(request, event), 0
                    yield event
            return
        except (NotFoundError, DataLossError):
            if not (call.resumes and request.HasField("resume_from")):
                raise
            request = _resumed(request, None)
        except (UnavailableError, CallCancelledError, ResourceExhaustedError) as error:
            wait = _wait_seconds(error, retry, failures := failures + 1)
            if wait is None or time.monotonic() + wait > until:
                raise
            await asyncio.sleep(wait)


def _wait_seconds(error: KinoError, retry: Retry, failures: int) -> float | None:
    if isinstance(error, ResourceExhaustedError):  # without a hint it would fail again: too big, or the disk is full
        hint = error.retry_after_seconds
        return None if hint is None else hint * random.uniform(1.0, 1.25)
    return retry.wait_seconds(failures) if failures < retry.attempts else None


def _resumed(request: Message, checkpoint: generator_pb2.Checkpoint | None) -> Message:
    resumed = type(request)()
    resumed.CopyFrom(request)
    resumed.ClearField("resume_from")
    if checkpoint is not None:
        resumed.resume_from.CopyFrom(checkpoint)  # type: ignore[attr-defined]
    return resumed


async def _attempt(stub: Any, call: Call, request: Message, seconds: float) -> AsyncGenerator[Event]:
    method = getattr(stub, call.method)
    if seconds <= 0:
        raise DeadlineExceededError(f"the {call.timeout_seconds:g} s allowed for the call are over")
    running = method(request, timeout=seconds)
    try:
        if not call.streams:
            yield await running
            return
        async for response in running:
            kind = response.WhichOneof("event")
            if kind is not None:  # an event of a newer service
                yield getattr(response, kind)
    except grpc.RpcError as error:
        raise from_rpc_error(error) from None
    finally:
        running.cancel()
