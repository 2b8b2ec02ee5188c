import asyncio
import errno
import logging
import socket
import time
from collections.abc import AsyncIterator
from typing import Any
from urllib.request import urlopen

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from prometheus_client import REGISTRY

from kino import errors, rpc
from kino.store import NotFoundError
from kino.telemetry import request_id
from kino.v1 import generator_pb2 as pb
from kino.v1 import graph_pb2, graph_pb2_grpc, rewriter_pb2, rewriter_pb2_grpc
from kino.v1.generator_pb2_grpc import (
    GeneratorServiceServicer,
    GeneratorServiceStub,
    add_GeneratorServiceServicer_to_server,
)
from kino.v1.progress_pb2 import Progress

RAISES: dict[str, Exception] = {
    "value": ValueError("frames is 0, must be at least 1"),
    "argument": errors.InvalidArgumentError("prompt", "\N{ELEPHANT}", "words"),
    "missing": NotFoundError("kino://sha256/00 is not in the store"),
    "busy": errors.ResourceExhaustedError("busy", retry_after_seconds=3.0),
    "bug": RuntimeError("secret of the house"),
    "memory": MemoryError(),
}


class Rewriter(rewriter_pb2_grpc.RewriterServiceServicer):
    """Answers with what the prompt asks for."""

    def __init__(self) -> None:
        self.calls = 0
        self.asleep = asyncio.Event()
        self.downstream: rewriter_pb2_grpc.RewriterServiceAsyncStub | None = None
        self.timeout: float | None = None

    async def Rewrite(self, request: Any, context: Any) -> rewriter_pb2.RewriteResponse:
        self.calls += 1
        word, _, rest = request.prompt.partition(" ")
        if word in RAISES:
            raise RAISES[word]
        match word:
            case "sleep":
                self.asleep.set()
                await asyncio.sleep(float(rest))
            case "abort":
                await context.abort(grpc.StatusCode.OUT_OF_RANGE, "far")
            case "id":
                return rewriter_pb2.RewriteResponse(prompt=request_id.get())
            case "relay" if self.downstream is not None:
                self.timeout = context.time_remaining()
                response: rewriter_pb2.RewriteResponse = await self.downstream.Rewrite(
                    rewriter_pb2.RewriteRequest(prompt=rest)
                )
                return response
            case "large":
                return rewriter_pb2.RewriteResponse(prompt="x" * int(rest))
        return rewriter_pb2.RewriteResponse(prompt=request.prompt)


class Generator(GeneratorServiceServicer):
    """Streams progress; notices when it is left."""

    def __init__(self) -> None:
        self.left = asyncio.Event()

    async def Generate(self, request: Any, context: Any) -> AsyncIterator[pb.GenerateResponse]:
        try:
            for step in range(request.frames):
                yield pb.GenerateResponse(progress=Progress(step=step + 1, of=request.frames))
                if step == request.height:
                    raise ValueError("height is reached")
                await asyncio.sleep(0.01)
        finally:
            self.left.set()


class Graph(graph_pb2_grpc.GraphServiceServicer):
    """Counts what is uploaded."""

    async def UploadArtifact(self, request_iterator: Any, context: Any) -> graph_pb2.UploadArtifactResponse:
        sizes = [len(request.chunk) async for request in request_iterator]
        return graph_pb2.UploadArtifactResponse(size_bytes=sum(sizes))


class Rig:
    """A real server on a loopback port with its channel."""

    def __init__(self) -> None:
        self.server = rpc.Server()
        self.rewriter, self.generator = Rewriter(), Generator()  # type: ignore[abstract]
        self.server.add(
            self.rewriter, rewriter_pb2_grpc.add_RewriterServiceServicer_to_server, "kino.v1.RewriterService"
        )
        self.server.add(self.generator, add_GeneratorServiceServicer_to_server, "kino.v1.GeneratorService")
        graph: Any = Graph()  # type: ignore[abstract]
        self.server.add(graph, graph_pb2_grpc.add_GraphServiceServicer_to_server, "kino.v1.GraphService")

    async def start(self) -> "Rig":
        port = await self.server.start()
        await self.server.ready(True)
        self.address = f"127.0.0.1:{port}"
        self.channel = rpc.channel(self.address)
        self.stub: Any = rewriter_pb2_grpc.RewriterServiceStub(self.channel)
        self.rewriter.downstream = self.stub
        return self

    async def rewrite(self, prompt: str, **options: Any) -> str:
        request = rewriter_pb2.RewriteRequest(prompt=prompt)
        return (await self.stub.Rewrite(request, **options)).prompt  # type: ignore[no-any-return]

    async def failure(self, prompt: str, **options: Any) -> errors.KinoError:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.rewrite(prompt, **options)
        return errors.from_rpc_error(caught.value)


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    rig = await Rig().start()
    yield rig
    await rig.channel.close()
    await rig.server.stop()


def sample(name: str, method: str, **labels: str) -> float:
    service = {"Rewrite": "kino.v1.RewriterService", "Generate": "kino.v1.GeneratorService"}[method]
    return REGISTRY.get_sample_value(name, {"grpc_service": service, "grpc_method": method, **labels}) or 0.0


async def test_errors_keep_their_type_across_the_wire_and_the_next_call_works(rig: Rig) -> None:
    value = await rig.failure("value")
    assert isinstance(value, errors.InvalidArgumentError)
    assert (value.field, value.value, value.bound) == ("frames", "0", "at least 1")
    argument = await rig.failure("argument")
    assert isinstance(argument, errors.InvalidArgumentError)
    assert str(argument) == "prompt is '\N{ELEPHANT}', must be words"
    busy = await rig.failure("busy")
    assert isinstance(busy, errors.ResourceExhaustedError)
    assert busy.retry_after_seconds == 3.0
    assert isinstance(await rig.failure("missing"), errors.NotFoundError)
    assert isinstance(await rig.failure("memory"), errors.ResourceExhaustedError)
    assert await rig.rewrite("a ball") == "a ball"


async def test_no_cause_and_no_traceback_of_a_bug_is_on_the_wire_but_in_the_log(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "kino.rpc"), pytest.raises(grpc.aio.AioRpcError) as caught:
        await rig.rewrite("bug", metadata=(("x-request-id", "r-9"),))
    await rig.server.stop(grace_seconds=10)  # the answer may come before the line
    assert "secret" not in str(caught.value.debug_error_string())
    assert "Traceback" not in str(caught.value.trailing_metadata())
    error = errors.from_rpc_error(caught.value)
    assert isinstance(error, errors.InternalError)
    assert error.request_id == "r-9"
    record = caplog.records[-1]
    assert (record.levelname, record.code) == ("ERROR", "INTERNAL")  # type: ignore[attr-defined]
    assert record.exc_info is not None
    assert "secret of the house" in str(record.exc_info[1])


async def test_a_status_set_by_the_servicer_itself_is_left_alone(rig: Rig) -> None:
    before = sample("grpc_server_handled_total", "Rewrite", grpc_code="OUT_OF_RANGE")
    assert str(await rig.failure("abort")) == "far"
    await rig.server.stop(grace_seconds=10)  # the answer may come before the count
    assert sample("grpc_server_handled_total", "Rewrite", grpc_code="OUT_OF_RANGE") == before + 1


async def test_an_unknown_method_and_a_method_nobody_wrote(rig: Rig) -> None:
    call: Any = rig.channel.unary_unary("/kino.v1.Nothing/Do")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"")
    assert isinstance(errors.from_rpc_error(caught.value), errors.UnimplementedError)


async def test_the_request_id_comes_in_goes_down_and_comes_out(rig: Rig) -> None:
    assert await rig.rewrite("id", metadata=(("x-request-id", "r-1"),)) == "r-1"
    assert await rig.rewrite("relay id", metadata=(("x-request-id", "r-2"),)) == "r-2"
    call = rig.stub.Rewrite(rewriter_pb2.RewriteRequest(prompt="id"))
    drawn = (await call).prompt
    assert len(drawn) == 32
    assert dict(await call.trailing_metadata())["x-request-id"] == drawn
    assert (await rig.failure("value", metadata=(("x-request-id", "r-3"),))).request_id == "r-3"
    assert len(await rig.rewrite("id", metadata=(("x-request-id", "no spaces, please"),))) == 32


async def test_an_error_of_a_service_further_down_arrives_as_it_was(rig: Rig) -> None:
    error = await rig.failure("relay value", metadata=(("x-request-id", "r-4"),))
    assert isinstance(error, errors.InvalidArgumentError)
    assert (error.field, error.value, error.bound, error.request_id) == ("frames", "0", "at least 1", "r-4")


async def test_a_deadline_is_kept_and_goes_down(rig: Rig) -> None:
    assert isinstance(await rig.failure("sleep 30", timeout=0.2), errors.DeadlineExceededError)
    assert await rig.rewrite("relay x", timeout=30) == "relay x".removeprefix("relay ")
    assert rig.rewriter.timeout is not None
    assert 29 < rig.rewriter.timeout < 31
    assert isinstance(await rig.failure("relay sleep 30", timeout=0.3), errors.DeadlineExceededError)


async def test_a_call_without_a_timeout_gets_the_channels_own(rig: Rig) -> None:
    async with rpc.channel(rig.address, unary_seconds=0.2) as channel:
        stub: Any = rewriter_pb2_grpc.RewriterServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Rewrite(rewriter_pb2.RewriteRequest(prompt="sleep 30"))
        assert isinstance(errors.from_rpc_error(caught.value), errors.DeadlineExceededError)


async def test_a_deadline_already_past_is_answered_before_anything_runs(rig: Rig) -> None:
    assert isinstance(await rig.failure("a ball", timeout=0), errors.DeadlineExceededError)
    call = rig.stub.Rewrite(rewriter_pb2.RewriteRequest(prompt="a ball"), timeout=0.05)
    await asyncio.sleep(0.01)
    time.sleep(0.2)  # noqa: ASYNC251 - the loop is busy, so the call comes to the server when its time is over
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    assert isinstance(errors.from_rpc_error(caught.value), errors.DeadlineExceededError)
    assert rig.rewriter.calls == 0


async def test_messages_over_the_limit_are_refused_in_both_directions(rig: Rig) -> None:
    async def upload(channel: grpc.aio.Channel, num_bytes: int) -> int:
        stub: Any = graph_pb2_grpc.GraphServiceStub(channel)

        async def chunk() -> AsyncIterator[graph_pb2.UploadArtifactRequest]:
            yield graph_pb2.UploadArtifactRequest(chunk=bytes(num_bytes))

        return (await stub.UploadArtifact(chunk())).size_bytes  # type: ignore[no-any-return]

    assert await upload(rig.channel, 5 << 20) == 5 << 20  # gRPC's own limit is 4 MiB
    async with grpc.aio.insecure_channel(rig.address) as unbounded:
        for channel in (rig.channel, unbounded):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await upload(channel, rpc.MAX_MESSAGE_BYTES + 1)
            error = errors.from_rpc_error(caught.value)
            assert isinstance(error, errors.ResourceExhaustedError)
            assert "larger than max" in str(error)
    assert isinstance(await rig.failure(f"large {rpc.MAX_MESSAGE_BYTES + 1}"), errors.ResourceExhaustedError)
    assert await rig.rewrite("a ball") == "a ball"


async def test_streams_go_both_ways(rig: Rig) -> None:
    stub: Any = GeneratorServiceStub(rig.channel)
    steps = [event.progress.step async for event in stub.Generate(pb.GenerateRequest(frames=3, height=9))]
    assert steps == [1, 2, 3]

    async def chunks() -> AsyncIterator[graph_pb2.UploadArtifactRequest]:
        for size in (1, 2, 3):
            yield graph_pb2.UploadArtifactRequest(chunk=bytes(size))

    graph: Any = graph_pb2_grpc.GraphServiceStub(rig.channel)
    assert (await graph.UploadArtifact(chunks())).size_bytes == 6


async def test_an_error_in_the_middle_of_a_stream(rig: Rig) -> None:
    stub: Any = GeneratorServiceStub(rig.channel)
    call = stub.Generate(pb.GenerateRequest(frames=9, height=1))
    assert [(await call.read()).progress.step for _ in range(2)] == [1, 2]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert str(errors.from_rpc_error(caught.value)) == "height is reached"


async def test_a_cancelled_stream_ends_in_the_servicer(rig: Rig) -> None:
    before = sample("grpc_server_handled_total", "Generate", grpc_code="CANCELLED")
    stub: Any = GeneratorServiceStub(rig.channel)
    call = stub.Generate(pb.GenerateRequest(frames=100_000, height=-1))
    await call.read()
    assert sample("grpc_server_in_flight", "Generate") == 1
    call.cancel()
    await asyncio.wait_for(rig.generator.left.wait(), 10)
    await rig.server.stop(grace_seconds=10)  # the call is over when this returns
    assert sample("grpc_server_in_flight", "Generate") == 0
    assert sample("grpc_server_handled_total", "Generate", grpc_code="CANCELLED") == before + 1


async def test_metrics_count_calls_codes_and_seconds(rig: Rig) -> None:
    names = ("grpc_server_started_total", "grpc_server_handling_seconds_count")
    before = [sample(name, "Rewrite") for name in names]
    codes = [sample("grpc_server_handled_total", "Rewrite", grpc_code=code) for code in ("OK", "INVALID_ARGUMENT")]
    slow = sample("grpc_server_handling_seconds_sum", "Rewrite")
    await rig.rewrite("a ball")
    await rig.rewrite("sleep 0.1")
    await rig.failure("value")
    await rig.server.stop(grace_seconds=10)  # the answer may come before the count
    assert [sample(name, "Rewrite") for name in names] == [count + 3 for count in before]
    after = [sample("grpc_server_handled_total", "Rewrite", grpc_code=code) for code in ("OK", "INVALID_ARGUMENT")]
    assert after == [codes[0] + 2, codes[1] + 1]
    assert sample("grpc_server_handling_seconds_sum", "Rewrite") >= slow + 0.1
    assert sample("grpc_server_in_flight", "Rewrite") == 0


async def test_every_call_is_one_line_of_the_log(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "kino.rpc"):
        await rig.rewrite("a ball")
        await rig.failure("value")
        await rig.server.stop(grace_seconds=10)  # the answer may come before the line
    lines = [vars(record) for record in caplog.records if record.name == "kino.rpc"]
    assert [(line["grpc_method"], line["code"], line["levelname"]) for line in lines] == [
        ("Rewrite", "OK", "INFO"),
        ("Rewrite", "INVALID_ARGUMENT", "WARNING"),
    ]
    assert lines[1]["error"] == "frames is 0, must be at least 1"
    assert lines[0]["seconds"] >= 0


async def health(rig: Rig, service: str) -> int:
    stub: Any = health_pb2_grpc.HealthStub(rig.channel)
    return (await stub.Check(health_pb2.HealthCheckRequest(service=service))).status  # type: ignore[no-any-return]


async def test_health_follows_readiness_and_calls_wait_for_it(rig: Rig) -> None:
    names = ("", "kino.v1.RewriterService", "kino.v1.GeneratorService")
    serving, not_serving = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
    assert [await health(rig, name) for name in names] == [serving] * 3
    await rig.server.ready(False)
    assert [await health(rig, name) for name in names] == [not_serving] * 3
    assert isinstance(await rig.failure("a ball"), errors.UnavailableError)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await health(rig, "kino.v1.Nothing")
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_client_retries_while_the_service_starts(rig: Rig) -> None:
    await rig.server.ready(False)
    waiting = asyncio.create_task(rig.rewrite("a ball"))
    await asyncio.sleep(0.02)
    await rig.server.ready(True)
    assert await waiting == "a ball"


async def test_reflection_lists_and_describes_the_services(rig: Rig) -> None:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(rig.channel)
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="kino.v1.RewriterService"),
    ]
    answers = [answer async for answer in stub.ServerReflectionInfo(iter(asked))]
    names = {service.name for service in answers[0].list_services_response.service}
    assert {"kino.v1.RewriterService", "grpc.health.v1.Health"} <= names
    assert b"kino/v1/rewriter.proto" in answers[1].file_descriptor_response.file_descriptor_proto[0]


async def test_stopping_lets_calls_end_and_refuses_new_ones(rig: Rig) -> None:
    under_way = asyncio.create_task(rig.rewrite("sleep 0.3"))
    await rig.rewriter.asleep.wait()
    stopping = asyncio.create_task(rig.server.stop(grace_seconds=10))
    assert await under_way == "sleep 0.3"
    await stopping
    assert isinstance(await rig.failure("a ball"), errors.UnavailableError)


async def test_stopping_cancels_what_takes_longer_than_the_grace(rig: Rig) -> None:
    under_way = asyncio.create_task(rig.failure("sleep 30"))
    await rig.rewriter.asleep.wait()
    await rig.server.stop(grace_seconds=0.1)
    assert isinstance(await under_way, errors.UnavailableError | errors.CallCancelledError)


async def test_a_port_in_use_is_named(rig: Rig) -> None:
    taken = rig.server.port
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{taken}: Address already in use") as caught:
        await rpc.Server(port=taken).start()
    assert caught.value.errno == errno.EADDRINUSE


async def test_a_metrics_port_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(OSError, match=f"metrics cannot listen on 127.0.0.1:{taken}: Address already in use"):
            await rpc.Server(metrics_port=taken).start()


async def test_a_failed_start_gives_the_metrics_port_back(rig: Rig) -> None:
    server = rpc.Server(port=rig.server.port, metrics_port=0)
    with pytest.raises(OSError, match="cannot listen"):
        await server.start()
    assert server.metrics_port
    socket.create_server(("127.0.0.1", server.metrics_port)).close()


async def test_metrics_are_read_over_http() -> None:
    server = rpc.Server(metrics_port=0)
    await server.start()
    with await asyncio.to_thread(urlopen, f"http://127.0.0.1:{server.metrics_port}/metrics") as response:
        text = response.read().decode()
    await server.stop()
    assert "# TYPE grpc_server_handled_total counter" in text
