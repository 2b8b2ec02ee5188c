"""Files of media from outside, opened under limits, from their bytes alone.

Containers and decoders are those listed here, and no file can make the reader follow a name to another one.
"""

import io
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import BinaryIO, NoReturn

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from kino.media import Limits, Source

_CONTAINERS = "matroska,webm,mov,mp4,avi,mpegts,ogg,wav,flac,mp3,aac"
_DECODERS = (
    "ffv1,h264,hevc,vp8,vp9,libvpx,libvpx-vp9,av1,libdav1d,mpeg1video,mpeg2video,mpeg4,h263,mjpeg,png,prores,rawvideo,"
    "aac,aac_fixed,mp2,mp2float,mp3,mp3float,ac3,eac3,opus,libopus,vorbis,flac,alac,amrnb,pcm_u8,pcm_s16le,pcm_s16be,"
    "pcm_s24le,pcm_s24be,pcm_s32le,pcm_f32le,pcm_f64le,pcm_alaw,pcm_mulaw"
)
_MAX_PADDING = 64 * 16384  # pixels that a decoder adds to a picture when it counts them: rows end at multiples of 64


@dataclass(frozen=True)
class OpenFile:
    """A file from outside that has been opened under `limits`; `field` is its name in messages."""

    container: InputContainer
    limits: Limits
    size_bytes: int
    field: str


@contextmanager
def opened(source: Source, limits: Limits, field: str = "video") -> Iterator[OpenFile]:
    """Yield a file that has been opened; what FFmpeg says against it, then or later, becomes a `ValueError`."""
    with ExitStack() as stack:
        if isinstance(source, bytes):
            file: BinaryIO = io.BytesIO(source)
        else:
            file = stack.enter_context(source.open("rb")) if isinstance(source, Path) else source
        size_bytes = file.seek(0, os.SEEK_END)
        if size_bytes > limits.max_bytes:
            raise ValueError(f"{field} is {size_bytes} bytes, must be at most {limits.max_bytes}")
        file.seek(0)
        options = {
            "format_whitelist": _CONTAINERS,
            "codec_whitelist": _DECODERS,
            "max_pixels": str(limits.max_pixels),
        }
        try:
            nameless = SimpleNamespace(read=file.read, seek=file.seek, tell=file.tell)  # by its name FFmpeg would guess
            container = stack.enter_context(
                av.open(nameless, "r", options=options, metadata_errors="replace", io_open=_refuse_names)
            )
            yield OpenFile(container, limits, size_bytes, field)
        except av.error.FFmpegError as error:
            kinds = "MP4, Matroska, WebM, AVI or MPEG-TS" if field == "video" else "file of a common kind"
            raise ValueError(f"{field} is unreadable ({error.strerror}), must be a whole {kinds}") from error


def _refuse_names(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise PermissionError(f"a media file refers to {url[:120]!r}; nothing outside it is opened")


def film_stream(file: OpenFile) -> VideoStream | None:
    """Return the first stream of moving pictures, None where there is none; the cover of a record is not one."""
    covers = Disposition.attached_pic | Disposition.timed_thumbnails
    return next((stream for stream in file.container.streams.video if not stream.disposition & covers), None)


def check_decoder(stream: Stream, file: OpenFile) -> None:
    """Refuse a stream whose decoder is not listed here, and have the decoder refuse pictures far over the limit."""
    if stream.codec_context is None or stream.codec_context.codec.name not in _DECODERS.split(","):
        name = "unknown" if stream.codec_context is None else stream.codec_context.codec.name
        raise ValueError(f"{file.field} is in codec {name}, must be in a common one such as H.264 or AAC")
    stream.codec_context.options = {"max_pixels": str(file.limits.max_pixels + _MAX_PADDING)}


def packets(file: OpenFile) -> "Iterator[Packet[Stream]]":
    """Yield the packets of every stream as they lie in the file, and refuse one that was cut off.

    The index of an MP4 tells of bytes that are missing; elsewhere the length that the head promises does, to 5 %, or
    to 4 ms in our own lossless files. A transport stream promises nothing.
    """
    container, end = file.container, Fraction(0)
    for stream in container.streams:
        if any(entry.pos + entry.size > file.size_bytes for entry in stream.index_entries):
            raise ValueError(f"{file.field} is truncated at byte {file.size_bytes}, must be whole")
    for packet in container.demux():
        if packet.is_corrupt:
            raise ValueError(f"{file.field} is truncated or broken after {float(end):.2f} s, must be whole")
        timestamp = packet.dts if packet.pts is None else packet.pts
        if timestamp is not None:
            end = max(end, (timestamp + (packet.duration or 0)) * packet.time_base)
        yield packet
    promised = Fraction(container.duration or 0, av.time_base)
    film = film_stream(file)
    lossless = film is not None and film.codec_context is not None and film.codec_context.name == "ffv1"
    slack = Fraction(1, 250) if lossless else promised / 20
    if end < promised - slack:
        bound = f"the {float(promised):.2f} s it promises"
        raise ValueError(f"{file.field} is truncated to {float(end):.2f} s, must have {bound}")
