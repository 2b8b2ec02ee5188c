import asyncio
import logging
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import grpc
import grpc.aio
import pytest
from prometheus_client import REGISTRY

from kino import errors, rpc
from kino.interceptors import ServerInterceptor
from kino.v1 import generator_pb2 as pb
from kino.v1 import graph_pb2, rewriter_pb2, rewriter_pb2_grpc
from kino.v1.generator_pb2_grpc import GeneratorServiceStub
from tests.kino.rig import Rig


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


@pytest.mark.parametrize(
    ("method", "raw"),
    [
        ("kino.v1.RewriterService/Rewrite", b"\x0a\x02\xc3\x28"),  # field 1, two bytes that are not UTF-8
        ("kino.v1.RewriterService/Rewrite", b"\x0a\x7fshort"),
        ("kino.v1.GeneratorService/Generate", b"\xff"),
    ],
)
async def test_a_request_that_is_not_utf8_or_not_a_message_is_a_bad_argument(rig: Rig, method: str, raw: bytes) -> None:
    multicallable: Any = rig.channel.unary_unary if "Rewrite" in method else rig.channel.unary_stream
    call = multicallable(f"/{method}")(raw)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await (call if "Rewrite" in method else call.read())
    error = errors.from_rpc_error(caught.value)
    assert isinstance(error, errors.InvalidArgumentError)
    assert error.field == "request"
    assert str(error).endswith("must be a message as its proto says, with all text in UTF-8")
    assert rig.rewriter.calls == 0
    assert await rig.rewrite("a ball") == "a ball"


async def test_a_broken_message_inside_a_stream_is_a_bad_argument(rig: Rig) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield graph_pb2.UploadArtifactRequest(chunk=b"12").SerializeToString()
        yield b"\xff"

    upload: Any = rig.channel.stream_unary("/kino.v1.GraphService/UploadArtifact")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await upload(chunks())
    assert isinstance(errors.from_rpc_error(caught.value), errors.InvalidArgumentError)


async def test_a_status_set_by_the_servicer_itself_is_left_alone(rig: Rig) -> None:
    before = sample("grpc_server_handled_total", "Rewrite", grpc_code="OUT_OF_RANGE")
    assert str(await rig.failure("abort")) == "far"
    await rig.server.stop(grace_seconds=10)  # the answer may come before the count
    assert sample("grpc_server_handled_total", "Rewrite", grpc_code="OUT_OF_RANGE") == before + 1


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


async def test_an_error_in_the_middle_of_a_stream(rig: Rig) -> None:
    stub: Any = GeneratorServiceStub(rig.channel)
    call = stub.Generate(pb.GenerateRequest(frames=9, height=1))
    assert [(await call.read()).progress.step for _ in range(2)] == [1, 2]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    assert str(errors.from_rpc_error(caught.value)) == "height is reached"


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


async def test_a_deadline_already_past_is_told_and_the_next_call_works(rig: Rig) -> None:
    assert isinstance(await rig.failure("a ball", timeout=-1), errors.DeadlineExceededError)
    assert await rig.rewrite("a ball") == "a ball"


class LateContext:
    """The context of a call whose deadline passed on the way, which no client can time on purpose."""

    def __init__(self) -> None:
        self.aborted: tuple[grpc.StatusCode, str] | None = None

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def time_remaining(self) -> float:
        return 0.0

    def set_trailing_metadata(self, metadata: object) -> None:
        pass

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.DEADLINE_EXCEEDED

    async def abort(self, code: grpc.StatusCode, details: str, trailing_metadata: object) -> None:
        self.aborted = code, details
        raise grpc.aio.AbortError


async def test_a_deadline_that_passed_on_the_way_is_answered_before_anything_runs() -> None:
    served: list[object] = []

    async def behaviour(request: object, context: object) -> None:
        served.append(request)

    async def continuation(details: object) -> Any:
        return grpc.unary_unary_rpc_method_handler(behaviour, request_deserializer=bytes.decode)

    interceptor, context = ServerInterceptor(), LateContext()
    interceptor.ready = True
    details: Any = SimpleNamespace(method="/kino.v1.RewriterService/Rewrite")
    handler = await interceptor.intercept_service(continuation, details)
    with pytest.raises(grpc.aio.AbortError):
        await handler.unary_unary(b"request", context)
    assert context.aborted == (
        grpc.StatusCode.DEADLINE_EXCEEDED,
        "the deadline of the call was over before it began",
    )
    assert served == []


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
