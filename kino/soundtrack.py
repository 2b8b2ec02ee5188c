"""Sound as people take it: AAC beside the pictures of a film, or alone as FLAC or AAC."""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from heapq import merge
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.codec.context import Flags
from av.container import OutputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

from kino.containers import OpenFile, opened, packets
from kino.footage import probe, video_stream
from kino.media import Limits, Source
from kino.shapes import SAMPLE_RATE, audio_samples
from kino.sound import LAYOUTS, Samples, encoded, parts_of, whole_or_gone

FLAC, M4A = "audio/flac", "audio/mp4"

_BIT_RATES = {1: 128_000, 2: 192_000}
_MP4 = {"fflags": "+bitexact", "movflags": "+faststart", "movie_timescale": str(SAMPLE_RATE)}
_COPIED = ("h264", "hevc", "av1", "libdav1d", "vp9", "libvpx-vp9", "mpeg4")
_TIMED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm")


def write_flac(path: Path, sound: Samples | Iterable[Samples]) -> None:
    """Write sound [c n], whole or in parts, as FLAC of 24 bits; raises as `kino.sound.write_sound`."""
    parts, channels = parts_of(sound)
    with whole_or_gone(path), av.open(str(path.resolve()), "w", "flac", {"fflags": "+bitexact"}) as made:
        track = made.add_stream("flac", rate=SAMPLE_RATE, layout=LAYOUTS[channels])
        track.format = av.AudioFormat("s32")
        for packet in encoded(track, parts):
            made.mux(packet)


def write_m4a(path: Path, sound: Samples | Iterable[Samples]) -> None:
    """Write sound [c n], whole or in parts, as AAC in MP4, exactly as long; raises as `kino.sound.write_sound`."""
    parts, channels = parts_of(sound)
    with whole_or_gone(path), av.open(str(path.resolve()), "w", "mp4", _MP4) as made:
        for packet in encoded(_add_aac(made, channels), parts):
            made.mux(packet)


def can_copy(video: Source, limits: Limits | None = None) -> bool:
    """Tell whether `mux` can copy the pictures of a video file; raises `ValueError` where it is not one."""
    with opened(video, limits or Limits()) as file:
        return _fits_mp4(file)


def mux(video: Source, sound: Samples | Iterable[Samples], path: Path, limits: Limits | None = None) -> None:
    """Write a film again with sound [c n], whole or in parts: its pictures as they are, the sound as AAC.

    An edit list hides the encoder's priming and what fills its last block, so that a player shows exactly the samples
    given, the first with the first frame. Equal input gives equal bytes. Sound that the film had is left out.

    Raises:
        ValueError: the video is broken or of a kind that MP4 does not hold (`can_copy`), or the sound is not
            round(frames / fps x 48000) samples long, of another shape or type, or not finite.
        kino.files.FullError: no room is left.
    """
    limits = limits or Limits()
    info = probe(video, limits)
    parts, channels = parts_of(sound)
    parts = _exactly(parts, audio_samples(info.num_frames, info.fps))
    with opened(video, limits) as file:
        if not _fits_mp4(file):
            raise ValueError(f"video is in {info.codec}, must be of a common kind in MP4 or Matroska, such as H.264")
        with whole_or_gone(path), av.open(str(path.resolve()), "w", "mp4", _MP4) as made:
            source = video_stream(file)
            film, track = made.add_stream_from_template(source), _add_aac(made, channels)
            for packet in merge(_copied(file, source, film), encoded(track, parts), key=_moment):
                made.mux(packet)


def _fits_mp4(file: OpenFile) -> bool:
    """Whether MP4 holds the pictures, and the file times every one of them."""
    return video_stream(file).codec_context.name in _COPIED and file.container.format.name in _TIMED


def _add_aac(made: OutputContainer, channels: int) -> AudioStream:
    track = made.add_stream("aac", rate=SAMPLE_RATE, layout=LAYOUTS[channels])
    track.bit_rate = _BIT_RATES[channels]
    track.codec_context.flags |= Flags.bitexact
    return track


def _exactly(parts: Iterator[Samples], count: int) -> Iterator[Samples]:
    """Yield sound in its parts, and refuse it where it is not `count` samples long."""
    total = 0
    for part in parts:
        total += part.shape[1]
        yield part
    if total != count:
        raise ValueError(f"sound is {total} samples long, must be {count}: as long as the film")


def _copied(file: OpenFile, source: VideoStream, film: VideoStream) -> "Iterator[Packet[Stream]]":
    """Yield the packets of a stream for another, from 0 on."""
    start = source.start_time or 0
    for packet in packets(file):
        if packet.stream is source and packet.size:
            packet.pts = None if packet.pts is None else packet.pts - start
            packet.dts = None if packet.dts is None else packet.dts - start
            packet.stream = film
            yield packet


def _moment(packet: "Packet[Stream]") -> Fraction:
    return (packet.dts or 0) * packet.time_base
