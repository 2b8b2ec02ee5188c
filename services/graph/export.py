"""Files for people: films in MP4, with sound where they have it, pictures and sounds. Done by the graph itself."""

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
from kino.errors import InternalError, InvalidArgumentError
from kino.footage import iter_frames, probe
from kino.images import PNG, contact_sheet, encode_png, spread
from kino.media import LONG_VIDEOS, MEDIA_TYPES, Frames, Limits, Source, VideoInfo, VideoWriter
from kino.shapes import audio_samples
from kino.sound import WAV, iter_sound, write_sound
from kino.soundtrack import FLAC, M4A, can_copy, mux, write_flac, write_m4a
from kino.store import Store
from kino.v1 import graph_pb2, info_pb2, media_pb2, progress_pb2
from services.graph.calls import GRAPH, Event

SOFTWARE = version("kino")
_SHEET_FRAMES = 16
_CHUNK_FRAMES = 16
_MAX_WAITING = 1000
_SOUNDS = {
    graph_pb2.EXPORT_FORMAT_WAV: (WAV, write_sound),
    graph_pb2.EXPORT_FORMAT_FLAC: (FLAC, write_flac),
    graph_pb2.EXPORT_FORMAT_M4A: (M4A, write_m4a),
}


class Exporter:
    """Exports one video or sound at a time, in a thread of its own."""

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
        """Yield the progress, in frames where they are encoded, and last the files.

        Raises:
            ValueError: the video is no video, the sound no sound or of another length, or the format is unknown or of
                something that is not there.
            InternalError: the file that was made is not what was asked for.
            kino.store.StoreError: the video or the sound is missing or damaged.
            kino.files.FullError: no room is left.
        """
        events = self._queue.iterate(self._steps(request))
        async with self._queue.turn(), aclosing(events):
            async for event in events:
                yield event

    def _steps(self, request: graph_pb2.ExportRequest) -> Iterator[Event]:
        steps = {
            graph_pb2.EXPORT_FORMAT_UNSPECIFIED: self._film,
            graph_pb2.EXPORT_FORMAT_FILM: self._film,
            graph_pb2.EXPORT_FORMAT_IMAGE: self._image,
            graph_pb2.EXPORT_FORMAT_COPY: self._copy,
            **dict.fromkeys(_SOUNDS, self._sound),
        }
        if request.format not in steps:
            known = ", ".join(name.removeprefix("EXPORT_FORMAT_") for name in graph_pb2.ExportFormat.keys()[1:])
            raise InvalidArgumentError("export.format", request.format, f"one of {known}")
        is_sound = request.format in _SOUNDS
        if not is_sound and not request.HasField("video"):
            raise InvalidArgumentError("export.video", "", "set for this format")
        if (is_sound or request.format == graph_pb2.EXPORT_FORMAT_COPY) and not request.HasField("sound"):
            raise InvalidArgumentError("export.sound", "", "set for this format")
        return steps[request.format](request)

    def _film(self, request: graph_pb2.ExportRequest) -> Iterator[Event]:
        shown: list[Frames] = []
        with tempfile.TemporaryDirectory(prefix="kino-export-") as folder, self._open(request.video) as source:
            path, info = Path(folder) / "film.mp4", probe(source)
            yield from _encoded(source, path, info, Limits(), shown)
            film = self._scored(path, request, info, Path(folder))
        sheet = self._put(encode_png(contact_sheet(np.stack(shown))), PNG)
        yield _response(request, graph_pb2.ExportResponse(media=film, contact_sheet=sheet))

    def _copy(self, request: graph_pb2.ExportRequest) -> Iterator[Event]:
        with tempfile.TemporaryDirectory(prefix="kino-export-") as folder, self._open(request.video) as source:
            path, info = Path(folder) / "film.mp4", probe(source, LONG_VIDEOS)
            if can_copy(source, LONG_VIDEOS):
                yield _progress(0, 1)
                film = self._scored(source, request, info, Path(folder))
            else:
                yield from _encoded(source, path, info, LONG_VIDEOS, [])
                film = self._scored(path, request, info, Path(folder))
        yield _response(request, graph_pb2.ExportResponse(media=film))

    def _image(self, request: graph_pb2.ExportRequest) -> Iterator[Event]:
        yield _progress(0, 1)
        with self._open(request.video) as source:
            frame = next(iter_frames(source, 1))[0]
        yield graph_pb2.ExportResponse(media=self._put(encode_png(frame), PNG))

    def _sound(self, request: graph_pb2.ExportRequest) -> Iterator[Event]:
        yield _progress(0, 1)
        media_type, write = _SOUNDS[request.format]
        with tempfile.TemporaryDirectory(prefix="kino-export-") as folder, self._open(request.sound) as source:
            path = Path(folder) / "sound"
            write(path, iter_sound(source, channels=None, limits=LONG_VIDEOS))
            sound = self._put(path, media_type)
        yield _response(request, graph_pb2.ExportResponse(media=sound))

    def _scored(
        self, video: Source, request: graph_pb2.ExportRequest, info: VideoInfo, folder: Path
    ) -> media_pb2.Media:
        """Keep a film with the sound that was asked for, if any, once it is what was promised."""
        path = video if isinstance(video, Path) else folder / "film.mp4"
        if request.HasField("sound"):
            path = folder / "sound.mp4"
            with self._open(request.sound) as sound:
                mux(video, iter_sound(sound, channels=None, limits=LONG_VIDEOS), path, LONG_VIDEOS)
        _check(path, request.HasField("sound"), audio_samples(info.num_frames, info.fps))
        return self._put(path, MEDIA_TYPES["h264"])

    def _open(self, media: media_pb2.Media) -> BinaryIO:
        return self._store.open(media.uri) if media.uri else io.BytesIO(media.data)

    def _put(self, file: bytes | Path, media_type: str) -> media_pb2.Media:
        artifact = self._store.put(file, media_type)
        return media_pb2.Media(media_type=media_type, uri=artifact.uri)


def _encoded(source: BinaryIO, path: Path, info: VideoInfo, limits: Limits, shown: list[Frames]) -> Iterator[Event]:
    """Write a video as H.264, yield how many frames are done, and leave those of the contact sheet in `shown`."""
    wanted, count = spread(info.num_frames, _SHEET_FRAMES), 0
    yield _progress(0, info.num_frames)
    with VideoWriter(path, info.fps, info.height, info.width, "h264") as writer:
        for frames in iter_frames(source, _CHUNK_FRAMES, limits):
            writer.write(frames)
            shown += [frames[index - count] for index in wanted if 0 <= index - count < len(frames)]
            count += len(frames)
            yield _progress(count, info.num_frames)


def _check(path: Path, has_sound: bool, samples: int) -> None:
    """Hold a film to its promise: a track of sound if and only if it was asked for, exactly as long as the pictures.

    Raises:
        InternalError: it is not so.
    """
    num_tracks = probe(path, LONG_VIDEOS).num_tracks
    if num_tracks != has_sound:
        raise InternalError(f"the film has {num_tracks} tracks of sound, must have {int(has_sound)}")
    if has_sound:
        heard = sum(part.shape[1] for part in iter_sound(path, limits=LONG_VIDEOS))
        if heard != samples:
            raise InternalError(f"the sound of the film is {heard} samples long, must be {samples}")


def _response(request: graph_pb2.ExportRequest, response: graph_pb2.ExportResponse) -> graph_pb2.ExportResponse:
    """Return the files with the figures of the sound in them."""
    if request.HasField("sound") and request.HasField("figures"):
        response.figures.CopyFrom(request.figures)
    return response


def _progress(step: int, of: int) -> progress_pb2.Progress:
    return progress_pb2.Progress(phase=progress_pb2.PHASE_RUNNING, step=step, of=of)
