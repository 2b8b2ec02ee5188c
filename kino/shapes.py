"""Size arithmetic of frames, latents, tokens and samples. Every other module asks here; none computes its own."""

from dataclasses import dataclass
from fractions import Fraction
from math import isfinite, log

TEMPORAL_COMPRESSION = 8
SPATIAL_COMPRESSION = 8
PATCH_SIZE = 2
SAMPLE_RATE = 48_000
AUDIO_COMPRESSION = 1920
"""Samples of one audio latent: 25 latents a second."""
ASPECTS: dict[str, tuple[int, int]] = {
    "1:1": (1, 1),
    "16:9": (16, 9),
    "9:16": (9, 16),
    "4:3": (4, 3),
    "3:4": (3, 4),
    "21:9": (21, 9),
}


@dataclass(frozen=True)
class Size:
    """Height and width of a frame in pixels."""

    height: int
    width: int


@dataclass(frozen=True)
class Grid:
    """Extent of a latent video: t latent frames of h x w positions."""

    t: int
    h: int
    w: int

    @property
    def tokens(self) -> int:
        """Tokens after the 1 x 2 x 2 patch: t * (h / 2) * (w / 2); 73,728 for 256 frames of 768 px (Movie Gen, 3.1)."""
        return self.t * (self.h // PATCH_SIZE) * (self.w // PATCH_SIZE)


def latent_frames(frames: int) -> int:
    """Latent frames of a clip: ceil(frames / 8). An image is a clip of one frame. Raises ValueError below one frame."""
    if frames < 1:
        raise ValueError(f"frames is {frames}, must be at least 1")
    return -(-frames // TEMPORAL_COMPRESSION)


def latent_grid(frames: int, size: Size) -> Grid:
    """Latent extent of a clip.

    Raises:
        ValueError: a side is not a positive multiple of 16 (8 for the TAE, 2 for the patch).
    """
    multiple = SPATIAL_COMPRESSION * PATCH_SIZE
    for field, value in (("height", size.height), ("width", size.width)):
        if value < multiple or value % multiple:
            raise ValueError(f"{field} is {value}, must be a positive multiple of {multiple}")
    return Grid(latent_frames(frames), size.height // SPATIAL_COMPRESSION, size.width // SPATIAL_COMPRESSION)


def size_for_aspect(aspect: str, pixels: int) -> Size:
    """Frame size of an aspect ratio whose area is nearest to pixels x pixels, sides multiples of 16.

    The paper keeps the area of every aspect bucket alike (Movie Gen, section 3.2).
    Raises ValueError for an aspect that is not in ASPECTS.
    """
    if aspect not in ASPECTS:
        raise ValueError(f"aspect is {aspect!r}, must be one of {', '.join(ASPECTS)}")
    across, down = ASPECTS[aspect]
    multiple = SPATIAL_COMPRESSION * PATCH_SIZE
    heights = _multiples_around(pixels * (down / across) ** 0.5, multiple)
    widths = _multiples_around(pixels * (across / down) ** 0.5, multiple)

    def misfit(size: Size) -> float:
        return abs(log(size.width * down / (size.height * across))) + abs(log(size.height * size.width / pixels**2))

    return min((Size(height, width) for height in heights for width in widths), key=misfit)


def _multiples_around(value: float, multiple: int) -> tuple[int, int]:
    below = max(1, int(value // multiple)) * multiple
    return below, below + multiple


def frames_for_seconds(seconds: float, fps: int) -> int:
    """Frames of a clip: round(seconds x fps), at least one. Raises ValueError unless both are finite and positive."""
    if not (isfinite(seconds) and seconds > 0):
        raise ValueError(f"seconds is {seconds}, must be finite and greater than 0")
    if fps < 1:
        raise ValueError(f"fps is {fps}, must be at least 1")
    return max(1, round(seconds * fps))


def audio_samples(frames: int, fps: int | Fraction) -> int:
    """Samples of the sound track of a clip at 48 kHz: round(frames / fps x 48000), halves away from zero."""
    if frames < 1:
        raise ValueError(f"frames is {frames}, must be at least 1")
    if fps <= 0:
        raise ValueError(f"fps is {fps}, must be greater than 0")
    return (2 * frames * SAMPLE_RATE + fps) // (2 * fps)
