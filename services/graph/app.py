"""The graph on Ray Serve: the same servicer behind Serve's gRPC ingress, directors, one deployment per kind of call.

`build` makes the application for a cluster (`serve deploy`); `RayGraph` runs it on this machine.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, TypeVar

import grpc
import ray
from google.protobuf.message import Message
from ray import serve
from ray.serve.config import AutoscalingConfig, HTTPOptions, ProxyLocation, gRPCOptions
from ray.serve.generated import serve_pb2, serve_pb2_grpc
from ray.serve.handle import DeploymentHandle

from kino.errors import InternalError, UnavailableError, as_kino_error
from kino.interceptors import REQUEST_ID_KEY
from kino.store import open_store
from kino.telemetry import request_id
from kino.v1 import graph_pb2
from services.graph.calls import CALLS
from services.graph.director import Director
from services.graph.engine import Engine
from services.graph.ledger import Ledger
from services.graph.ray_calls import Caller, RayParts
from services.graph.ray_node import start_ray
from services.graph.service import GraphService, create
from services.service import ServiceConfig

APPLICATION = "kino"
SERVICER = "kino.v1.graph_pb2_grpc.add_GraphServiceServicer_to_server"
_DRAIN_SECONDS = 60.0
_ROUTE_SECONDS = 60.0
_INGRESS_CALLS = 1000  # most of them watch, which costs nothing
_CPUS = {"num_cpus": 0.0}  # the deployments wait for others; what computes are the services
_RAY_SETTINGS = {
    "RAY_worker_niceness": "0",  # Ray would put its workers, which here only pass calls on, behind everything else
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",  # a laptop that is busy loading networks starts processes slowly
}
_log = logging.getLogger("kino.graph")

Q = TypeVar("Q")


@dataclass(frozen=True)
class Scale:
    """How far the deployments may grow.

    Args:
        directors: processes that run generations.
        max_replicas: most processes that make the calls of one kind.
        ongoing: calls that one process makes at once.
        queued: calls that may wait for a process before further ones are refused.
    """

    directors: int = 1
    max_replicas: int = 4
    ongoing: int = 8
    queued: int = 64


class Directing:
    """Runs generations from the ledger, each call through its deployment."""

    async def __init__(self, config: ServiceConfig, **callers: DeploymentHandle[Any]) -> None:  # type: ignore[misc]
        store = await asyncio.to_thread(open_store, config.store)
        self._ledger = await Ledger.open(config.ledger)
        self._engine = Engine(RayParts(callers), store)
        self._director = Director(self._ledger, self._engine, store)
        self._director.start()

    async def __del__(self) -> None:
        """Hand what is running back, as Serve takes the replica down."""
        await self._director.stop()
        self._engine.close()
        await self._ledger.close()


class Ingress:
    """`kino.v1.GraphService` as Serve calls it: hands every call over to the servicer, and types what that raises.

    Of an error Serve lets code and message through, not its details; the message names field, value and bound.
    """

    async def __init__(self, config: ServiceConfig, directors: DeploymentHandle[Any]) -> None:  # type: ignore[misc]
        self._directors = (
            directors  # whose work comes through the ledger; the handle makes them part of the application
        )
        self._service = GraphService(config, directs=False)
        await self._service.start()

    async def __del__(self) -> None:
        """Let go of connections, as Serve takes the replica down."""
        await self._service.stop()

    async def Describe(self, request: graph_pb2.GraphServiceDescribeRequest, grpc_context: Any) -> Message:
        """See `GraphService`."""
        return await _answer(self._service.Describe, request, grpc_context)

    async def CreateGeneration(self, request: graph_pb2.CreateGenerationRequest, grpc_context: Any) -> Message:
        """See `GraphService`."""
        return await _answer(self._service.CreateGeneration, request, grpc_context)

    async def GetGeneration(self, request: graph_pb2.GetGenerationRequest, grpc_context: Any) -> Message:
        """See `GraphService`."""
        return await _answer(self._service.GetGeneration, request, grpc_context)

    async def ListGenerations(self, request: graph_pb2.ListGenerationsRequest, grpc_context: Any) -> Message:
        """See `GraphService`."""
        return await _answer(self._service.ListGenerations, request, grpc_context)

    async def CancelGeneration(self, request: graph_pb2.CancelGenerationRequest, grpc_context: Any) -> Message:
        """See `GraphService`."""
        return await _answer(self._service.CancelGeneration, request, grpc_context)

    async def DeleteGeneration(self, request: graph_pb2.DeleteGenerationRequest, grpc_context: Any) -> Message:
        """See `GraphService`."""
        return await _answer(self._service.DeleteGeneration, request, grpc_context)

    async def UploadArtifact(
        self, requests: AsyncIterator[graph_pb2.UploadArtifactRequest], grpc_context: Any
    ) -> Message:
        """See `GraphService`."""
        return await _answer(self._service.UploadArtifact, requests, grpc_context)

    async def LinkArtifact(self, request: graph_pb2.LinkArtifactRequest, grpc_context: Any) -> Message:
        """See `GraphService`."""
        return await _answer(self._service.LinkArtifact, request, grpc_context)

    async def WatchGeneration(
        self, request: graph_pb2.WatchGenerationRequest, grpc_context: Any
    ) -> AsyncGenerator[Message]:
        """See `GraphService`."""
        async with aclosing(_stream(self._service.WatchGeneration, request, grpc_context)) as responses:
            async for response in responses:
                yield response

    async def DownloadArtifact(
        self, request: graph_pb2.DownloadArtifactRequest, grpc_context: Any
    ) -> AsyncGenerator[Message]:
        """See `GraphService`."""
        async with aclosing(_stream(self._service.DownloadArtifact, request, grpc_context)) as responses:
            async for response in responses:
                yield response


class RefusedError(Exception):
    """Ends a call behind the ingress; the code and the message are in the call's context."""


def build(config: ServiceConfig, scale: Scale | None = None) -> serve.Application:
    """Return the Serve application of a graph.

    Args:
        config: its store and ledger are reached from every node; a SQLite ledger is for one machine.

    Raises:
        ValueError: a setting is wrong.
    """
    create(config)
    scale = scale or Scale()
    growing = AutoscalingConfig(
        min_replicas=1, max_replicas=scale.max_replicas, target_ongoing_requests=scale.ongoing / 2
    )
    callers = {}
    for call in CALLS.values():
        if call.component in config.peers:
            deployment = _deployment(
                Caller,
                name=call.name,
                autoscaling_config=growing,
                max_ongoing_requests=scale.ongoing,
                max_queued_requests=scale.queued,
            )
            callers[call.name] = deployment.bind(call.name, config.peers[call.component], config.patience_seconds)
    directors = _deployment(Directing, name="director", num_replicas=scale.directors)
    ingress = _deployment(Ingress, name="graph", max_ongoing_requests=_INGRESS_CALLS)
    return ingress.bind(config, directors.bind(config, **callers))


def _deployment(kind: type, **options: Any) -> serve.Deployment:
    return serve.deployment(ray_actor_options=_CPUS, graceful_shutdown_timeout_s=_DRAIN_SECONDS, **options)(kind)


class RayGraph:
    """The graph on a Ray of its own on this machine, for as long as it runs.

    Args:
        host: address to look for a free port on; Serve's ingress itself listens on every address of the machine.
        port: 0 for any that is free; `start` returns the bound one.
    """

    def __init__(self, config: ServiceConfig, host: str = "127.0.0.1", port: int = 0) -> None:
        self._config, self._host, self._port = config, host, port

    async def start(self) -> int:
        """Start Ray and Serve, and return the port once the graph serves.

        Raises:
            OSError: the port is in use.
            ValueError: a setting is wrong.
        """
        return await asyncio.to_thread(self._start)

    async def stop(self) -> None:
        """Hand what is running back to the ledger, and stop Serve and Ray."""
        await asyncio.to_thread(self._stop)

    def _start(self) -> int:
        application = build(self._config)
        grpc_port, http_port = _bindable(self._host, self._port), _bindable("127.0.0.1", 0)
        for name, value in _RAY_SETTINGS.items():
            os.environ.setdefault(name, value)
        start_ray()
        serve.start(
            proxy_location=ProxyLocation.HeadOnly,
            http_options=HTTPOptions(host="127.0.0.1", port=http_port),
            grpc_options=gRPCOptions(port=grpc_port, grpc_servicer_functions=[SERVICER]),
        )
        serve.run(application, name=APPLICATION)
        _wait_for_route(f"{self._host}:{grpc_port}")
        return grpc_port

    def _stop(self) -> None:
        serve.shutdown()  # type: ignore[no-untyped-call]
        ray.shutdown()


def _wait_for_route(address: str) -> None:
    """Return once the proxy knows the application, which it learns a moment after that runs."""
    until = time.monotonic() + _ROUTE_SECONDS
    with grpc.insecure_channel(address) as channel:
        stub = serve_pb2_grpc.RayServeAPIServiceStub(channel)  # type: ignore[no-untyped-call]
        while APPLICATION not in _applications(stub):
            if time.monotonic() > until:
                raise UnavailableError(f"the proxy at {address} did not find the application in {_ROUTE_SECONDS:g} s")
            time.sleep(0.1)


def _applications(stub: Any) -> list[str]:
    try:
        request = serve_pb2.ListApplicationsRequest()  # type: ignore[attr-defined]
        return list(stub.ListApplications(request, wait_for_ready=True).application_names)
    except grpc.RpcError as error:
        _log.debug("the proxy does not answer yet", extra={"error": str(error)})
        return []


async def _answer(method: Callable[[Q, Any], Awaitable[Message]], request: Q, context: Any) -> Message:
    try:
        _enter(context)
        return await method(request, context)
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a code and a message, never a traceback
        raise _refused(error, context) from None


async def _stream(
    method: Callable[[Q, Any], AsyncGenerator[Message]], request: Q, context: Any
) -> AsyncGenerator[Message]:
    try:
        _enter(context)
        async with aclosing(method(request, context)) as responses:
            async for response in responses:
                yield response
    except Exception as error:  # noqa: BLE001 - as above
        raise _refused(error, context) from None


def _enter(context: Any) -> None:
    """Take the request id over from the caller."""
    given = dict(context.invocation_metadata()).get(REQUEST_ID_KEY, "")
    request_id.set(given)


def _refused(error: Exception, context: Any) -> RefusedError:
    known = as_kino_error(error)
    if isinstance(known, InternalError) and known is not error:
        _log.error("call failed", exc_info=error)
    context.set_code(known.code)
    context.set_details(known.message)
    return RefusedError(known.message)


def _bindable(host: str, port: int) -> int:
    """Return a port that can be bound now: the given one, or any for 0."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])
