"""Videos from outside, read as frames: any size, any rate, any common codec, in memory for one chunk.

What comes out is what a player shows. A picture is turned as the file says and stays until the next one's time, so a
variable frame rate becomes a constant one; time starts at the first picture. Colours are converted to sRGB by the
file's matrix and range (Rec. 709 above 576 lines and Rec. 601 below where it names none), 10 bits to 8; transparency
shows black. Read as they are: interlaced pictures (both fields in one), high dynamic range (no tone mapping), pixels
that are not square, and mirrored ones.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import repeat
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.packet import Packet
from av.stream import Stream
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream

from kino.containers import OpenFile, check_decoder, film_stream, opened, packets
from kino.images import decode_image
from kino.media import EXACT, Codec, Frames, Limits, Source, VideoInfo, VideoWriter

_UNNAMED_COLOURS = 2  # AVCOL_SPC_UNSPECIFIED
_STANDARD_LINES = 576  # of a picture whose colours are those of standard definition where it does not say


def iter_frames(source: Source, chunk: int = 16, limits: Limits | None = None) -> Iterator[Frames]:
    """Yield the frames of a video file in order, `chunk` at a time (the last may be fewer): uint8 [t h w c=3].

    Raises:
        ValueError: the file is not a video, is broken or truncated (perhaps only known at its end), has no frames, or
            breaks a limit.
    """
    with opened(source, limits or Limits()) as file:
        frames: list[Frames] = []
        for frame in _frames(file):
            frames.append(frame)
            if len(frames) == chunk:
                yield np.stack(frames)
                frames = []
        if frames:
            yield np.stack(frames)


def read_video(source: Source, limits: Limits | None = None) -> tuple[Frames, Fraction]:
    """Return all frames of a video file, uint8 [t h w c=3], and its frame rate; raises as `iter_frames`."""
    with opened(source, limits or Limits()) as file:
        return np.stack(list(_frames(file))), frame_rate(file)


def read_media(file: BinaryIO, media_type: str, limits: Limits) -> tuple[Frames, Fraction]:
    """Return the frames of a video, or a picture as one of them, and the frame rate, 0 of a picture.

    Raises:
        ValueError: as `iter_frames` and `kino.images.decode_image`.
    """
    if media_type.startswith("image/"):
        return decode_image(file.read(), limits)[None], Fraction(0)
    return read_video(file, limits)


def transcode(source: Source, path: Path, codec: Codec, limits: Limits | None = None) -> VideoInfo:
    """Write a video file again in another codec, in memory for one frame, and return what was written."""
    with opened(source, limits or Limits()) as file:
        frames = _frames(file)
        first = next(frames)
        with VideoWriter(path, frame_rate(file), first.shape[0], first.shape[1], codec) as writer:
            writer.write(first[None])
            for frame in frames:
                writer.write(frame[None])
    return writer.info


def probe(source: Source, limits: Limits | None = None) -> VideoInfo:
    """Return what a video file holds, its frames counted without decoding; raises `ValueError` as `iter_frames`."""
    with opened(source, limits or Limits()) as file:
        stream, timeline = video_stream(file), _Timeline(frame_rate(file), file.limits.max_frames)
        shape: tuple[int, ...] = ()
        for packet in packets(file):
            if packet.stream is not stream:
                continue
            if not shape:
                shape = next((_rgb(picture).shape for picture in stream.decode(packet)), ())
            if packet.size and not packet.is_discard:
                timeline.add(packet)
        if not shape or not timeline.num_frames:
            raise ValueError("video is without frames, must have at least 1")
        num_tracks, codec = len(file.container.streams.audio), stream.codec_context.name
        return VideoInfo(timeline.num_frames, timeline.fps, shape[0], shape[1], codec, num_tracks)


def video_stream(file: OpenFile) -> VideoStream:
    """Return the first stream of moving pictures, which has a decoder and a size within the limits."""
    stream = film_stream(file)
    if stream is None:
        raise ValueError(f"{file.field} is a file without pictures, must be a film")
    check_decoder(stream, file)
    _check_pixels(stream.codec_context.height * stream.codec_context.width, file)
    return stream


def _check_pixels(pixels: int, file: OpenFile) -> None:
    if not 0 < pixels <= file.limits.max_pixels:  # FFmpeg itself stops at the limit, and then tells no size
        bound = f"at most {file.limits.max_pixels} pixels a frame"
        raise ValueError(f"{file.field} is too large or of no size, must be {bound}")


def frame_rate(file: OpenFile) -> Fraction:
    """Return the frames per second of a file: the nominal ones where the average is within a hundredth of them."""
    stream, limits = video_stream(file), file.limits
    average = stream.average_rate or stream.guessed_rate
    if not average:
        raise ValueError("video is without a frame rate, must have one")
    nominal = stream.base_rate or average
    fps = nominal if abs(nominal - average) * 100 < nominal else average.limit_denominator(1001)
    if not limits.min_fps <= fps <= limits.max_fps:
        shown = f"{float(average):.6g} frames per second"
        raise ValueError(f"video is at {shown}, must be from {limits.min_fps} to {limits.max_fps}")
    return fps


@dataclass
class _Timeline:
    """When the pictures of a film begin and end, in seconds, and how many frames of `fps` that makes."""

    fps: Fraction
    max_frames: int
    first: Fraction | None = None
    last: Fraction = Fraction(0)
    end: Fraction = Fraction(0)

    def add(self, moment: "Packet[Stream] | av.VideoFrame") -> int:
        """Take a picture in, and return the index of the frame that it first shows in; no time means after the last."""
        time_base = moment.time_base or 1 / self.fps
        timestamp = moment.dts if moment.pts is None else moment.pts
        begin = self.end if timestamp is None else timestamp * time_base
        self.first = begin if self.first is None else min(self.first, begin)
        self.last = max(self.last, begin)
        self.end = max(self.end, begin + ((moment.duration or 0) * time_base or 1 / self.fps))
        if self.num_frames > self.max_frames:
            raise ValueError(f"video is longer than {self.max_frames} frames, must be at most that")
        return round((begin - self.first) * self.fps)

    @property
    def num_frames(self) -> int:
        """Return how many frames the pictures fill, each shown until the next and the last for its duration."""
        if self.first is None:
            return 0
        return max(round((self.last - self.first) * self.fps) + 1, round((self.end - self.first) * self.fps))


def _frames(file: OpenFile) -> Iterator[Frames]:
    """Yield the frames of a film one by one, at its frame rate: each shows the last picture that has begun."""
    timeline, num_frames = _Timeline(frame_rate(file), file.limits.max_frames), 0
    shown: av.VideoFrame | None = None
    for picture in _pictures(file):
        index = timeline.add(picture)
        if shown is not None and index > num_frames:
            yield from repeat(_rgb(shown), index - num_frames)
            num_frames = index
        shown = picture
    if shown is None:
        raise ValueError("video is without frames, must have at least 1")
    yield from repeat(_rgb(shown), timeline.num_frames - num_frames)


def _pictures(file: OpenFile) -> Iterator[av.VideoFrame]:
    """Yield the decoded pictures of a film in the order of their times, all whole and of one size."""
    stream, size = video_stream(file), None
    for packet in packets(file):
        if packet.stream is not stream:
            continue
        for picture in stream.decode(packet):
            if picture.is_corrupt:
                raise ValueError(f"video is broken at {picture.time or 0:.2f} s, must be whole")
            size = size or (picture.height, picture.width)
            _check_pixels(picture.height * picture.width, file)
            if (picture.height, picture.width) != size:
                then = f"{picture.height}x{picture.width}"
                raise ValueError(f"video is {size[0]}x{size[1]} and then {then}, must be of one size")
            yield picture


def _rgb(picture: av.VideoFrame) -> Frames:
    """Return a picture as it is seen, [h w c=3]: in sRGB, over black, upright."""
    matrix = None
    if picture.colorspace == _UNNAMED_COLOURS:
        matrix = Colorspace.ITU709 if picture.height > _STANDARD_LINES else Colorspace.ITU601
    has_alpha = any(component.is_alpha for component in picture.format.components)
    form = "rgba" if has_alpha else "rgb24"
    frame = np.asarray(picture.to_ndarray(format=form, src_colorspace=matrix, interpolation=EXACT, threads=1), np.uint8)
    if has_alpha:
        opaque = frame[..., 3:].astype(np.uint16)
        frame = ((frame[..., :3] * opaque + 127) // 255).astype(np.uint8)
    return np.rot90(frame, round(picture.rotation / 90))
