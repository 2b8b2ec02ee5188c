"""The client against a graph that does what graphs do at their worst: it goes away, lies about files, and is slow."""

import asyncio
import hashlib
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest

from kino.client import AsyncKino, Kino, Pipeline, text_to_image, text_to_video
from kino.errors import (
    CallCancelledError,
    DataLossError,
    DeadlineExceededError,
    InvalidArgumentError,
    UnavailableError,
)
from kino.rpc import Server
from kino.v1 import graph_pb2, graph_pb2_grpc, media_pb2, tensor_pb2
from kino.v1.encoder_pb2 import EncodeRequest
from kino.v1.generator_pb2 import GenerateRequest
from kino.v1.graph_pb2 import (
    GENERATION_STATE_CANCELLED,
    GENERATION_STATE_FAILED,
    GENERATION_STATE_RUNNING,
    GENERATION_STATE_SUCCEEDED,
    Generation,
)

FILE = b"film" * 700_000  # three messages


def uri_of(data: bytes) -> str:
    return f"kino://sha256/{hashlib.sha256(data).hexdigest()}"


class ScriptedGraph(graph_pb2_grpc.GraphServiceServicer):
    """Plays `script`: each watch yields from it until it meets an exception, or None, which is an early end."""

    def __init__(self) -> None:
        self.script: list[Generation | Exception | None] = []
        self.asked_after: list[int] = []
        self.cancelled: list[str] = []
        self.chunks: list[int] = []
        self.keys: list[str] = []
        self.creating = threading.Event()
        self.slow = asyncio.Event()
        self.refusals: list[Exception] = []

    async def CreateGeneration(self, request: Any, context: Any) -> graph_pb2.CreateGenerationResponse:
        self.creating.set()
        self.keys.append(request.idempotency_key)
        if self.refusals:
            raise self.refusals.pop()
        if request.spec.text_to_video.prompt == "slow":
            await self.slow.wait()
        return graph_pb2.CreateGenerationResponse(generation=Generation(id="g"))

    async def GetGeneration(self, request: Any, context: Any) -> graph_pb2.GetGenerationResponse:
        artifacts = [
            graph_pb2.Artifact(name=name, media=media_pb2.Media(uri=uri_of(FILE))) for name in ("film", "contact_sheet")
        ]
        return graph_pb2.GetGenerationResponse(generation=Generation(id=request.id, artifacts=artifacts))

    async def WatchGeneration(self, request: Any, context: Any) -> AsyncIterator[graph_pb2.WatchGenerationResponse]:
        self.asked_after.append(request.after_sequence)
        while self.script:
            entry = self.script.pop(0)
            if entry is None:
                return
            if isinstance(entry, Exception):
                raise entry
            yield graph_pb2.WatchGenerationResponse(generation=entry)

    async def CancelGeneration(self, request: Any, context: Any) -> graph_pb2.CancelGenerationResponse:
        self.cancelled.append(request.id)
        self.slow.set()
        return graph_pb2.CancelGenerationResponse(generation=Generation(id=request.id))

    async def DeleteGeneration(self, request: Any, context: Any) -> graph_pb2.DeleteGenerationResponse:
        return graph_pb2.DeleteGenerationResponse()

    async def ListGenerations(self, request: Any, context: Any) -> graph_pb2.ListGenerationsResponse:
        page = int(request.page_token or 0)
        return graph_pb2.ListGenerationsResponse(
            generations=[Generation(id=f"{page}-{index}") for index in range(2)],
            next_page_token=str(page + 1) if page < 2 else "",
        )

    async def UploadArtifact(self, request_iterator: Any, context: Any) -> graph_pb2.UploadArtifactResponse:
        header = (await anext(request_iterator)).header
        data = b""
        async for message in request_iterator:
            self.chunks.append(len(message.chunk))
            data += message.chunk
        assert header.size_bytes == len(data)
        return graph_pb2.UploadArtifactResponse(media=media_pb2.Media(uri=uri_of(data)))

    async def DownloadArtifact(self, request: Any, context: Any) -> AsyncIterator[graph_pb2.DownloadArtifactResponse]:
        for start in range(0, len(FILE), 1 << 20):
            yield graph_pb2.DownloadArtifactResponse(chunk=FILE[start : start + (1 << 20)])

    async def LinkArtifact(self, request: Any, context: Any) -> graph_pb2.LinkArtifactResponse:
        raise AssertionError("no test asks for a link")

    async def Describe(self, request: Any, context: Any) -> graph_pb2.GraphServiceDescribeResponse:
        return graph_pb2.GraphServiceDescribeResponse(parts=[graph_pb2.Part(component="tae", address="127.0.0.1:1")])


@pytest.fixture
async def graph() -> AsyncIterator[tuple[ScriptedGraph, str]]:
    servicer, server = ScriptedGraph(), Server()
    server.add(servicer, graph_pb2_grpc.add_GraphServiceServicer_to_server, "kino.v1.GraphService")
    port = await server.start()
    await server.ready(True)
    yield servicer, f"127.0.0.1:{port}"
    servicer.slow.set()
    await server.stop()


Graph = tuple[ScriptedGraph, str]


async def test_a_broken_watch_goes_on_after_the_last_change_it_saw(graph: Graph) -> None:
    servicer, address = graph
    servicer.script = [
        Generation(id="g", sequence=4, state=GENERATION_STATE_RUNNING),
        UnavailableError("the graph restarts"),
        UnavailableError("it still does"),
        CallCancelledError("its server ended with calls under way"),
        Generation(id="g", sequence=5, state=GENERATION_STATE_RUNNING),
        None,
        Generation(id="g", sequence=7, state=GENERATION_STATE_SUCCEEDED),
    ]
    async with AsyncKino(address) as kino:
        seen = [generation.sequence async for generation in kino.generations.watch("g")]
    assert seen == [4, 5, 7]
    assert servicer.asked_after[0] == 0
    assert set(servicer.asked_after[1:-1]) == {4}
    assert servicer.asked_after[-1] == 5


async def test_a_watch_ends_when_its_patience_does(graph: Graph) -> None:
    servicer, address = graph
    servicer.script = [Generation(id="g", sequence=1), *[UnavailableError("gone for good")] * 20]
    async with AsyncKino(address, patience_seconds=0) as kino:
        with pytest.raises(UnavailableError, match="gone for good"):
            [generation async for generation in kino.generations.watch("g")]


async def test_a_graph_that_goes_away_before_the_first_watch_is_waited_for(graph: Graph) -> None:
    servicer, address = graph
    servicer.script = [
        *[UnavailableError("the graph restarts")] * 6,
        Generation(id="g", sequence=1, state=GENERATION_STATE_SUCCEEDED),
    ]
    async with AsyncKino(address) as kino:
        assert (await kino.generations.run(text_to_video("a ball"))).id == "g"
    assert not servicer.script


async def test_an_order_to_a_graph_that_has_answered_is_repeated_as_the_same_one(graph: Graph) -> None:
    servicer, address = graph
    async with AsyncKino(address) as kino:
        servicer.refusals = [UnavailableError("the graph restarts")] * 50
        with pytest.raises(UnavailableError, match="restarts"):  # a graph that never answered is not waited for
            await kino.generations.create(text_to_video("a ball"))
        servicer.refusals = []
        await kino.generations.create(text_to_video("a ball"))
        servicer.keys = []
        servicer.refusals = [
            UnavailableError("the graph restarts"),
            CallCancelledError("its server ended with calls under way"),
            DeadlineExceededError("its machine is busy"),
        ]
        assert (await kino.generations.create(text_to_video("a ball"), idempotency_key="once")).id == "g"
    assert servicer.keys == ["once"] * 4


async def test_a_film_is_downloaded_whole_and_checked(graph: Graph) -> None:
    servicer, address = graph
    servicer.script = [Generation(id="g", sequence=1, state=GENERATION_STATE_SUCCEEDED)]
    seen: list[int] = []
    async with AsyncKino(address) as kino:
        film = await kino.film("a ball", on_change=lambda generation: seen.append(generation.sequence))
        assert film.video == FILE
        assert seen == [1]
        with pytest.raises(DataLossError, match="damaged"):
            await kino.artifacts.download(uri_of(b"another file"))


async def test_a_failed_generation_raises_what_it_failed_with(graph: Graph) -> None:
    servicer, address = graph
    failed = Generation(id="g", state=GENERATION_STATE_FAILED)
    failed.error.code, failed.error.message = 14, "the generator is gone"
    cancelled = Generation(id="g", state=GENERATION_STATE_CANCELLED)
    async with AsyncKino(address) as kino:
        servicer.script = [failed]
        with pytest.raises(UnavailableError, match="the generator is gone"):
            await kino.film("a ball")
        servicer.script = [cancelled]
        with pytest.raises(CallCancelledError, match="g was cancelled"):
            await kino.film("a ball")


@pytest.mark.parametrize("prompt", ["slow", "a ball"])
async def test_cancelling_a_task_cancels_its_generation(prompt: str, graph: Graph) -> None:
    """Also when it is cancelled before it knows the generation's name."""
    servicer, address = graph
    servicer.script = [Generation(id="g", sequence=1, state=GENERATION_STATE_RUNNING)]  # it must not end by itself
    async with AsyncKino(address) as kino:
        film = asyncio.ensure_future(kino.film(prompt))
        await asyncio.to_thread(servicer.creating.wait)
        film.cancel()
        asyncio.get_running_loop().call_later(0.1, servicer.slow.set)
        with pytest.raises(asyncio.CancelledError):
            await film
    assert servicer.cancelled == ["g"]


async def test_lists_go_over_pages_and_uploads_go_in_chunks(graph: Graph) -> None:
    servicer, address = graph
    async with AsyncKino(address) as kino:
        ids = [generation.id async for generation in kino.generations.list()]
        assert await kino.artifacts.upload(FILE, "video/mp4") == uri_of(FILE)
    assert ids == ["0-0", "0-1", "1-0", "1-1", "2-0", "2-1"]
    assert servicer.chunks == [1 << 20, 1 << 20, len(FILE) - (2 << 20)]


async def test_plain_code_has_the_same_methods(graph: Graph) -> None:
    servicer, address = graph
    servicer.script = [Generation(id="g", sequence=1, state=GENERATION_STATE_SUCCEEDED)]

    def plain() -> None:
        with Kino(address) as kino:
            assert kino.film("a ball").video == FILE
            assert [generation.id for generation in kino.generations.list()][-1] == "2-1"
            with pytest.raises(UnavailableError, match="calls no encoder, only tae"):
                kino.encoder.encode("a ball")
            with pytest.raises(UnavailableError):
                kino.tae.describe()

    await asyncio.to_thread(plain)


def test_a_service_without_an_address_is_named() -> None:
    with Kino() as kino, pytest.raises(UnavailableError, match="address of the encoder is not known"):
        kino.encoder.encode("a ball")


def test_orders_hold_what_was_given_and_nothing_else() -> None:
    spec = text_to_video("a ball", seconds=2, size=(96, 64), seed=0, guidance=1.0)
    order = spec.text_to_video
    assert (order.seconds, order.pixels.height, order.pixels.width, order.seed) == (2, 96, 64, 0)
    assert order.HasField("seed")
    assert order.sampling.HasField("guidance")
    assert not order.sampling.HasField("steps")
    assert not order.HasField("fps")
    assert text_to_image("a ball").text_to_image.WhichOneof("size") is None
    assert not text_to_image("a ball").text_to_image.HasField("sampling")


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"seed": 2**63}, "seed"),
        ({"seed": 1.5}, "seed"),
        ({"fps": "fast"}, "fps"),
        ({"negative_prompt": "\udcff"}, "negative_prompt"),
        ({"aspect": 1}, "aspect"),
        ({"size": (1, 2), "aspect": "1:1"}, "size"),
    ],
)
def test_what_no_message_can_hold_is_refused(options: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        text_to_video("a ball", **options)
    assert refused.value.field == field


def test_a_pipeline_is_what_was_put_together() -> None:
    pipeline = Pipeline()
    text = pipeline.call("text", EncodeRequest(prompt="a ball"))
    noise = pipeline.call("noise", GenerateRequest(frames=8), embeddings=text["embeddings"])
    pipeline.output("latents", noise["latents"])
    made = pipeline.spec().pipeline
    assert [(node.name, node.WhichOneof("call")) for node in made.nodes] == [("text", "encode"), ("noise", "generate")]
    assert made.nodes[1].generate.frames == 8
    edge = made.edges[0]
    assert (edge.source.node, edge.source.field) == ("text", "embeddings")
    assert (edge.target.node, edge.target.field) == ("noise", "embeddings")
    assert (made.outputs[0].name, made.outputs[0].source.field) == ("latents", "latents")
    with pytest.raises(InvalidArgumentError, match="Tensor"):
        pipeline.call("x", tensor_pb2.Tensor())  # type: ignore[arg-type]
