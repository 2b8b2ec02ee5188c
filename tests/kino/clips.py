"""Clips for the tests of media: plain ones, and odd ones that only other programs write."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream

from kino.media import Frames
from kino.sound import Samples


def noise(num_frames: int, height: int, width: int) -> Frames:
    return np.random.default_rng(0).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


def plain(num_frames: int, height: int, width: int, colour: tuple[int, int, int]) -> Frames:
    return np.broadcast_to(np.array(colour, np.uint8), (num_frames, height, width, 3)).copy()


def tone(num_samples: int, channels: int = 2, hertz: float = 440.0, rate: int = 48_000) -> Samples:
    wave = 0.5 * np.sin(2 * np.pi * hertz * np.arange(num_samples) / rate)
    return np.tile(wave, (channels, 1)).astype(np.float32)


def picture(planes: Sequence[int], form: str, height: int = 16, width: int = 32) -> av.VideoFrame:
    """A picture of one colour, each plane of it filled with one value: bytes, or 16 bits where the format has more."""
    made = av.VideoFrame(width, height, form)
    for plane, value in zip(made.planes, planes, strict=True):
        deep = made.format.components[0].bits > 8
        plane.update(np.full(plane.buffer_size // (1 + deep), value, np.uint16 if deep else np.uint8).tobytes())
    return made


def write_pictures(
    path: Path,
    container: str,
    codec: str,
    pictures: Sequence[av.VideoFrame],
    *,
    ticks: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    fps: Fraction | int = 25,
    options: dict[str, str] | None = None,
) -> None:
    """Write pictures with the times given, one a frame where none are."""
    with av.open(str(path), "w", container) as made:
        stream = cast(VideoStream, made.add_stream(codec, rate=fps, options=options or {}))
        stream.width, stream.height = pictures[0].width, pictures[0].height
        stream.pix_fmt = pictures[0].format.name
        stream.time_base = stream.codec_context.time_base = time_base or 1 / Fraction(fps)
        stream.codec_context.color_range = pictures[0].color_range
        stream.codec_context.colorspace = pictures[0].colorspace
        for tick, shown in zip(ticks or range(len(pictures)), pictures, strict=True):
            shown.pts, shown.time_base = tick, stream.codec_context.time_base
            made.mux(stream.encode(shown))
        made.mux(stream.encode(None))


def greys(count: int, form: str = "yuv420p", height: int = 16, width: int = 32) -> list[av.VideoFrame]:
    """Pictures that grow lighter, the i-th of grey 10 i."""
    frames = [plain(1, height, width, (10 * i, 10 * i, 10 * i))[0] for i in range(count)]
    return [av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format=form) for frame in frames]


def block(samples: Samples) -> av.AudioFrame:
    """Samples [c n] at 48 kHz as an encoder takes them."""
    made = av.AudioFrame.from_ndarray(samples, format="fltp", layout="mono" if len(samples) == 1 else "stereo")
    made.sample_rate, made.pts, made.time_base = 48_000, 0, Fraction(1, 48_000)
    return made


def turned(film: bytes, matrix: tuple[int, int, int, int]) -> bytes:
    """An upright MP4 whose track says to turn it.

    The matrix (a b c d) takes x to a x + c y and y to b x + d y, y downwards (ISO 14496-12, 6.2.2).
    """
    before, after = (
        b"".join((value << shift).to_bytes(4, "big", signed=True) for value, shift in zip(row, shifts, strict=True))
        for row in ((1, 0, 0, 0, 1, 0, 0, 0, 1), (*matrix[:2], 0, *matrix[2:], 0, 0, 0, 1))
        for shifts in ((16, 16, 30) * 3,)
    )
    track = film.index(b"tkhd")
    return film[:track] + film[track:].replace(before, after, 1)


def write_three_tracks(path: Path) -> None:
    """Write five pictures and 0.2 s of sound in three tracks, the i-th of them i octaves over 220 Hz."""
    with av.open(str(path), "w", "matroska") as container:
        film = container.add_stream("ffv1", rate=25)
        film.width, film.height, film.pix_fmt = 32, 16, "yuv420p"
        tracks = [container.add_stream("flac", rate=48000, layout="stereo") for _ in range(3)]
        for index, shown in enumerate(greys(5)):
            shown.pts, shown.time_base = index, Fraction(1, 25)
            container.mux(film.encode(shown))
        container.mux(film.encode(None))
        for octave, track in enumerate(tracks):
            container.mux(track.encode(block(tone(9600, hertz=220.0 * 2**octave))))
            container.mux(track.encode(None))
