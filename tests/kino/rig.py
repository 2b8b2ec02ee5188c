"""A real server on a loopback port, whose servicers do what the requests ask for."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest

from kino import errors, rpc
from kino.store import NotFoundError
from kino.telemetry import request_id
from kino.v1 import generator_pb2 as pb
from kino.v1 import graph_pb2, graph_pb2_grpc, rewriter_pb2, rewriter_pb2_grpc
from kino.v1.generator_pb2_grpc import (
    GeneratorServiceServicer,
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
