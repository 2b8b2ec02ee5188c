"""The graph on a real Ray, started once for this file; the services it calls are in this process."""

from collections.abc import AsyncIterator

import grpc
import pytest
import pytest_asyncio

from kino import rpc
from kino.errors import InternalError, from_rpc_error
from kino.store import open_store
from kino.v1 import graph_pb2, graph_pb2_grpc
from services.graph.app import RayGraph
from services.graph.rows import CANCELLED, SUCCEEDED
from tests.services.graph.fakes import Services
from tests.services.graph.harness import Graph, film, until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(600)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def graph(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Graph]:
    folder = tmp_path_factory.mktemp("ray")
    services = Services(open_store(str(folder / "store")))
    await services.start()
    started = Graph(services, folder)
    app = RayGraph(started.config())
    started.channel = rpc.channel(f"127.0.0.1:{await app.start()}")
    started.stub = graph_pb2_grpc.GraphServiceStub(started.channel)
    yield started
    await started.channel.close()
    await app.stop()
    await services.stop()


async def test_a_film_through_the_ingress_and_back(graph: Graph) -> None:
    made = await graph.make()
    assert made.state == SUCCEEDED, made.error
    assert [(stage.step, stage.of) for stage in made.stages] == [(1, 1), (1, 1), (20, 20), (1, 1), (5, 5)]
    assert [part.component for part in made.record.parts] == ["rewriter", "encoder", "generator", "tae", "graph"]
    file = graph.services.store.get(made.artifacts[0].media.uri)
    request = graph_pb2.DownloadArtifactRequest(uri=made.artifacts[0].media.uri)
    assert b"".join([part.chunk async for part in graph.stub.DownloadArtifact(request)]) == file

    async def sent() -> AsyncIterator[graph_pb2.UploadArtifactRequest]:
        header = graph_pb2.UploadHeader(media_type="video/mp4", size_bytes=len(file))
        yield graph_pb2.UploadArtifactRequest(header=header)
        yield graph_pb2.UploadArtifactRequest(chunk=file)

    uploaded = await graph.stub.UploadArtifact(sent())
    assert uploaded.media.uri == made.artifacts[0].media.uri


async def test_cancelling_reaches_the_sampler_through_ray(graph: Graph) -> None:
    behaviour = graph.services.behaviour
    behaviour.steps.clear()
    behaviour.gate.clear()
    created = await graph.create(film("a blue cube"))
    await until(lambda: behaviour.steps)
    await graph.stub.CancelGeneration(graph_pb2.CancelGenerationRequest(id=created.id))
    await until(lambda: not behaviour.running)
    assert behaviour.steps == [1]
    behaviour.gate.set()
    assert (await graph.end(created.id)).state == CANCELLED


async def test_errors_keep_their_code_and_words(graph: Graph) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        await graph.create(film(""))
    error = from_rpc_error(caught.value)
    assert error.code == grpc.StatusCode.INVALID_ARGUMENT
    assert error.message == "spec.text_to_video.prompt is '', must be words: at least one letter or digit"
    with pytest.raises(grpc.RpcError) as caught:
        await graph.watch("no such id")
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def test_a_stage_fails_with_all_the_details_of_its_call(graph: Graph) -> None:
    behaviour = graph.services.behaviour
    behaviour.fail_at = [(3, InternalError("a bug"))]
    failed = await graph.make(film("a green star"))
    assert failed.error.message == "stage generate (generator): a bug"
    assert [detail.type_url.rpartition(".")[2] for detail in failed.error.details] == ["ErrorInfo"]
    assert (await graph.make(film("a green star"))).state == SUCCEEDED
