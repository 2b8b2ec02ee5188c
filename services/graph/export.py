"""Files for people: films as H.264 in MP4 with a contact sheet, pictures as PNG. Done by the graph itself."""

import hashlib
import io
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from importlib.metadata import version
from pathlib import Path
from typing import BinaryIO

import numpy as np

from kino.compute import ComputeQueue
from kino.errors import InvalidArgumentError
from kino.footage import iter_frames, probe
from kino.images import PNG, contact_sheet, encode_png, spread
from kino.media import MEDIA_TYPES, VideoWriter
from kino.store import Store
from kino.v1 import graph_pb2, info_pb2, media_pb2, progress_pb2
from services.graph.calls import GRAPH, Event

SOFTWARE = version("kino")
_SHEET_FRAMES = 16
_CHUNK_FRAMES = 16
_MAX_WAITING = 1000


class Exporter:
    """Exports one video at a time, in a thread of its own."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._queue = ComputeQueue(GRAPH, _MAX_WAITING)

    def close(self) -> None:
        """End the thread."""
        self._queue.close()

    def describe(self) -> info_pb2.Info:
        """Return what decides an exported file's bytes beside the video: the versions of this software and FFmpeg."""
        encoder = f"av-{version('av')}"
        digest = hashlib.sha256(f"{SOFTWARE} {encoder}".encode()).hexdigest()
        return info_pb2.Info(
            component=GRAPH, version=encoder, digest=digest, device="cpu", ready=True, software=SOFTWARE
        )

    async def export(self, request: graph_pb2.ExportRequest) -> AsyncGenerator[Event]:
        """Yield the progress in frames, and last the files.

        Raises:
            ValueError: the video is no video, or the format is unknown.
            kino.store.StoreError: the video is missing or damaged.
            kino.files.FullError: no room is left.
        """
        steps = {
            graph_pb2.EXPORT_FORMAT_UNSPECIFIED: self._film,
            graph_pb2.EXPORT_FORMAT_FILM: self._film,
            graph_pb2.EXPORT_FORMAT_IMAGE: self._image,
        }
        if request.format not in steps:
            raise InvalidArgumentError("export.format", request.format, "one of FILM, IMAGE")
        events = self._queue.iterate(steps[request.format](request.video))
        async with self._queue.turn(), aclosing(events):
            async for event in events:
                yield event

    def _film(self, video: media_pb2.Media) -> Iterator[Event]:
        with tempfile.TemporaryDirectory(prefix="kino-export-") as folder:
            path = Path(folder) / "film.mp4"
            with self._open(video) as source:
                info = probe(source)
                wanted, kept, count = spread(info.num_frames, _SHEET_FRAMES), [], 0
                yield _progress(0, info.num_frames)
                with VideoWriter(path, info.fps, info.height, info.width, "h264") as writer:
                    for frames in iter_frames(source, _CHUNK_FRAMES):
                        writer.write(frames)
                        kept += [frames[index - count] for index in wanted if 0 <= index - count < len(frames)]
                        count += len(frames)
                        yield _progress(count, info.num_frames)
            film = self._put(path, MEDIA_TYPES["h264"])
        sheet = self._put(encode_png(contact_sheet(np.stack(kept))), PNG)
        yield graph_pb2.ExportResponse(media=film, contact_sheet=sheet)

    def _image(self, video: media_pb2.Media) -> Iterator[Event]:
        yield _progress(0, 1)
        with self._open(video) as source:
            frame = next(iter_frames(source, 1))[0]
        yield graph_pb2.ExportResponse(media=self._put(encode_png(frame), PNG))

    def _open(self, video: media_pb2.Media) -> BinaryIO:
        return self._store.open(video.uri) if video.uri else io.BytesIO(video.data)

    def _put(self, file: bytes | Path, media_type: str) -> media_pb2.Media:
        artifact = self._store.put(file, media_type)
        return media_pb2.Media(media_type=media_type, uri=artifact.uri)


def _progress(step: int, of: int) -> progress_pb2.Progress:
    return progress_pb2.Progress(phase=progress_pb2.PHASE_RUNNING, step=step, of=of)
