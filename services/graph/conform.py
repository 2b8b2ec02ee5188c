"""Videos and pictures from outside, brought to a size, a frame rate and a length that a model takes."""

from collections.abc import Generator
from fractions import Fraction
from math import log
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image

from kino import validate
from kino.errors import InvalidArgumentError
from kino.footage import iter_frames, probe
from kino.images import decode_image, fit_to
from kino.limits import MAX_FPS, MIN_FPS
from kino.media import EDITED_VIDEOS, PICTURES, Frames, VideoWriter
from kino.v1 import graph_pb2, info_pb2
from services.graph.calls import Event, progress

_CHUNK_FRAMES = 16
_PICTURE_FPS = 1


def nearest(height: int, width: int, sizes: list[info_pb2.Size]) -> info_pb2.Size:
    """Return the size whose aspect is nearest to that of a frame, the first of those that are equally near."""
    return min(sizes, key=lambda size: abs(log(size.width * height / (size.height * width))))


def conformed(request: graph_pb2.ConformRequest, source: BinaryIO, path: Path) -> Generator[Event, None, int]:
    """Write a video or a picture as the request asks, yield how many frames are read, and return how many are written.

    Raises:
        ValueError: it is none, breaks a limit, or is longer than it may be.
    """
    if request.media.media_type.startswith("image/"):
        return (yield from _picture(request, source, path))
    validate.real(request.fps, "conform.fps", MIN_FPS, MAX_FPS)
    fps, info = Fraction(request.fps).limit_denominator(1001), probe(source, EDITED_VIDEOS)
    count = max(1, round(info.duration_seconds * fps))
    if count > request.max_frames:
        seconds, most = float(info.duration_seconds), float(request.max_frames / fps)
        raise InvalidArgumentError("video", f"{seconds:.6g} s", f"at most {most:.6g} s long")
    least = 1 if info.num_frames == 1 else request.min_frames
    size = nearest(info.height, info.width, list(request.sizes))
    yield progress(0, info.num_frames)
    with VideoWriter(path, fps, size.height, size.width, "ffv1") as writer:
        read = 0
        for frames in iter_frames(source, _CHUNK_FRAMES, EDITED_VIDEOS):
            read += len(frames)
            while writer.num_frames < count:
                shown = min(round(writer.num_frames / fps * info.fps), info.num_frames - 1) - (read - len(frames))
                if shown >= len(frames):
                    break
                last = _sized(frames[shown], size, request.fit)
                writer.write(last)
            yield progress(read, info.num_frames)
        for _ in range(writer.num_frames, least):
            writer.write(last)
    return writer.num_frames


def _picture(request: graph_pb2.ConformRequest, source: BinaryIO, path: Path) -> Generator[Event, None, int]:
    yield progress(0, 1)
    picture = decode_image(source.read(), PICTURES)
    size = nearest(picture.shape[0], picture.shape[1], list(request.sizes))
    with VideoWriter(path, _PICTURE_FPS, size.height, size.width, "ffv1") as writer:
        writer.write(_sized(picture, size, request.fit))
    return 1


def _sized(frame: Frames, size: info_pb2.Size, fit: "graph_pb2.Fit.ValueType") -> Frames:
    """Return a frame [h w c=3] as a video of one frame [1 h w c=3] of another size."""
    if fit == graph_pb2.FIT_STRETCH:
        stretched = Image.fromarray(frame).resize((size.width, size.height), Image.Resampling.LANCZOS)
        return np.asarray(stretched)[None]
    return fit_to(frame, size.height, size.width)[None]
