import asyncio
import io
import json
import logging
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from kino import telemetry

ROOT = Path(__file__).parents[2]

# One call through a real server in a process of its own: the tracer provider is global, and can be set only once.
TRACED_CALL = """
import asyncio
from kino import rpc, telemetry
from kino.v1 import rewriter_pb2, rewriter_pb2_grpc

class Rewriter(rewriter_pb2_grpc.RewriterServiceServicer):
    async def Rewrite(self, request, context):
        if request.prompt == "inner":
            return rewriter_pb2.RewriteResponse(prompt=request.prompt)
        return await self.stub.Rewrite(rewriter_pb2.RewriteRequest(prompt="inner"))

async def main():
    tracing, server, rewriter = telemetry.Tracing("test"), rpc.Server(), Rewriter()
    server.add(rewriter, rewriter_pb2_grpc.add_RewriterServiceServicer_to_server, "kino.v1.RewriterService")
    async with rpc.channel(f"127.0.0.1:{await server.start()}") as channel:
        await server.ready(True)
        rewriter.stub = rewriter_pb2_grpc.RewriterServiceStub(channel)
        await rewriter.stub.Rewrite(
            rewriter_pb2.RewriteRequest(prompt="outer"), metadata=(("x-request-id", "r-1"),), wait_for_ready=True
        )
    await server.stop()
    tracing.close()

asyncio.run(main())
"""


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


def test_a_log_line_is_one_json_object_with_the_request_id(root_logger: logging.Logger) -> None:
    stream = io.StringIO()
    telemetry.start_logging("tae", "info", stream)
    log = logging.getLogger("kino.test")
    log.debug("not shown")
    log.info("decoded %d frames", 32, extra={"seconds": 0.5, "path": Path("a")})
    telemetry.request_id.set("r-1")
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("failed")
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first.pop("time").endswith("+00:00")
    assert first == {
        "level": "info",
        "service": "tae",
        "logger": "kino.test",
        "message": "decoded 32 frames",
        "seconds": 0.5,
        "path": "a",
    }
    assert (second["level"], second["request_id"]) == ("error", "r-1")
    assert second["traceback"].endswith("ValueError: two\nlines")


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="log_level is 'loud', must be one of debug, info, warning, error, critical"):
        telemetry.start_logging("tae", "loud")


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """A collector that keeps the spans it gets."""

    def __init__(self) -> None:
        self.spans: list[Any] = []

    def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_spans:
            for scope in resource.scope_spans:
                self.spans += scope.spans
        return trace_service_pb2.ExportTraceServiceResponse()


async def test_spans_of_one_request_arrive_as_one_trace_at_the_collector() -> None:
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    environment = {"PATH": "", "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint}
    command = [sys.executable, "-c", TRACED_CALL]
    await asyncio.to_thread(subprocess.run, command, cwd=ROOT, env=environment, check=True, timeout=120)
    server.stop(None)
    inner, outer = collector.spans
    assert inner.name == outer.name == "kino.v1.RewriterService/Rewrite"
    assert inner.trace_id == outer.trace_id
    assert inner.parent_span_id == outer.span_id
    attributes = {attribute.key: attribute.value for attribute in inner.attributes}
    assert attributes["request_id"].string_value == "r-1"
    assert attributes["rpc.grpc.status_code"].int_value == 0


def test_without_an_endpoint_nothing_is_loaded_or_sent() -> None:
    program = "import sys, kino.telemetry as t; t.Tracing('x').close(); print('opentelemetry.sdk' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={"PATH": ""}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"
