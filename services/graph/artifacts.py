"""Artifacts in and out of the store, in chunks."""

import asyncio
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from kino.errors import FailedPreconditionError, InvalidArgumentError
from kino.files import full_is_typed
from kino.store import Store
from kino.v1 import graph_pb2, media_pb2

MAX_BYTES = 1 << 30
LINK_SECONDS = 3600
MAX_LINK_SECONDS = 7 * 24 * 3600
CHUNK_BYTES = 1 << 20
_IN_MEMORY_BYTES = 8 << 20


async def upload(
    requests: AsyncIterator[graph_pb2.UploadArtifactRequest], store: Store
) -> graph_pb2.UploadArtifactResponse:
    """Store a file that comes as one header and then chunks.

    Raises:
        InvalidArgumentError: there is no header first, a chunk is over 1 MiB, or the bytes are not as many as said.
        ValueError: the store does not take the media type.
        kino.files.FullError: no room is left.
    """
    first = await anext(requests, graph_pb2.UploadArtifactRequest())
    if first.WhichOneof("content") != "header":
        raise InvalidArgumentError("content", first.WhichOneof("content"), "a header first")
    promised, received = first.header.size_bytes, 0
    if not 1 <= promised <= MAX_BYTES:
        raise InvalidArgumentError("header.size_bytes", promised, f"from 1 to {MAX_BYTES}")
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES) as file:
        async for request in requests:
            if request.WhichOneof("content") != "chunk":
                raise InvalidArgumentError("content", request.WhichOneof("content"), "a chunk after the header")
            if len(request.chunk) > CHUNK_BYTES:
                raise InvalidArgumentError("chunk", f"{len(request.chunk)} bytes", f"at most {CHUNK_BYTES} bytes")
            received += len(request.chunk)
            if received > promised:
                break
            with full_is_typed(Path(tempfile.gettempdir())):
                await asyncio.to_thread(file.write, request.chunk)
        if received != promised:
            count = f"{received} bytes" if received < promised else f"more than {promised} bytes"
            raise InvalidArgumentError("chunk", count, f"the {promised} bytes of header.size_bytes in all")
        file.seek(0)
        artifact = await asyncio.to_thread(store.put, file, first.header.media_type)  # type: ignore[arg-type]
    media = media_pb2.Media(media_type=artifact.media_type, uri=artifact.uri)
    return graph_pb2.UploadArtifactResponse(media=media, size_bytes=artifact.size_bytes)


async def link(request: graph_pb2.LinkArtifactRequest, store: Store) -> graph_pb2.LinkArtifactResponse:
    """Return a link to a file.

    Raises:
        InvalidArgumentError: the time is longer than a store's links may last, or negative.
        FailedPreconditionError: the store has no server that anybody could be sent to.
        ValueError: the address is malformed.
        kino.store.StoreError: the artifact is missing, or the store does not answer.
    """
    seconds = request.seconds or LINK_SECONDS
    if not 1 <= seconds <= MAX_LINK_SECONDS:
        raise InvalidArgumentError("seconds", request.seconds, f"from 0 to {MAX_LINK_SECONDS}")
    expires = datetime.now(UTC) + timedelta(seconds=seconds)
    url = await asyncio.to_thread(store.link, request.uri, seconds)
    if url is None:
        raise FailedPreconditionError("the store is a folder, which has no server to link to: download the file")
    response = graph_pb2.LinkArtifactResponse(url=url)
    response.expire_time.FromDatetime(expires)
    return response


async def download(
    request: graph_pb2.DownloadArtifactRequest, store: Store
) -> AsyncGenerator[graph_pb2.DownloadArtifactResponse]:
    """Yield a file from an offset on; a download that begins at its end gives one empty chunk.

    Raises:
        InvalidArgumentError: the offset lies outside of the file.
        ValueError: the address is malformed.
        kino.store.StoreError: the artifact is missing or damaged.
    """
    size_bytes = (await asyncio.to_thread(store.stat, request.uri)).size_bytes
    if not 0 <= request.offset_bytes <= size_bytes:
        raise InvalidArgumentError("offset_bytes", request.offset_bytes, f"from 0 to {size_bytes}")
    with await asyncio.to_thread(store.open, request.uri) as file:
        file.seek(request.offset_bytes)
        while True:
            chunk = await asyncio.to_thread(file.read, CHUNK_BYTES)
            yield graph_pb2.DownloadArtifactResponse(chunk=chunk, size_bytes=size_bytes)
            if file.tell() >= size_bytes:
                return
