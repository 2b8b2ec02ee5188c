"""What the graph does itself: files for people, and files of people made fit for models."""

import hashlib
import io
import tempfile
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import ExitStack, aclosing
from dataclasses import replace
from importlib.metadata import version
from itertools import chain, repeat
from pathlib import Path
from typing import BinaryIO

import numpy as np

from kino.compositing import EVERYWHERE, GOING, STILL_SECONDS, changes, composite, faded
from kino.compute import ComputeQueue
from kino.errors import InternalError, InvalidArgumentError
from kino.footage import iter_frames, probe
from kino.images import PNG, contact_sheet, encode_png, spread
from kino.media import EDITED_VIDEOS, LONG_VIDEOS, MEDIA_TYPES, Codec, Frames, Source, VideoInfo, VideoWriter
from kino.shapes import audio_samples
from kino.sound import WAV, fitted, iter_sound, write_sound
from kino.soundtrack import FLAC, M4A, can_copy, mux, write_flac, write_m4a
from kino.store import Store
from kino.v1 import graph_pb2, info_pb2, media_pb2
from kino.v1.editor_pb2 import EditTask
from services.graph.calls import GRAPH, Event, progress
from services.graph.conform import conformed

SOFTWARE = version("kino")
_SHEET_FRAMES = 16
_CHUNK_FRAMES = 16
_MAX_WAITING = 1000
_LIMITS = replace(EDITED_VIDEOS, max_bytes=1 << 34)  # what stages leave, which only disks bound
_WHOLE = (
    graph_pb2.EXPORT_FORMAT_UNSPECIFIED,
    graph_pb2.EXPORT_FORMAT_FILM,
    graph_pb2.EXPORT_FORMAT_LOSSLESS,
)
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

    async def conform(self, request: graph_pb2.ConformRequest) -> AsyncGenerator[Event]:
        """Yield the progress in frames, and last what a model takes; raises as `export`, or for what is too long."""
        async with aclosing(self._turn(self._conformed(request))) as events:
            async for event in events:
                yield event

    async def export(self, request: graph_pb2.ExportRequest) -> AsyncGenerator[Event]:
        """Yield the progress, in frames where they are encoded, and last the files.

        Raises:
            ValueError: the video is no video, the sound no sound or of another length, or the format is unknown or of
                something that is not there.
            InternalError: the file that was made is not what was asked for.
            kino.store.StoreError: the video or the sound is missing or damaged.
            kino.files.FullError: no room is left.
        """
        async with aclosing(self._turn(self._steps(request))) as events:
            async for event in events:
                yield event

    async def _turn(self, steps: Iterator[Event]) -> AsyncGenerator[Event]:
        events = self._queue.iterate(steps)
        async with self._queue.turn(), aclosing(events):
            async for event in events:
                yield event

    def _conformed(self, request: graph_pb2.ConformRequest) -> Iterator[Event]:
        with tempfile.TemporaryDirectory(prefix="kino-conform-") as folder, self._open(request.media) as source:
            path = Path(folder) / "video.mkv"
            num_frames = yield from conformed(request, source, path)
            video = self._put(path, MEDIA_TYPES["ffv1"])
        yield graph_pb2.ConformResponse(video=video, frames=num_frames)

    def _steps(self, request: graph_pb2.ExportRequest) -> Iterator[Event]:
        steps = {
            graph_pb2.EXPORT_FORMAT_UNSPECIFIED: self._film,
            graph_pb2.EXPORT_FORMAT_FILM: self._film,
            graph_pb2.EXPORT_FORMAT_IMAGE: self._image,
            graph_pb2.EXPORT_FORMAT_COPY: self._copy,
            graph_pb2.EXPORT_FORMAT_LOSSLESS: self._film,
            **dict.fromkeys(_SOUNDS, self._sound),
        }
        if request.format not in steps:
            known = ", ".join(name.removeprefix("EXPORT_FORMAT_") for name in graph_pb2.ExportFormat.keys()[1:])
            raise InvalidArgumentError("export.format", request.format, f"one of {known}")
        _check_parts(request)
        return steps[request.format](request)

    def _film(self, request: graph_pb2.ExportRequest) -> Iterator[Event]:
        codec: Codec = "ffv1" if request.format == graph_pb2.EXPORT_FORMAT_LOSSLESS else "h264"
        shown: list[Frames] = []
        with tempfile.TemporaryDirectory(prefix="kino-export-") as folder, self._open(request.video) as source:
            path = Path(folder) / "film"
            with ExitStack() as files:
                info, frames = self._frames(request, source, files)
                yield from _encoded(frames, path, info, codec, shown)
            if codec == "ffv1":
                yield graph_pb2.ExportResponse(media=self._put(path, MEDIA_TYPES[codec]))
                return
            film = self._scored(path, request, info, Path(folder), source)
        sheet = self._put(encode_png(contact_sheet(np.stack(shown))), PNG)
        yield _response(request, graph_pb2.ExportResponse(media=film, contact_sheet=sheet))

    def _frames(
        self, request: graph_pb2.ExportRequest, source: BinaryIO, files: ExitStack
    ) -> tuple[VideoInfo, Iterator[Frames]]:
        """Return the extent of a video and its frames [t h w c=3], with the change in them where there is one."""
        info, frames = probe(source, _LIMITS), iter_frames(source, _CHUNK_FRAMES, _LIMITS)
        if not request.HasField("edited"):
            return info, frames
        edited, before = (files.enter_context(self._open(file)) for file in (request.edited, request.reconstruction))
        made_info = probe(edited, _LIMITS)
        shown = chain.from_iterable(iter_frames(edited, 1, _LIMITS))
        own: Iterator[Frames] = chain.from_iterable(frames)
        unchanged: Iterator[Frames] = chain.from_iterable(iter_frames(before, 1, _LIMITS))
        begins = info.num_frames == probe(before, _LIMITS).num_frames == 1 < made_info.num_frames
        if begins:
            own, unchanged = (repeat(next(still), made_info.num_frames) for still in (own, unchanged))
            info = replace(info, num_frames=made_info.num_frames, fps=made_info.fps)
        made = changes(shown, unchanged, everywhere=request.task in _tasks(EVERYWHERE))
        if begins:
            made = faded(made, round(STILL_SECONDS * made_info.fps))
        composed = composite(own, info.fps, made, made_info.fps, request.task in _tasks(GOING))
        return info, (frame[None] for frame in composed)

    def _copy(self, request: graph_pb2.ExportRequest) -> Iterator[Event]:
        with tempfile.TemporaryDirectory(prefix="kino-export-") as folder, self._open(request.video) as source:
            path, info = Path(folder) / "film.mp4", probe(source, LONG_VIDEOS)
            if can_copy(source, LONG_VIDEOS):
                yield progress(0, 1)
                film = self._scored(source, request, info, Path(folder), source)
            else:
                yield from _encoded(iter_frames(source, _CHUNK_FRAMES, LONG_VIDEOS), path, info, "h264", [])
                film = self._scored(path, request, info, Path(folder), source)
        yield _response(request, graph_pb2.ExportResponse(media=film))

    def _image(self, request: graph_pb2.ExportRequest) -> Iterator[Event]:
        yield progress(0, 1)
        with self._open(request.video) as source:
            frame = next(iter_frames(source, 1))[0]
        yield graph_pb2.ExportResponse(media=self._put(encode_png(frame), PNG))

    def _sound(self, request: graph_pb2.ExportRequest) -> Iterator[Event]:
        yield progress(0, 1)
        media_type, write = _SOUNDS[request.format]
        with tempfile.TemporaryDirectory(prefix="kino-export-") as folder, self._open(request.sound) as source:
            path = Path(folder) / "sound"
            write(path, iter_sound(source, channels=None, limits=LONG_VIDEOS))
            sound = self._put(path, media_type)
        yield _response(request, graph_pb2.ExportResponse(media=sound))

    def _scored(
        self, video: Source, request: graph_pb2.ExportRequest, info: VideoInfo, folder: Path, source: BinaryIO
    ) -> media_pb2.Media:
        """Keep a film with the sound that was asked for, if any, once it is what was promised.

        Args:
            source: the video that the film was made of, whose own sound it may keep.
        """
        path = video if isinstance(video, Path) else folder / "film.mp4"
        samples = audio_samples(info.num_frames, info.fps)
        with ExitStack() as files:
            sound, keeps = self._track(request, info, source, files)
            if sound is not None:
                path = folder / "sound.mp4"
                heard = iter_sound(sound, channels=None, limits=LONG_VIDEOS)
                mux(video, fitted(heard, samples) if keeps else heard, path, LONG_VIDEOS)
        _check(path, sound is not None, samples)
        return self._put(path, MEDIA_TYPES["h264"])

    def _track(
        self, request: graph_pb2.ExportRequest, info: VideoInfo, source: BinaryIO, files: ExitStack
    ) -> tuple[BinaryIO | None, bool]:
        """Return what holds the sound of a film, if it is to have any, and whether that is kept of a video."""
        if request.HasField("sound"):
            return files.enter_context(self._open(request.sound)), False
        if request.HasField("sound_of"):
            source = files.enter_context(self._open(request.sound_of))
            return (source if probe(source, LONG_VIDEOS).num_tracks else None), True
        return (source if request.keep_sound and info.num_tracks else None), True

    def _open(self, media: media_pb2.Media) -> BinaryIO:
        return self._store.open(media.uri) if media.uri else io.BytesIO(media.data)

    def _put(self, file: bytes | Path, media_type: str) -> media_pb2.Media:
        artifact = self._store.put(file, media_type)
        return media_pb2.Media(media_type=media_type, uri=artifact.uri)


def _check_parts(request: graph_pb2.ExportRequest) -> None:
    """Refuse a request that lacks what its format is made of, or has what nothing can be made of."""
    is_sound = request.format in _SOUNDS
    needed = {"video": not is_sound, "sound": is_sound or request.format == graph_pb2.EXPORT_FORMAT_COPY}
    for field, is_needed in needed.items():
        if is_needed and not request.HasField(field):  # type: ignore[arg-type]
            raise InvalidArgumentError(f"export.{field}", "", "set for this format")
    if request.HasField("edited") != request.HasField("reconstruction"):
        missing = "edited" if request.HasField("reconstruction") else "reconstruction"
        raise InvalidArgumentError(f"export.{missing}", "", "set where the other one is")
    if request.HasField("edited") and request.format not in _WHOLE:
        raise InvalidArgumentError("export.edited", "", "left out for this format")
    kept = [name for name in ("keep_sound", "sound_of") if _asked(request, name)]
    if kept and (len(kept) > 1 or request.HasField("sound") or request.format not in _WHOLE):
        raise InvalidArgumentError(f"export.{kept[-1]}", True, "left out where there is a sound, and but for films")


def _asked(request: graph_pb2.ExportRequest, field: str) -> bool:
    return any(descriptor.name == field for descriptor, _ in request.ListFields())


def _encoded(
    chunks: Iterable[Frames], path: Path, info: VideoInfo, codec: Codec, shown: list[Frames]
) -> Iterator[Event]:
    """Write frames, yield how many are done, and leave those of the contact sheet in `shown`."""
    wanted, count = spread(info.num_frames, _SHEET_FRAMES), 0
    yield progress(0, info.num_frames)
    with VideoWriter(path, info.fps, info.height, info.width, codec) as writer:
        for frames in chunks:
            writer.write(frames)
            shown += [frames[index - count] for index in wanted if 0 <= index - count < len(frames)]
            count += len(frames)
            yield progress(count, info.num_frames)


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


def _tasks(names: Sequence[str]) -> set[int]:
    """Numbers of edits on the wire."""
    return {EditTask.Value(f"EDIT_TASK_{name.upper()}") for name in names}
