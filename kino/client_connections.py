"""Connections of the client, and the files that travel over them."""

import asyncio
import hashlib
import io
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import urlopen

import grpc

from kino import rpc
from kino.errors import (
    DataLossError,
    FailedPreconditionError,
    InternalError,
    UnavailableError,
    UnimplementedError,
    from_rpc_error,
)
from kino.v1 import graph_pb2, graph_pb2_grpc

_CHUNK_BYTES = 1 << 20
_LINK_SECONDS = 10.0  # of each wait for the store's server, before a file comes through the graph
_log = logging.getLogger("kino.client")


@contextmanager
def typed_errors() -> Iterator[None]:
    """Raise the `KinoError` that a failed call stands for."""
    try:
        yield
    except grpc.RpcError as error:
        raise from_rpc_error(error) from None


class Connections:
    """One channel per service, opened when it is first needed.

    Args:
        addresses: `host:port` by service name. The graph tells the addresses of services that are not named.
    """

    def __init__(self, addresses: Mapping[str, str]) -> None:
        self.addresses = dict(addresses)
        self._channels: dict[str, grpc.aio.Channel] = {}

    async def channel(self, name: str) -> grpc.aio.Channel:
        """Return the channel of a service; raises `UnavailableError` where nobody knows its address."""
        if name not in self._channels:
            if name not in self.addresses:
                await self._ask_graph(name)
            self._channels[name] = rpc.channel(self.addresses[name])
        return self._channels[name]

    async def close(self) -> None:
        """Close every channel; calls that still run are cancelled."""
        while self._channels:
            await self._channels.popitem()[1].close()

    async def _ask_graph(self, name: str) -> None:
        if "graph" not in self.addresses:
            raise UnavailableError(f"the address of the {name} is not known: name it, or the graph's")
        stub = graph_pb2_grpc.GraphServiceStub(await self.channel("graph"))
        with typed_errors():
            description = await stub.Describe(graph_pb2.GraphServiceDescribeRequest())
        told = {part.component: part.address for part in description.parts}
        if name not in told:
            raise UnavailableError(f"the graph calls no {name}, only {', '.join(sorted(told))}")
        self.addresses = told | self.addresses


@dataclass(frozen=True)
class Link:
    """What anyone may download a file from by plain HTTP, and until when."""

    url: str
    expires: datetime


class AsyncArtifacts:
    """The files of a graph's store.

    Args:
        by_links: download from the store's own server where the graph gives links that open from here.
    """

    def __init__(self, connections: Connections, by_links: bool = False) -> None:
        self._connections, self._by_links = connections, by_links

    async def upload(self, data: bytes | Path, media_type: str) -> str:
        """Store a file, given by its bytes or its path, for example as "video/mp4", and return its uri."""
        stub = await self._stub()
        with typed_errors():
            return (await stub.UploadArtifact(_upload_messages(data, media_type))).media.uri

    async def download(self, uri: str) -> bytes:
        """Return the bytes of a file; raises `DataLossError` where they are not those that the uri names."""
        data = (await self._linked(uri) if self._by_links else None) or await self._streamed(uri)
        digest = hashlib.sha256(data).hexdigest()
        if digest != uri.rpartition("/")[2]:
            raise DataLossError(f"{uri} arrived damaged: its SHA-256 is {digest}")
        return data

    async def link(self, uri: str, seconds: int = 3600) -> Link:
        """Return a link to a file.

        Raises:
            FailedPreconditionError: the graph's store is a folder, which has no server.
            NotFoundError: there is no such file.
            InvalidArgumentError: `seconds` are not 1 to 604800, a week.
        """
        stub = await self._stub()
        with typed_errors():
            response = await stub.LinkArtifact(graph_pb2.LinkArtifactRequest(uri=uri, seconds=seconds))
        return Link(response.url, response.expire_time.ToDatetime(UTC))

    async def _linked(self, uri: str) -> bytes | None:
        """Return a file from the store's server; None where the graph gives no link, or it does not open from here."""
        try:
            link = await self.link(uri)
            return await asyncio.to_thread(_fetch, link.url)
        except (FailedPreconditionError, UnimplementedError, OSError) as error:
            _log.info("%s comes through the graph: %s", uri, error)
            return None

    async def _streamed(self, uri: str) -> bytes:
        stub, data = await self._stub(), bytearray()
        with typed_errors():
            async for response in stub.DownloadArtifact(graph_pb2.DownloadArtifactRequest(uri=uri)):
                data += response.chunk
        return bytes(data)

    async def of(self, generation: graph_pb2.Generation, name: str) -> bytes:
        """Return the bytes of an artifact of a generation, by the name of the pipeline's output."""
        for artifact in generation.artifacts:
            if artifact.name == name:
                return await self.download(artifact.media.uri)
        raise InternalError(f"generation {generation.id} has no artifact {name!r}")

    async def _stub(self) -> "graph_pb2_grpc.GraphServiceAsyncStub":
        return graph_pb2_grpc.GraphServiceStub(await self._connections.channel("graph"))


def _fetch(url: str) -> bytes:
    """Return what lies behind a link of the graph's; raises OSError."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise OSError(f"the link is {url[:40]!r}, must be http or https")
    try:
        with urlopen(url, timeout=_LINK_SECONDS) as response:
            content: bytes = response.read()
    except HTTPException as error:
        raise OSError(f"the link broke off: {error}") from error
    return content


def _upload_messages(data: bytes | Path, media_type: str) -> Iterator[graph_pb2.UploadArtifactRequest]:
    size_bytes = len(data) if isinstance(data, bytes) else data.stat().st_size
    yield graph_pb2.UploadArtifactRequest(header=graph_pb2.UploadHeader(media_type=media_type, size_bytes=size_bytes))
    with io.BytesIO(data) if isinstance(data, bytes) else data.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield graph_pb2.UploadArtifactRequest(chunk=chunk)
