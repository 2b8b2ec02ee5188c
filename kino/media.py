"""Films as files: lossless video between stages, H.264 for people. Read by `kino.footage`, with sound by `soundtrack`.

Frames are uint8 [t h w c=3], sRGB with Rec. 709 primaries. Frame rates are exact fractions in frames per second.
"""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Literal, Self

import av
import numpy as np
from av.container import OutputContainer
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc, Interpolation
from av.video.stream import VideoStream
from numpy.typing import NDArray

from kino.files import full_is_typed
from kino.limits import MAX_SOUND_FPS, MAX_SOUND_FRAMES, MAX_UPSAMPLED_FRAMES, MIN_SOUND_FPS

Frames = NDArray[np.uint8]
Source = bytes | Path | BinaryIO
Codec = Literal["ffv1", "h264"]

MEDIA_TYPES: dict[Codec, str] = {"ffv1": "video/matroska", "h264": "video/mp4"}

EXACT = Interpolation.BICUBIC | Interpolation.ACCURATE_RND | Interpolation.FULL_CHR_H_INP | Interpolation.BITEXACT


@dataclass(frozen=True)
class Limits:
    """What is read of a file from outside: its bytes, pixels of one frame, frames, their rate, and its sound."""

    max_bytes: int = 256 << 20
    max_pixels: int = 1920 * 1088
    max_frames: int = 1024
    min_fps: Fraction | int = 1
    max_fps: int = 120
    max_seconds: int = 600


LONG_VIDEOS = Limits(
    max_bytes=1 << 30,
    max_pixels=4096 * 2304,
    max_frames=MAX_SOUND_FRAMES,
    min_fps=MIN_SOUND_FPS,
    max_fps=MAX_SOUND_FPS,
)
"""What is read of a video frame by frame, to be heard."""

EDITED_VIDEOS = Limits(max_frames=2048)
"""What is read of a video to be edited: 16 s at 120 frames per second."""

UPSAMPLED_VIDEOS = Limits(max_frames=MAX_UPSAMPLED_FRAMES)
"""What is read of a video to be brought to full HD."""

PICTURES = Limits(max_pixels=40_000_000)
"""What is read of a picture that a film begins with."""


@dataclass(frozen=True)
class VideoInfo:
    """What a video file holds. `codec` is FFmpeg's name of it; `num_tracks` counts its tracks of sound."""

    num_frames: int
    fps: Fraction
    height: int
    width: int
    codec: str
    num_tracks: int = 0

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
                interpolation=EXACT,
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
