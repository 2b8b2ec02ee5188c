"""Links to artifacts, from a graph over a folder and over a real MinIO."""

import argparse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import urllib3

from kino import cli_graph
from kino.bucket_store import BucketStore
from kino.client import AsyncKino
from kino.errors import DataLossError, FailedPreconditionError, InvalidArgumentError, NotFoundError
from kino.rpc import Server
from kino.store import Store, open_store
from kino.v1 import graph_pb2, graph_pb2_grpc
from services.graph import artifacts

FILM = b"film" * 500_000


class Files(graph_pb2_grpc.GraphServiceServicer):
    """The graph as far as it hands out files; `streamed` counts those that came through it."""

    def __init__(self, store: Store) -> None:
        self.store, self.streamed = store, 0

    async def DownloadArtifact(self, request: Any, context: Any) -> AsyncIterator[graph_pb2.DownloadArtifactResponse]:
        self.streamed += 1
        async for response in artifacts.download(request, self.store):
            yield response

    async def LinkArtifact(self, request: Any, context: Any) -> graph_pb2.LinkArtifactResponse:
        return await artifacts.link(request, self.store)


@asynccontextmanager
async def serving(store: Store, by_links: bool = True) -> AsyncIterator[tuple[Files, AsyncKino, str]]:
    files, server = Files(store), Server()  # type: ignore[abstract]  # what else a graph does is not called
    server.add(files, graph_pb2_grpc.add_GraphServiceServicer_to_server, "kino.v1.GraphService")
    address = f"127.0.0.1:{await server.start()}"
    await server.ready(True)
    async with AsyncKino(address, by_links=by_links) as kino:
        yield files, kino, address
    await server.stop()


async def test_a_folder_has_no_links_and_its_files_come_through_the_graph(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    uri = store.put(FILM, "video/mp4").uri
    async with serving(store) as (files, kino, _):
        with pytest.raises(FailedPreconditionError, match="the store is a folder, which has no server to link to"):
            await kino.artifacts.link(uri)
        assert await kino.artifacts.download(uri) == FILM
        assert files.streamed == 1


async def test_a_link_opens_to_anyone_until_it_expires(bucket_url: str, capsys: pytest.CaptureFixture[str]) -> None:
    store = open_store(bucket_url)
    uri = store.put(FILM, "video/mp4").uri
    async with serving(store) as (_, kino, address):
        link = await kino.artifacts.link(uri, 60)
        left = link.expires - datetime.now(UTC)
        assert timedelta(seconds=30) < left <= timedelta(seconds=60)
        assert "X-Amz-Expires=60&" in link.url
        assert urllib3.PoolManager(retries=False).request("GET", link.url).data == FILM
        for seconds in (-1, 604801):
            with pytest.raises(InvalidArgumentError, match="from 0 to 604800") as caught:
                await kino.artifacts.link(uri, seconds)
            assert caught.value.field == "seconds"
        with pytest.raises(NotFoundError):
            await kino.artifacts.link(f"kino://sha256/{'0' * 64}")
        given = argparse.Namespace(address=address, uri=uri, seconds=0, json=False)
        assert await cli_graph.link(given) == 0
        assert "X-Amz-Expires=3600&" in capsys.readouterr().out


@pytest.mark.parametrize("by_links", [True, False])
async def test_a_client_that_asks_for_links_spares_the_graph_the_bytes(bucket_url: str, by_links: bool) -> None:
    store = open_store(bucket_url)
    uri = store.put(FILM, "video/mp4").uri
    async with serving(store, by_links) as (files, kino, _):
        assert await kino.artifacts.download(uri) == FILM
        assert files.streamed == (0 if by_links else 1)


async def test_a_link_that_does_not_open_from_here_costs_no_film(bucket_url: str, free_port: int) -> None:
    uri = open_store(bucket_url).put(FILM, "video/mp4").uri
    inside = open_store(f"{bucket_url}&public_endpoint=http://127.0.0.1:{free_port}")
    async with serving(inside) as (files, kino, _):
        assert await kino.artifacts.download(uri) == FILM
        assert files.streamed == 1


async def test_other_bytes_behind_a_link_are_refused(bucket_url: str) -> None:
    store = open_store(bucket_url)
    assert isinstance(store, BucketStore)
    uri = store.put(FILM, "video/mp4").uri
    digest = uri.rpartition("/")[2]
    store.bucket.write(f"sha256/{digest[:2]}/{digest}", b"another film")
    async with serving(store) as (_, kino, _):
        with pytest.raises(DataLossError, match="arrived damaged"):
            await kino.artifacts.download(uri)
