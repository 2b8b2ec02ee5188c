"""What happens around every call, on both sides: request id, deadline, errors, log line, metrics and span."""

import asyncio
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from contextvars import ContextVar
from inspect import isasyncgen
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from grpc_status import rpc_status
from opentelemetry import propagate, trace
from opentelemetry.context import Context
from prometheus_client import Counter, Gauge, Histogram

from kino import errors
from kino.telemetry import request_id

REQUEST_ID_KEY = "x-request-id"

deadline: ContextVar[float | None] = ContextVar("deadline", default=None)
"""When the call that the current task serves must be answered (`time.monotonic`), None without a deadline."""

_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_LABELS = ("grpc_service", "grpc_method")
_STARTED = Counter("grpc_server_started", "Calls begun.", _LABELS)
_HANDLED = Counter("grpc_server_handled", "Calls ended, by code.", (*_LABELS, "grpc_code"))
_IN_FLIGHT = Gauge("grpc_server_in_flight", "Calls being served.", _LABELS)
_SECONDS = Histogram(
    "grpc_server_handling_seconds",
    "Seconds from the beginning of a call to its end.",
    _LABELS,
    buckets=(0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000),
)
_OURS = (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS)
_log = logging.getLogger("kino.rpc")
_tracer = trace.get_tracer("kino")


class ServerInterceptor(grpc.aio.ServerInterceptor):
    """Observes every call; while `ready` is false it answers UNAVAILABLE, except for gRPC's own services."""

    def __init__(self) -> None:
        self.ready = False

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        around = self._streaming if handler.response_streaming else self._unary
        return _METHOD_HANDLERS[handler.request_streaming, handler.response_streaming](
            around(handler_call_details.method, _reading(handler)), response_serializer=handler.response_serializer
        )

    def _unary(self, method: str, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        async def serve(request: Any, context: Any) -> Any:
            async with self._around(method, context):
                return await behaviour(request, context)

        return serve

    def _streaming(self, method: str, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        async def serve(request: Any, context: Any) -> None:
            async with self._around(method, context):
                responses = behaviour(request, context)
                if not isasyncgen(responses):  # a servicer that writes into the context itself
                    await responses
                    return
                async with aclosing(responses):  # so that a cancelled call never leaves a generator holding the device
                    async for response in responses:
                        await context.write(response)

        return serve

    @asynccontextmanager
    async def _around(self, method: str, context: Any) -> AsyncIterator[None]:
        """Serve one call; what it raises ends it with a google.rpc.Status, never with a traceback."""
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        given = metadata.get(REQUEST_ID_KEY, "")
        request_id.set(given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex)
        remaining = context.time_remaining()
        deadline.set(None if remaining is None else time.monotonic() + remaining)
        context.set_trailing_metadata(((REQUEST_ID_KEY, request_id.get()),))
        with _observed(method, propagate.extract(metadata)) as ended:
            try:
                self._admit(method, remaining)
                yield
            except grpc.aio.AbortError:
                ended(_code(context))
                raise
            except asyncio.CancelledError:
                late = remaining is not None and (context.time_remaining() or 0) <= 0
                ended(grpc.StatusCode.DEADLINE_EXCEEDED if late else grpc.StatusCode.CANCELLED)
                raise
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets a status and the log the cause
                status = rpc_status.to_status(errors.to_status(error, request_id.get()))
                ended(status.code, error)
                await context.abort(
                    status.code, status.details, (*status.trailing_metadata, (REQUEST_ID_KEY, request_id.get()))
                )
            ended(grpc.StatusCode.OK)

    def _admit(self, method: str, remaining_seconds: float | None) -> None:
        if remaining_seconds is not None and remaining_seconds <= 0:
            raise errors.DeadlineExceededError("the deadline of the call was over before it began")
        if not self.ready and not method.startswith("/grpc."):
            raise errors.UnavailableError("the service is starting or going away: try again shortly")


_METHOD_HANDLERS = {
    (False, False): grpc.unary_unary_rpc_method_handler,
    (False, True): grpc.unary_stream_rpc_method_handler,
    (True, False): grpc.stream_unary_rpc_method_handler,
    (True, True): grpc.stream_stream_rpc_method_handler,
}


def _reading(handler: Any) -> Callable[..., Any]:
    """Return what a method does, from requests in bytes: a broken one raises as anything else that is wrong with it."""
    behaviour = handler.unary_unary or handler.stream_unary or handler.unary_stream or handler.stream_stream

    def read(raw: bytes) -> Any:
        try:
            return handler.request_deserializer(raw)
        except DecodeError as error:
            bound = "a message as its proto says, with all text in UTF-8"
            raise errors.InvalidArgumentError("request", len(raw), bound, message=f"{error}, must be {bound}") from None

    async def read_all(requests: AsyncIterator[bytes]) -> AsyncIterator[Any]:
        async for raw in requests:
            yield read(raw)

    def serve(requests: Any, context: Any) -> Any:
        return behaviour(read_all(requests) if handler.request_streaming else read(requests), context)

    return serve


class _Ending:
    """How a call ended."""

    code = grpc.StatusCode.UNKNOWN
    error: Exception | None = None

    def __call__(self, code: grpc.StatusCode, error: Exception | None = None) -> None:
        self.code, self.error = code, error


@contextmanager
def _observed(method: str, parent: Context) -> Iterator[_Ending]:
    """Count, time, trace and log one call; it is told how the call ended."""
    service, _, name = method.strip("/").partition("/")
    ended, started = _Ending(), time.monotonic()
    _STARTED.labels(service, name).inc()
    try:
        with (
            _IN_FLIGHT.labels(service, name).track_inprogress(),
            _tracer.start_as_current_span(
                f"{service}/{name}",
                parent,
                trace.SpanKind.SERVER,
                {"rpc.system": "grpc", "rpc.service": service, "rpc.method": name, "request_id": request_id.get()},
                record_exception=False,
                set_status_on_exception=False,
            ) as span,
        ):
            try:
                yield ended
            finally:
                span.set_attribute("rpc.grpc.status_code", ended.code.value[0])
                if ended.code in _OURS:
                    span.set_status(trace.StatusCode.ERROR, str(ended.error))
    finally:
        seconds = time.monotonic() - started
        _HANDLED.labels(service, name, ended.code.name).inc()
        _SECONDS.labels(service, name).observe(seconds)
        _log_call(service, name, seconds, ended)


def _log_call(service: str, name: str, seconds: float, ended: _Ending) -> None:
    level = logging.INFO if ended.code is grpc.StatusCode.OK else logging.WARNING
    if ended.code in _OURS:
        level = logging.ERROR
    elif service.startswith("grpc."):  # probes come every few seconds
        level = logging.DEBUG
    fields = {"grpc_service": service, "grpc_method": name, "code": ended.code.name, "seconds": round(seconds, 4)}
    if ended.error is not None:
        fields["error"] = errors.as_kino_error(ended.error).message
    cause = ended.error if ended.code in _OURS else None
    _log.log(level, "call", extra=fields, exc_info=cause)


def _code(context: Any) -> grpc.StatusCode:
    """Return the code that a servicer has set, which gRPC keeps as a number or as a `StatusCode`."""
    code = context.code()
    return next((known for known in grpc.StatusCode if code in (known, known.value[0])), grpc.StatusCode.UNKNOWN)


def _outgoing(details: grpc.aio.ClientCallDetails, default_seconds: float | None) -> grpc.aio.ClientCallDetails:
    """Return the details of an outgoing call with request id, trace and deadline: never later than the caller's own."""
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    metadata = grpc.aio.Metadata(*(details.metadata or ()))
    if metadata.get(REQUEST_ID_KEY) is None:
        carrier[REQUEST_ID_KEY] = request_id.get() or uuid.uuid4().hex
    for key, value in carrier.items():
        metadata.add(key, value)
    timeout = default_seconds if details.timeout is None else details.timeout
    if (until := deadline.get()) is not None:
        remaining = max(0.0, until - time.monotonic())
        timeout = remaining if timeout is None else min(timeout, remaining)
    return grpc.aio.ClientCallDetails(details.method, timeout, metadata, details.credentials, details.wait_for_ready)


class _Outgoing:
    def __init__(self, default_seconds: float | None) -> None:
        self.default_seconds = default_seconds


class UnaryUnary(_Outgoing, grpc.aio.UnaryUnaryClientInterceptor):
    """`_outgoing` for calls with one request and one response."""

    async def intercept_unary_unary(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(_outgoing(client_call_details, self.default_seconds), request)


class UnaryStream(_Outgoing, grpc.aio.UnaryStreamClientInterceptor):
    """`_outgoing` for calls with one request and many responses."""

    async def intercept_unary_stream(self, continuation: Any, client_call_details: Any, request: Any) -> Any:
        return await continuation(_outgoing(client_call_details, self.default_seconds), request)


class StreamUnary(_Outgoing, grpc.aio.StreamUnaryClientInterceptor):
    """`_outgoing` for calls with many requests and one response."""

    async def intercept_stream_unary(self, continuation: Any, client_call_details: Any, request_iterator: Any) -> Any:
        return await continuation(_outgoing(client_call_details, self.default_seconds), request_iterator)


def client_interceptors(default_seconds: float | None) -> list[grpc.aio.ClientInterceptor]:
    """Return what a channel puts around its calls: request id, trace context, deadline.

    Args:
        default_seconds: time allowed for a unary call that names none; streams have none unless they name one.
    """
    return [UnaryUnary(default_seconds), UnaryStream(None), StreamUnary(None)]
