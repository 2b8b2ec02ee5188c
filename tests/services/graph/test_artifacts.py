from collections.abc import AsyncIterator

import grpc
import numpy as np
import pytest

from kino.errors import InvalidArgumentError, from_rpc_error
from kino.store import Store
from kino.v1 import graph_pb2, media_pb2, tae_pb2, tensor_pb2
from services.graph.artifacts import CHUNK_BYTES
from services.graph.products.text import edge, port
from services.graph.rows import SUCCEEDED
from tests.services.graph.harness import Graph

Request = graph_pb2.UploadArtifactRequest
FILE = bytes(range(256)) * 10_000  # two and a half chunks


def header(size_bytes: int = len(FILE), media_type: str = "video/mp4") -> Request:
    return Request(header=graph_pb2.UploadHeader(media_type=media_type, size_bytes=size_bytes))


def chunks(file: bytes = FILE, size: int = CHUNK_BYTES) -> list[Request]:
    return [Request(chunk=file[start : start + size]) for start in range(0, len(file), size)]


async def sent(requests: list[Request]) -> AsyncIterator[Request]:
    for request in requests:
        yield request


async def download(graph: Graph, uri: str, offset: int = 0) -> list[graph_pb2.DownloadArtifactResponse]:
    request = graph_pb2.DownloadArtifactRequest(uri=uri, offset_bytes=offset)
    return [response async for response in graph.stub.DownloadArtifact(request)]


async def test_what_goes_up_comes_down_from_anywhere(graph: Graph, store: Store) -> None:
    response = await graph.stub.UploadArtifact(sent([header(), *chunks()]))
    assert (response.size_bytes, response.media.media_type) == (len(FILE), "video/mp4")
    assert store.get(response.media.uri) == FILE
    parts = await download(graph, response.media.uri)
    assert [len(part.chunk) for part in parts] == [CHUNK_BYTES, CHUNK_BYTES, len(FILE) - 2 * CHUNK_BYTES]
    assert {part.size_bytes for part in parts} == {len(FILE)}
    for offset in (0, 1, CHUNK_BYTES, len(FILE) - 1, len(FILE)):
        rest = b"".join(part.chunk for part in await download(graph, response.media.uri, offset))
        assert rest == FILE[offset:]


@pytest.mark.parametrize(
    ("requests", "field"),
    [
        ([], "content"),
        (chunks()[:1], "content"),
        ([header(), header()], "content"),
        ([header(0)], "header.size_bytes"),
        ([header(-1)], "header.size_bytes"),
        ([header(1 << 40)], "header.size_bytes"),
        ([header(), *chunks()[:2]], "chunk"),
        ([header(len(FILE) - 1), *chunks()], "chunk"),
        ([header(), Request(chunk=FILE[: CHUNK_BYTES + 1])], "chunk"),
        ([header(media_type="film"), *chunks()], "media_type"),
    ],
)
async def test_bad_uploads_are_refused_and_leave_nothing(
    graph: Graph, store: Store, requests: list[Request], field: str
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        await graph.stub.UploadArtifact(sent(requests))
    error = from_rpc_error(caught.value)
    assert isinstance(error, InvalidArgumentError)
    assert error.field == field
    assert list(store.list()) == []


@pytest.mark.parametrize(
    ("uri", "offset", "code"),
    [
        (f"kino://sha256/{'0' * 64}", 0, grpc.StatusCode.NOT_FOUND),
        ("kino://sha256/../../passwd", 0, grpc.StatusCode.INVALID_ARGUMENT),
        ("file:///passwd", 0, grpc.StatusCode.INVALID_ARGUMENT),
        ("", -1, grpc.StatusCode.INVALID_ARGUMENT),
        ("", 6, grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_bad_downloads_are_refused(
    graph: Graph, store: Store, uri: str, offset: int, code: grpc.StatusCode
) -> None:
    known = store.put(b"bytes", "text/plain").uri
    with pytest.raises(grpc.RpcError) as caught:
        await download(graph, uri or known, offset)
    assert caught.value.code() == code


async def test_a_damaged_artifact_is_never_handed_out(graph: Graph, store: Store) -> None:
    artifact = store.put(b"bytes", "text/plain")
    (path,) = (graph.folder / "store").glob(f"sha256/??/{artifact.uri.rpartition('/')[2]}")
    path.write_bytes(b"bytez")
    with pytest.raises(grpc.RpcError) as caught:
        await download(graph, artifact.uri)
    assert caught.value.code() == grpc.StatusCode.DATA_LOSS


def pipeline(frames: tensor_pb2.Tensor) -> graph_pb2.GenerationSpec:
    """Encode and decode pixels."""
    decode = tae_pb2.TaeServiceDecodeRequest(frames=8, fps=16)
    nodes = [
        graph_pb2.PipelineNode(name="encode", tae_encode=tae_pb2.TaeServiceEncodeRequest(frames=frames)),
        graph_pb2.PipelineNode(name="decode", tae_decode=decode),
    ]
    edges = [edge("encode.latents", "decode.latents"), edge("encode.latent_space", "decode.latent_space")]
    outputs = [
        graph_pb2.PipelineOutput(name="video", source=port("decode.video")),
        graph_pb2.PipelineOutput(name="latents", source=port("encode.latents")),
    ]
    return graph_pb2.GenerationSpec(pipeline=graph_pb2.Pipeline(nodes=nodes, edges=edges, outputs=outputs))


async def test_a_pipeline_of_the_clients_own_with_pixels_inside(graph: Graph, store: Store) -> None:
    pixels = np.arange(8 * 16 * 16 * 3, dtype=np.uint8).reshape(8, 16, 16, 3)
    tensor = tensor_pb2.Tensor(dtype=tensor_pb2.DTYPE_UINT8, shape=pixels.shape, data=pixels.tobytes())
    made = await graph.make(pipeline(tensor))
    assert made.state == SUCCEEDED, made.error
    assert [(artifact.name, artifact.media.media_type) for artifact in made.artifacts] == [
        ("video", "video/matroska"),
        ("latents", "application/octet-stream"),
    ]
    kept = made.record.pipeline.nodes[0].tae_encode.frames
    assert (kept.WhichOneof("content"), made.seed) == ("uri", 0)
    assert store.get(kept.uri) == pixels.tobytes()


@pytest.mark.parametrize(
    ("tensor", "code"),
    [
        (tensor_pb2.Tensor(uri=f"kino://sha256/{'0' * 64}"), grpc.StatusCode.NOT_FOUND),
        (tensor_pb2.Tensor(uri="../../passwd"), grpc.StatusCode.INVALID_ARGUMENT),
    ],
)
async def test_a_pipeline_that_refers_to_nothing_is_refused(
    graph: Graph, tensor: tensor_pb2.Tensor, code: grpc.StatusCode
) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        await graph.create(pipeline(tensor))
    assert caught.value.code() == code


async def test_a_medium_without_a_type_is_refused_with_its_place(graph: Graph) -> None:
    export = graph_pb2.ExportRequest(video=media_pb2.Media(data=b"film"))
    node = graph_pb2.PipelineNode(name="film", export=export)
    output = graph_pb2.PipelineOutput(name="film", source=port("film.media"))
    with pytest.raises(grpc.RpcError) as caught:
        await graph.create(graph_pb2.GenerationSpec(pipeline=graph_pb2.Pipeline(nodes=[node], outputs=[output])))
    error = from_rpc_error(caught.value)
    assert isinstance(error, InvalidArgumentError)
    assert error.field == "spec.pipeline.nodes[0].export.video"
