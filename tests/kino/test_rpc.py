import asyncio
import errno
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from kino import errors, rpc
from kino.v1 import generator_pb2 as pb
from kino.v1 import graph_pb2, graph_pb2_grpc, rewriter_pb2, rewriter_pb2_grpc
from kino.v1.generator_pb2_grpc import (
    GeneratorServiceStub,
)
from tests.cluster import certificates
from tests.kino.rig import Rewriter, Rig


async def test_an_unknown_method_and_a_method_nobody_wrote(rig: Rig) -> None:
    call: Any = rig.channel.unary_unary("/kino.v1.Nothing/Do")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"")
    assert isinstance(errors.from_rpc_error(caught.value), errors.UnimplementedError)


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


async def test_a_channel_by_tls_trusts_the_authorities_of_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "pki"
    certificates.write(folder)
    pair = ((folder / "apiserver.key").read_bytes(), (folder / "apiserver.crt").read_bytes())
    server = grpc.aio.server()
    rewriter_pb2_grpc.add_RewriterServiceServicer_to_server(Rewriter(), server)  # type: ignore[abstract]
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    request = rewriter_pb2.RewriteRequest(prompt="a ball")
    try:
        async with rpc.channel(f"https://127.0.0.1:{port}") as stranger:
            with pytest.raises(grpc.aio.AioRpcError, match=r"(?i)handshake|certificate"):
                await rewriter_pb2_grpc.RewriterServiceStub(stranger).Rewrite(request)
        monkeypatch.setenv("SSL_CERT_FILE", str(folder / "ca.crt"))
        async with rpc.channel(f"https://127.0.0.1:{port}") as channel:
            assert (await rewriter_pb2_grpc.RewriterServiceStub(channel).Rewrite(request)).prompt == "a ball"
    finally:
        await server.stop(0)


@pytest.mark.parametrize("address", ["https://", "https://host:port", "https://[::1", "https://host/films"])
async def test_an_address_that_names_no_server_is_refused(address: str) -> None:
    with pytest.raises(errors.InvalidArgumentError, match=r"address is '.*', must be host:port, or https://host"):
        rpc.channel(address)


async def test_a_stream_that_is_quiet_while_its_client_asks_whether_it_lives(rig: Rig) -> None:
    options = [("grpc.keepalive_time_ms", 1_000), ("grpc.http2.max_pings_without_data", 0)]
    async with grpc.aio.insecure_channel(rig.address, options=options) as channel:
        stub: Any = rewriter_pb2_grpc.RewriterServiceStub(channel)
        assert (await stub.Rewrite(rewriter_pb2.RewriteRequest(prompt="sleep 5"))).prompt == "sleep 5"
