"""Logs, metrics and traces of a process, each line and span under the id of the request it belongs to."""

import json
import logging
import os
import threading
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TextIO
from wsgiref.simple_server import WSGIServer

from prometheus_client import start_http_server

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""Id of the call that the current task serves, empty outside of calls; logs and outgoing calls carry it."""

_RECORD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, request id, and what the caller gave as `extra`."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "service": self.service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if request_id.get():
            line["request_id"] = request_id.get()
        given = vars(record).items()  # Ray adds a field of its own to every record, under a leading underscore
        line |= {key: value for key, value in given if key not in _RECORD_FIELDS and not key.startswith("_")}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


def start_logging(service: str, level: str = "INFO", stream: TextIO | None = None) -> None:
    """Send the logs of the whole process as JSON lines to a stream, standard error where none is given.

    Raises:
        ValueError: the level is not one of Python's.
    """
    if level.upper() not in logging.getLevelNamesMapping():
        raise ValueError(f"log_level is {level!r}, must be one of debug, info, warning, error, critical")
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonFormatter(service))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class MetricsServer:
    """The process's Prometheus metrics over HTTP at /metrics; `port` is the bound one.

    Raises:
        OSError: the port cannot be bound.
    """

    def __init__(self, host: str, port: int) -> None:
        self._server: WSGIServer
        self._thread: threading.Thread
        try:
            self._server, self._thread = start_http_server(port, host)
        except OSError as error:
            raise OSError(error.errno, f"metrics cannot listen on {host}:{port}: {error.strerror}") from None
        self.port: int = self._server.server_port

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Tracing:
    """Export of OpenTelemetry spans to the collector that OTEL_EXPORTER_OTLP_ENDPOINT names; nothing without it."""

    def __init__(self, service: str) -> None:
        self._provider = None
        if not os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT"):
            return
        # Imported here alone: the SDK costs most of a second, and few processes trace.
        from opentelemetry import trace
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._provider = TracerProvider(resource=Resource.create({"service.name": service}))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(self._provider)

    def close(self) -> None:
        """Send the spans that are still here."""
        if self._provider is not None:
            self._provider.shutdown()
