import asyncio
import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from kino.v1.rewriter_pb2 import (
    REWRITE_SOURCE_ENDPOINT,
    REWRITE_SOURCE_GRAMMAR,
    RewriteRequest,
    RewriterServiceDescribeRequest,
)
from kino.v1.rewriter_pb2_grpc import RewriterServiceStub
from services.rewriter.endpoint import MAX_RESPONSE_BYTES, Endpoint, EndpointError
from services.rewriter.rules import RULES
from services.rewriter.service import create
from services.service import ServiceConfig
from tests.services.conftest import Serve

CAPTION = "A dog runs on a beach. The camera stands still."
Reply = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Loopback:
    """An HTTP server that gives one prepared reply after the other, the last of them again and again."""

    replies: list[Reply] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    questions: list[dict[str, Any]] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            length = int(head.lower().partition("content-length:")[2].split()[0])
            self.heads.append(head)
            self.questions.append(json.loads(await reader.readexactly(length)))
            self.asked.set()
            await (self.replies.pop(0) if len(self.replies) > 1 else self.replies[0])(writer)
        except ConnectionError:
            self.heads.append("the client has gone")
        finally:
            writer.close()


def body(content: bytes, status: str = "200 OK") -> Reply:
    async def reply(writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status}\r\ncontent-length: {len(content)}\r\nconnection: close\r\n\r\n"
        writer.write(head.encode() + content)
        await writer.drain()

    return reply


def says(text: object, finish: str = "stop") -> Reply:
    return body(json.dumps({"choices": [{"message": {"content": text}, "finish_reason": finish}]}).encode())


async def silence(writer: asyncio.StreamWriter) -> None:
    await writer.wait_closed()


async def trickle(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"1\r\n \r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")


BROKEN = body(b"", "500 Internal Server Error")


@pytest.fixture
async def server() -> AsyncIterator[Loopback]:
    loopback = Loopback()
    listening = await asyncio.start_server(loopback.serve, "127.0.0.1", 0)
    loopback.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    yield loopback
    listening.close()


@pytest.fixture
async def endpoint(server: Loopback) -> AsyncIterator[Endpoint]:
    made = Endpoint(server.url, "writer-1", 5.0, "top-secret")
    yield made
    await made.close()


async def test_a_caption_comes_back(server: Loopback, endpoint: Endpoint) -> None:
    server.replies = [says(CAPTION)]
    rewriting = await endpoint.rewrite("a dog", 7)
    assert (rewriting.prompt, rewriting.source, rewriting.fallback_reason) == (CAPTION, "endpoint", "")
    assert server.heads[0].startswith("POST /v1/chat/completions HTTP/1.1\r\n")
    assert "authorization: bearer top-secret\r\n" in server.heads[0].lower()
    question = server.questions[0]
    assert (question["model"], question["seed"]) == ("writer-1", 7)
    assert question["messages"] == [{"role": "system", "content": RULES}, {"role": "user", "content": "a dog"}]


async def test_an_answer_that_met_its_bound_ends_with_its_last_sentence(server: Loopback, endpoint: Endpoint) -> None:
    server.replies = [says("A dog runs. It is", "length")]
    assert (await endpoint.rewrite("a dog", 0)).prompt == "A dog runs."


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (body(b"", "404 Not Found"), "status 404"),
        (body(b"", "302 Found\r\nlocation: http://127.0.0.1:1/"), "status 302"),
        (body(b"\xff\x00 garbage"), "no chat completion"),
        (body(b"[" * 100_000), "no chat completion"),
        (body(b'{"choices": []}'), "no chat completion"),
        (body(b'"choices"'), "no chat completion"),
        (says(None), "holds no text"),
        (says(""), "no caption: answer is ''"),
        (says("a\x1bdog"), "no caption: answer is"),
        (says("x" * 5000), "no caption: answer has 5000 bytes"),
        (body(b" " * (MAX_RESPONSE_BYTES + 1)), f"longer than {MAX_RESPONSE_BYTES} bytes"),
    ],
)
async def test_what_is_no_caption_is_refused_at_once(
    server: Loopback, endpoint: Endpoint, reply: Reply, words: str
) -> None:
    server.replies = [reply, says(CAPTION)]
    with pytest.raises(EndpointError, match=words):
        await endpoint.rewrite("a dog", 0)
    assert len(server.questions) == 1
    assert (await endpoint.rewrite("a dog", 0)).prompt == CAPTION


@pytest.mark.parametrize("reply", [BROKEN, body(b"", "429 Too Many Requests"), hang_up])
async def test_what_may_pass_is_tried_a_second_time(server: Loopback, endpoint: Endpoint, reply: Reply) -> None:
    server.replies = [reply, says(CAPTION)]
    assert (await endpoint.rewrite("a dog", 0)).prompt == CAPTION
    assert len(server.questions) == 2


async def test_second_tries_end_while_most_fail(
    server: Loopback, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("services.rewriter.endpoint._PAUSE_SECONDS", 0)
    server.replies = [BROKEN]
    for _ in range(5):
        with pytest.raises(EndpointError, match="status 500"):
            await endpoint.rewrite("a dog", 0)
    assert len(server.questions) == 2 + 2 + 1 + 1 + 1  # of 10 there are 8, 6, 5, 4 and 3 left: at 5 no second try
    server.replies = [says(CAPTION)]
    for _ in range(31):  # 0.1 each: 6.1, of which one failure leaves more than 5
        await endpoint.rewrite("a dog", 0)
    server.replies = [BROKEN, says(CAPTION)]
    assert (await endpoint.rewrite("a dog", 0)).prompt == CAPTION


@pytest.mark.parametrize("reply", [silence, trickle])
async def test_a_slow_answer_is_given_up(server: Loopback, reply: Reply) -> None:
    slow = Endpoint(server.url, "writer-1", 0.2)
    server.replies = [reply, says(CAPTION)]
    with pytest.raises(EndpointError, match=r"no answer within 0.2 seconds"):
        await slow.rewrite("a dog", 0)
    assert (await slow.rewrite("a dog", 0, 30.0)).prompt == CAPTION
    await slow.close()


async def test_half_of_the_callers_time_is_kept_for_the_fall_back(server: Loopback, endpoint: Endpoint) -> None:
    server.replies = [silence]
    with pytest.raises(EndpointError, match=r"no answer within 0.1 seconds"):
        await endpoint.rewrite("a dog", 0, 0.2)


async def test_cancelling_is_no_failure_of_the_endpoint(server: Loopback, endpoint: Endpoint) -> None:
    server.replies = [silence]
    call = asyncio.ensure_future(endpoint.rewrite("a dog", 0))
    await server.asked.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    server.replies = [says(CAPTION)]
    assert (await endpoint.rewrite("a dog", 0)).prompt == CAPTION


async def test_nobody_listening_is_told(free_port: int) -> None:
    nobody = Endpoint(f"http://127.0.0.1:{free_port}/v1", "writer-1", 5.0)
    with pytest.raises(EndpointError, match="could not be reached: ConnectError"):
        await nobody.rewrite("a dog", 0)
    await nobody.close()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"endpoint": "ftp://host/v1"}, "endpoint is 'ftp://host/v1', must be an http or https URL"),
        ({"endpoint": "writer"}, "endpoint is 'writer', must be an http or https URL"),
        ({"endpoint": "http://me:hidden@host/v1"}, "a key has to come by the environment"),
        ({"endpoint_model": ""}, "endpoint_model is '', must be the name of a model"),
        ({"endpoint_seconds": 0.0}, "endpoint_seconds is 0.0, must be above 0"),
        ({"endpoint_seconds": float("nan")}, "endpoint_seconds is nan, must be above 0"),
    ],
)
def test_a_wrong_setting_is_named(settings: dict[str, Any], words: str, tmp_path: Path) -> None:
    given: dict[str, Any] = {"endpoint": "https://host/v1", "endpoint_model": "writer-1"}
    with pytest.raises(ValueError, match=words) as caught:
        create(ServiceConfig("nano", "nano", str(tmp_path), tmp_path, **given | settings))
    assert "hidden" not in str(caught.value)


def test_a_key_that_is_no_header_is_refused_without_being_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KINO_ENDPOINT_KEY", "hidden\nkey")
    with pytest.raises(ValueError, match="printable ASCII") as caught:
        create(ServiceConfig("nano", "nano", "", tmp_path, endpoint="https://host/v1", endpoint_model="writer-1"))
    assert "hidden" not in str(caught.value)


async def test_the_service_falls_back_and_says_so(
    server: Loopback, serve: Serve, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("KINO_ENDPOINT_KEY", "top-secret")
    caplog.set_level(logging.DEBUG)
    alone = RewriterServiceStub((await serve("rewriter")).channel)
    asking = RewriterServiceStub(
        (await serve("rewriter", endpoint=server.url, endpoint_model="writer-1", endpoint_seconds=5.0)).channel
    )
    request = RewriteRequest(prompt="my blue elephant", seed=3)
    own = await alone.Rewrite(request)
    server.replies = [body(b"garbage"), says(CAPTION)]
    first, second = await asking.Rewrite(request), await asking.Rewrite(request)
    assert (first.prompt, first.source) == (own.prompt, REWRITE_SOURCE_GRAMMAR)
    assert first.fallback_reason == "the endpoint's answer is no chat completion"
    assert list(first.substitutions) == list(own.substitutions)
    assert (second.prompt, second.source, second.fallback_reason) == (CAPTION, REWRITE_SOURCE_ENDPOINT, "")
    info = (await asking.Describe(RewriterServiceDescribeRequest())).info
    assert first.model_digest == second.model_digest == info.digest != own.model_digest
    assert "bearer top-secret" in server.heads[0].lower()
    assert "top-secret" not in caplog.text + str(caplog.records)
