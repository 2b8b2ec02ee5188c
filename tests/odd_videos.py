"""Videos as people have them, odd ones and broken ones, written into a folder."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from kino.media import write_video
from tests.kino.clips import greys, noise, turned, write_pictures, write_three_tracks


def written(folder: Path, *given: Any, **options: Any) -> bytes:
    write_pictures(folder / "clip", *given, **options)
    return (folder / "clip").read_bytes()


def upright(folder: Path, num_frames: int = 6, fps: int = 16) -> bytes:
    write_video(folder / "upright.mp4", noise(num_frames, 32, 48), fps, "h264")
    return (folder / "upright.mp4").read_bytes()


def three_tracks(folder: Path) -> bytes:
    write_three_tracks(folder / "clip")
    return (folder / "clip").read_bytes()


TICKS = [0, 1, 2, 10, 11, 12, 18, 19]  # eight pictures over 20 frames of 25 per second
Write = Callable[[Path], bytes]
ODD: dict[str, tuple[Write, tuple[int, int, int]]] = {
    "rotated by metadata": (lambda folder: turned(upright(folder), (0, 1, -1, 0)), (6, 48, 32)),
    "10 bits": (lambda folder: written(folder, "matroska", "ffv1", greys(8, "yuv420p10le")), (8, 16, 32)),
    "alpha": (lambda folder: written(folder, "matroska", "ffv1", greys(8, "yuva420p")), (8, 16, 32)),
    "odd sizes": (lambda folder: written(folder, "webm", "libvpx-vp9", greys(8, height=17, width=23)), (8, 18, 24)),
    "another codec": (lambda folder: written(folder, "avi", "mpeg4", greys(8), options={"bf": "0"}), (8, 16, 32)),
    "variable frame rate": (
        lambda folder: written(
            folder, "matroska", "ffv1", greys(8), ticks=[40 * tick for tick in TICKS], time_base=Fraction(1, 1000)
        ),
        (20, 16, 32),
    ),
    "one frame": (lambda folder: upright(folder, 1), (1, 32, 48)),
    "120 frames a second": (lambda folder: upright(folder, 12, 120), (12, 32, 48)),
    "three tracks of sound": (three_tracks, (5, 16, 32)),
}
"""Videos that any service takes, with their frames, height and width as H.264 has them: an odd side gains a pixel."""


def large(folder: Path) -> bytes:
    """A video of 8192 by 4320 pixels a frame, far more than its file."""
    return written(folder, "matroska", "ffv1", [av.VideoFrame(8192, 4320, "gray")])


BAD: dict[str, tuple[Write, str]] = {
    "not a video": (lambda folder: b"no video at all", "video is unreadable"),
    "no frames": (lambda folder: b"RIFF\x00\x00\x00\x00AVI ", "video is"),
    "broken half-way": (lambda folder: upright(folder, 20)[:8000], "video is"),
    "larger than is read": (large, "pixels a frame"),
}
"""Videos that no service takes, with what is said of them."""

RATES: dict[str, tuple[Write, str]] = {
    "0.1 fps": (lambda folder: written(folder, "mp4", "libx264", greys(4), fps=Fraction(1, 10)), "from 1 to 120"),
    "1000 fps": (lambda folder: written(folder, "mp4", "libx264", greys(4), fps=1000), "must be from 1 to 120"),
}
"""Videos that are heard, but neither edited nor brought to full HD."""
