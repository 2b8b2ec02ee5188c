"""Sound as files: read from anything, lossless between stages; `kino.soundtrack` writes what people take.

Samples are float32 [c n] at 48 kHz, full scale 1, one or two channels. The lossless file is WAV of 32-bit floats: it
gives back exactly the same samples. Time starts at the first picture where a file has moving pictures, else at the
first sample.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, groupby, pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.stream import AudioStream
from av.packet import Packet
from av.stream import Stream
from numpy.typing import NDArray

from kino.containers import OpenFile, check_decoder, film_stream, opened, packets
from kino.files import full_is_typed
from kino.media import Limits, Source
from kino.shapes import SAMPLE_RATE

Samples = NDArray[np.float32]

WAV = "audio/wav"

LAYOUTS = {1: "mono", 2: "stereo"}
_GAP_SECONDS = Fraction(1, 20)  # of silence or overlap in a file that is taken for what it says, not for jitter


def iter_sound(
    source: Source,
    *,
    track: int = 0,
    channels: int | None = 2,
    chunk: int = SAMPLE_RATE,
    limits: Limits | None = None,
) -> Iterator[Samples]:
    """Yield a file's sound in order, `chunk` samples at a time (the last may be fewer): float32 [c n] at 48 kHz.

    Other rates are resampled, more channels mixed down without clipping, and one fills both sides. A gap is silent.

    Args:
        track: which of the file's tracks of sound, from 0.
        channels: 1 or 2; None for as many as the file has, at most 2.

    Raises:
        ValueError: the file is not one, is broken or truncated (perhaps only known at its end), has no such track, or
            breaks a limit.
    """
    if channels not in (*LAYOUTS, None):
        raise ValueError(f"channels is {channels}, must be 1 or 2")
    with opened(source, limits or Limits(), "sound") as file:
        held: list[Samples] = []
        num_held, stream = 0, _audio_stream(file, track)
        for samples in _sound(file, stream, channels or min(stream.codec_context.layout.nb_channels, 2)):
            held, num_held = [*held, samples], num_held + samples.shape[1]
            while num_held >= chunk:
                whole = np.concatenate(held, axis=1)
                yield whole[:, :chunk]
                held, num_held = [whole[:, chunk:]], num_held - chunk
        if num_held:
            yield np.concatenate(held, axis=1)


def read_sound(source: Source, *, track: int = 0, channels: int = 2, limits: Limits | None = None) -> Samples:
    """Return a file's whole sound, float32 [c n] at 48 kHz; raises as `iter_sound`."""
    return np.concatenate(list(iter_sound(source, track=track, channels=channels, limits=limits)), axis=1)


def at_sample_rate(sound: Samples, rate: int) -> Samples:
    """Return sound [c n] of another rate at 48 kHz; raises `ValueError` as `write_sound`."""
    parts, channels = parts_of(sound)
    (whole,) = parts
    if rate == SAMPLE_RATE:
        return whole
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(whole), format="fltp", layout=LAYOUTS[channels])
    frame.sample_rate = rate
    resampler = av.AudioResampler("fltp", LAYOUTS[channels], SAMPLE_RATE)
    made: list[Any] = [part.to_ndarray() for part in (*resampler.resample(frame), *resampler.resample(None))]
    return np.concatenate(list(fitted(made, round(whole.shape[1] * SAMPLE_RATE / rate))), axis=1)


def fitted(sound: Iterable[Samples], count: int) -> Iterator[Samples]:
    """Yield sound [c n] in its parts until it is `count` samples long, cut off or filled up with silence."""
    channels = 1
    for samples in sound:
        channels = len(samples)
        yield samples[:, :count]
        count -= min(samples.shape[1], count)
    yield from _silence(count, channels)


def write_sound(path: Path, sound: Samples | Iterable[Samples]) -> None:
    """Write sound [c n], whole or in parts, as WAV of 32-bit floats. Equal samples give equal bytes.

    Raises:
        ValueError: there are no samples, or they are of another shape or type, or not finite.
        kino.files.FullError: no room is left.
    """
    parts, channels = parts_of(sound)
    with whole_or_gone(path), av.open(str(path.resolve()), "w", "wav", {"fflags": "+bitexact"}) as made:
        track = made.add_stream("pcm_f32le", rate=SAMPLE_RATE, layout=LAYOUTS[channels])
        for packet in encoded(track, parts):
            made.mux(packet)


@dataclass(frozen=True)
class _Block:
    """A decoded block of samples: when it begins, ends by its samples and by its packet, in seconds; gaps so far."""

    frame: av.AudioFrame
    begin: Fraction
    end: Fraction
    stop: Fraction
    gaps: int


def _audio_stream(file: OpenFile, track: int) -> AudioStream:
    streams = file.container.streams.audio
    if not streams:
        raise ValueError("sound is a file without sound, must have a track of it")
    if not 0 <= track < len(streams):
        raise ValueError(f"track is {track}, must be from 0 to {len(streams) - 1}")
    check_decoder(streams[track], file)
    return streams[track]


def _sound(file: OpenFile, stream: AudioStream, channels: int) -> Iterator[Samples]:
    """Yield a track's samples from the file's first moment on: gaps are silent, what lies before or twice is cut."""
    done = 0
    for _, run in groupby(_blocks(file, stream), key=lambda block: block.gaps):
        first = next(run)
        at = round(first.begin * SAMPLE_RATE)
        yield from _silence(at - done, channels)
        done = max(done, at)
        for samples in _resampled(first, run, channels):
            kept = samples[:, max(done - at, 0) :]
            at += samples.shape[1]
            done = max(done, at)
            if kept.size:
                yield kept
    if not done:
        raise ValueError("sound is without samples, must have at least 1")


def _resampled(first: _Block, rest: Iterator[_Block], channels: int) -> Iterator[Samples]:
    """Yield the samples of blocks that follow each other, as many as their time allows."""
    decoded, count = min(first.frame.layout.nb_channels, 2), 0
    resampler = av.AudioResampler("fltp", LAYOUTS[decoded], SAMPLE_RATE, options={"rematrix_maxval": "1"})
    for block, following in pairwise(chain((first,), rest, (None,))):
        assert block is not None
        end = round(((block.end if following else block.stop) - first.begin) * SAMPLE_RATE)
        for frame in resampler.resample(block.frame) + ([] if following else resampler.resample(None)):
            samples = np.asarray(frame.to_ndarray(), np.float32)[:, : max(end - count, 0)]
            count += samples.shape[1]
            yield samples if decoded == channels else samples.mean(axis=0, keepdims=True).repeat(channels, axis=0)


def _blocks(file: OpenFile, stream: AudioStream) -> Iterator[_Block]:
    """Yield what a track decodes to, timed from the first picture, or from the first sample where there is none."""
    film, kind, gaps, end = film_stream(file), None, 0, Fraction(0)
    origin = film.start_time * film.time_base if film and film.start_time is not None and film.time_base else None
    for packet in packets(file):
        if packet.stream is not stream:
            continue
        for frame in stream.decode(packet):
            begin = end if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base
            origin = begin if origin is None else origin
            # An MP4 tells to the sample how much of its last block is sound; coarser clocks tell nothing.
            left = Fraction(frame.samples, frame.sample_rate)
            if packet.pts is not None and packet.duration and packet.time_base * frame.sample_rate == 1:
                left = min(left, (packet.pts + packet.duration) * packet.time_base - begin)
            begin -= origin
            if kind == (frame.format.name, frame.layout.name, frame.sample_rate) and abs(begin - end) <= _GAP_SECONDS:
                begin = end
            else:
                gaps += 1
            kind = (frame.format.name, frame.layout.name, frame.sample_rate)
            end = begin + Fraction(frame.samples, frame.sample_rate)
            if end > file.limits.max_seconds:
                raise ValueError(f"sound is longer than {file.limits.max_seconds} s, must be at most that")
            yield _Block(frame, begin, end, begin + left, gaps)


def _silence(count: int, channels: int) -> Iterator[Samples]:
    for start in range(0, count, SAMPLE_RATE):
        yield np.zeros((channels, min(SAMPLE_RATE, count - start)), np.float32)


def parts_of(sound: Samples | Iterable[Samples]) -> tuple[Iterator[Samples], int]:
    """Return sound in its parts, each checked when it comes, and the number of channels."""
    parts = iter([sound] if isinstance(sound, np.ndarray) else sound)
    first = next(parts, np.zeros((1, 0), np.float32))
    channels = len(first) if first.ndim == 2 and len(first) in LAYOUTS else 1
    return (_checked(part, channels) for part in chain((first,), parts)), channels


def _checked(part: Samples, channels: int) -> Samples:
    if part.dtype != np.float32 or part.ndim != 2 or len(part) != channels:
        bound = "float32 [c n] of one or two channels, the same in every part"
        raise ValueError(f"sound is {part.dtype} {list(part.shape)}, must be {bound}")
    if not np.isfinite(part).all():
        raise ValueError("sound is not finite, must be numbers of full scale 1")
    return part


def encoded(track: AudioStream, parts: Iterator[Samples]) -> "Iterator[Packet[Stream]]":
    """Yield the packets of sound in its parts, timed from 0; raises `ValueError` where there is none."""
    done = 0
    for part in parts:
        for start in range(0, part.shape[1], SAMPLE_RATE):
            piece = np.ascontiguousarray(part[:, start : start + SAMPLE_RATE])
            frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=LAYOUTS[len(part)])
            frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, done, Fraction(1, SAMPLE_RATE)
            done += piece.shape[1]
            yield from track.encode(frame)
    if not done:
        raise ValueError("sound is empty, must be at least 1 sample")
    yield from track.encode(None)


@contextmanager
def whole_or_gone(path: Path) -> Iterator[None]:
    """Remove a file whose making ended in an exception."""
    try:
        with full_is_typed(path.parent):
            yield
    except BaseException:
        path.unlink(missing_ok=True)
        raise
