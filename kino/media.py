"""Films as files: lossless video between stages, H.264 for people.

Frames are uint8 [t h w c=3], sRGB with Rec. 709 primaries. Frame rates are exact fractions in frames per second. Files
from outside are opened under `Limits`, from bytes alone: no file can make the reader follow a name to another one.
"""

import io
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, NoReturn, Self

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray

from kino.files import full_is_typed

Frames = NDArray[np.uint8]
Source = bytes | Path | BinaryIO
Codec = Literal["ffv1", "h264"]

MEDIA_TYPES: dict[Codec, str] = {"ffv1": "video/matroska", "h264": "video/mp4"}

_CONTAINERS = "matroska,webm,mov,mp4"
_DECODERS = "ffv1,h264,hevc,vp8,vp9,av1,libdav1d,mpeg4,mjpeg,png"
_EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP | Interpolation.BITEXACT


@dataclass(frozen=True)
class Limits:
    """The largest file that is read: its bytes, the pixels of one frame, and the frames."""

    max_bytes: int = 256 << 20
    max_pixels: int = 1920 * 1088
    max_frames: int = 1024


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds. `codec` is FFmpeg's name of it."""

    num_frames: int
    fps: Fraction
    height: int
    width: int
    codec: str

    @property
    def duration_seconds(self) -> Fraction:
        """Return the exact length in seconds."""
        return self.num_frames / self.fps


class VideoWriter:
    """Writes a video file as its frames come, in memory for one frame. Use as a context manager.

    `ffv1` in Matroska gives back exactly the same frames. `h264` in MP4 is 4:2:0 and thus even in height and width: an
    odd side gets its last row or column twice. Its index lies before its frames (faststart), and it is tagged Rec. 709.
    Equal frames give equal bytes. A file whose frames ended in an exception is removed.

    Raises:
        ValueError: a bound is broken: no frames, frames of another size or type, fps of zero or less.
        kino.files.FullError: no room is left.
    """

    def __init__(self, path: Path, fps: Fraction | int, height: int, width: int, codec: Codec) -> None:
        if fps <= 0:
            raise ValueError(f"fps is {fps}, must be greater than 0")
        if height < 1 or width < 1:
            raise ValueError(f"size is {height}x{width}, must be at least 1x1")
        self.path, self.fps, self.codec, self.num_frames = path, Fraction(fps), codec, 0
        self._height, self._width = height, width
        container, options = ("matroska", {}) if codec == "ffv1" else ("mp4", {"movflags": "+faststart"})
        with full_is_typed(path.parent):
            self._container = av.open(str(path.resolve()), "w", container, {"fflags": "+bitexact", **options})
        add = _add_ffv1 if codec == "ffv1" else _add_h264
        self._stream = add(self._container, self.fps, *self._file_size())

    @property
    def info(self) -> VideoInfo:
        """Return what has been written so far."""
        return VideoInfo(self.num_frames, self.fps, *self._file_size(), self.codec)

    def write(self, frames: Frames) -> None:
        """Append frames [t h w c=3]."""
        if frames.dtype != np.uint8 or frames.shape[1:] != (self._height, self._width, 3):
            size = f"{self._height} {self._width}"
            raise ValueError(f"frames is {frames.dtype} {list(frames.shape)}, must be uint8 [t {size} 3]")
        with full_is_typed(self.path.parent):
            for frame in frames:
                self._container.mux(self._stream.encode(self._picture(frame)))
                self.num_frames += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            with full_is_typed(self.path.parent), self._container:
                if error is None and self.num_frames:
                    self._container.mux(self._stream.encode(None))
            if error is None and not self.num_frames:
                raise ValueError("frames is empty, must be at least 1 frame")
        except BaseException:
            self.path.unlink(missing_ok=True)
            raise
        if error is not None:
            self.path.unlink(missing_ok=True)

    def _picture(self, frame: Frames) -> av.VideoFrame:
        if self.codec == "ffv1":
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="bgr0", threads=1)
        else:
            even = np.pad(frame, ((0, self._height % 2), (0, self._width % 2), (0, 0)), mode="edge")
            picture = av.VideoFrame.from_ndarray(even, format="rgb24").reformat(
                format="yuv420p",
                dst_colorspace=Colorspace.ITU709,
                dst_color_range=ColorRange.MPEG,
                dst_color_trc=ColorTrc.BT709,
                dst_color_primaries=ColorPrimaries.BT709,
                interpolation=_EXACT,
                threads=1,
            )
        picture.pts, picture.time_base = self.num_frames, 1 / self.fps
        return picture

    def _file_size(self) -> tuple[int, int]:
        odd = self.codec == "h264"
        return self._height + odd * (self._height % 2), self._width + odd * (self._width % 2)


def write_video(path: Path, frames: Frames, fps: Fraction | int, codec: Codec) -> None:
    """Write frames [t h w c=3] as one file; see `VideoWriter`."""
    if frames.ndim != 4:
        raise ValueError(f"frames is {frames.ndim}-dimensional, must be uint8 [t h w 3]")
    with VideoWriter(path, fps, frames.shape[1], frames.shape[2], codec) as writer:
        writer.write(frames)


def transcode(source: Source, path: Path, codec: Codec, limits: Limits | None = None) -> VideoInfo:
    """Write a video file again in another codec, in memory for one frame, and return what was written."""
    with _opened(source, limits or Limits()) as (container, stream):
        codec_context = stream.codec_context
        with VideoWriter(path, _fps(stream), codec_context.height, codec_context.width, codec) as writer:
            for frame in _decoded(container, stream, limits or Limits()):
                writer.write(frame[None])
    return writer.info


def iter_frames(source: Source, chunk: int = 16, limits: Limits | None = None) -> Iterator[Frames]:
    """Yield the frames of a video file in order, `chunk` at a time (the last may be fewer): uint8 [t h w c=3].

    Raises:
        ValueError: the file is not a video, is broken or truncated, has no frames, or breaks a limit.
    """
    with _opened(source, limits or Limits()) as (container, stream):
        frames: list[Frames] = []
        for frame in _decoded(container, stream, limits or Limits()):
            frames.append(frame)
            if len(frames) == chunk:
                yield np.stack(frames)
                frames = []
        if frames:
            yield np.stack(frames)


def read_video(source: Source, limits: Limits | None = None) -> tuple[Frames, Fraction]:
    """Return all frames of a video file, uint8 [t h w c=3], and its frame rate; raises as `iter_frames`."""
    with _opened(source, limits or Limits()) as (container, stream):
        return np.stack(list(_decoded(container, stream, limits or Limits()))), _fps(stream)


def probe(source: Source, limits: Limits | None = None) -> VideoInfo:
    """Return what a video file holds, counted without decoding; raises `ValueError` as `iter_frames`."""
    limits = limits or Limits()
    with _opened(source, limits) as (container, stream):
        num_frames = 0
        for packet in container.demux(stream):
            if packet.is_corrupt:
                raise ValueError(f"video is truncated within frame {num_frames}, must be whole")
            num_frames += packet.size > 0
            _check_length(num_frames, limits)
        _check_complete(container, stream, num_frames)
        codec_context = stream.codec_context
        return VideoInfo(num_frames, _fps(stream), codec_context.height, codec_context.width, codec_context.name)


def _add_ffv1(container: OutputContainer, fps: Fraction, height: int, width: int) -> VideoStream:
    stream = container.add_stream("ffv1", rate=fps, options={"level": "3", "slicecrc": "1"})
    stream.width, stream.height, stream.pix_fmt, stream.time_base = width, height, "bgr0", 1 / fps
    stream.thread_count = 1
    return stream


def _add_h264(container: OutputContainer, fps: Fraction, height: int, width: int) -> VideoStream:
    # x264's fastest routines round by processor and by memory alignment: without them equal frames give equal bytes.
    options = {"crf": "16", "preset": "medium", "x264-params": "cpu-independent=1"}
    stream = container.add_stream("libx264", rate=fps, options=options)
    stream.width, stream.height, stream.pix_fmt, stream.time_base = width, height, "yuv420p", 1 / fps
    codec_context = stream.codec_context
    codec_context.thread_count = 1
    codec_context.colorspace, codec_context.color_range = Colorspace.ITU709, ColorRange.MPEG
    codec_context.color_trc, codec_context.color_primaries = ColorTrc.BT709, ColorPrimaries.BT709
    return stream


@contextmanager
def _opened(source: Source, limits: Limits) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Yield a file and its first picture stream; what FFmpeg says against it, then or later, becomes a `ValueError`."""
    with ExitStack() as stack:
        if isinstance(source, bytes):
            file: BinaryIO = io.BytesIO(source)
        else:
            file = stack.enter_context(source.open("rb")) if isinstance(source, Path) else source
        size_bytes = file.seek(0, os.SEEK_END)
        if size_bytes > limits.max_bytes:
            raise ValueError(f"video is {size_bytes} bytes, must be at most {limits.max_bytes}")
        file.seek(0)
        options = {"format_whitelist": _CONTAINERS, "codec_whitelist": _DECODERS, "max_pixels": str(limits.max_pixels)}
        try:
            container = stack.enter_context(
                av.open(file, "r", options=options, metadata_errors="replace", io_open=_refuse_names)
            )
            if not container.streams.video:
                raise ValueError("video is a file without pictures, must be a film")
            yield container, _checked_size(container.streams.video[0], limits)
        except av.error.FFmpegError as error:
            raise ValueError(
                f"video is unreadable ({error.strerror}), must be a whole MP4, Matroska or WebM"
            ) from error


def _refuse_names(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise PermissionError(f"a video file refers to {url[:120]!r}; nothing outside it is opened")


def _checked_size(stream: VideoStream, limits: Limits) -> VideoStream:
    if stream.codec_context is None:
        raise ValueError("video is in an unknown codec, must be in a common one")
    pixels = stream.codec_context.width * stream.codec_context.height
    if not 0 < pixels <= limits.max_pixels:  # FFmpeg itself stops at the limit, and then tells no size
        raise ValueError(f"video is too large or of no size, must be at most {limits.max_pixels} pixels a frame")
    return stream


def _decoded(container: InputContainer, stream: VideoStream, limits: Limits) -> Iterator[Frames]:
    num_frames, shape = 0, (stream.codec_context.height, stream.codec_context.width, 3)
    for picture in container.decode(stream):
        frame = np.asarray(picture.to_ndarray(format="rgb24", interpolation=_EXACT, threads=1), np.uint8)
        num_frames += 1
        _check_length(num_frames, limits)
        if frame.shape != shape:
            raise ValueError(f"video is {shape} and then {frame.shape}, must be of one size")
        yield frame
    _check_complete(container, stream, num_frames)


def _check_length(num_frames: int, limits: Limits) -> None:
    if num_frames > limits.max_frames:
        raise ValueError(f"video is longer than {limits.max_frames} frames, must be at most that")


def _check_complete(container: InputContainer, stream: VideoStream, num_frames: int) -> None:
    """Compare the frames found with what the head of the file promised, where it did; a tail may have been cut off."""
    promised = stream.frames
    if not promised and container.duration and len(container.streams) == 1:
        promised = round(container.duration * _fps(stream) / av.time_base)
    if not num_frames:
        raise ValueError("video is without frames, must have at least 1")
    # Where the frame rate may vary the promise is inexact.
    slack = 0 if stream.codec_context.name == "ffv1" else promised // 20
    if num_frames < promised - slack:
        raise ValueError(f"video is truncated to {num_frames} frames, must have the {promised} it promises")


def _fps(stream: VideoStream) -> Fraction:
    fps = stream.average_rate or stream.guessed_rate
    if not fps:
        raise ValueError("video is without a frame rate, must have one")
    return fps
