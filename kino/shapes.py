"""Size arithmetic of frames, latents, tokens and samples. Every other module asks here; none computes its own."""

from dataclasses import asdict, dataclass, fields
from fractions import Fraction
from math import isfinite, log
from typing import Any, Self

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


FULL_HD = Size(1080, 1920)


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


def size_for_aspect(aspect: str, pixels: int, multiple: int = SPATIAL_COMPRESSION * PATCH_SIZE) -> Size:
    """Frame size of an aspect ratio whose area is nearest to pixels x pixels, sides multiples of `multiple`.

    The paper keeps the area of every aspect bucket alike (Movie Gen, section 3.2).
    Raises ValueError for an aspect that is not in ASPECTS.
    """
    if aspect not in ASPECTS:
        raise ValueError(f"aspect is {aspect!r}, must be one of {', '.join(ASPECTS)}")
    across, down = ASPECTS[aspect]
    heights = _multiples_around(pixels * (down / across) ** 0.5, multiple)
    widths = _multiples_around(pixels * (across / down) ** 0.5, multiple)

    def misfit(size: Size) -> float:
        return abs(log(size.width * down / (size.height * across))) + abs(log(size.height * size.width / pixels**2))

    return min((Size(height, width) for height in heights for width in widths), key=misfit)


def full_hd(height: int, width: int) -> Size:
    """Full HD of a picture's aspect: 1080 lines on the short side, or 1920 on the long one where that is less; even.

    A picture of 16:9 comes to 1080 x 1920, a square to 1080 x 1080.
    """
    scale = min(Fraction(FULL_HD.height, min(height, width)), Fraction(FULL_HD.width, max(height, width)))
    return Size(2 * max(1, round(scale * height / 2)), 2 * max(1, round(scale * width / 2)))


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


@dataclass(frozen=True)
class SoundLatents:
    """How the sound of a video lies in latents [c t m], where a model makes both.

    Args:
        channels: of a latent.
        bands: of pitch.
        per_second: times in a second.
    """

    channels: int
    bands: int
    per_second: float

    def shape(self, frames: int, fps: float) -> tuple[int, int, int]:
        """Shape of the sound of a video, of one time at least."""
        return self.channels, max(1, round(frames / fps * self.per_second)), self.bands


@dataclass(frozen=True)
class Clips:
    """What one version makes of noise, and what it may be asked for.

    Args:
        channels: of a latent.
        temporal: video frames that a latent frame stands for.
        first: video frames that the first latent frame stands for: 1 where the autoencoder is causal.
        spatial: pixels of a latent cell along either side.
        multiple: of height and width, in pixels.
        frames, height, width, fps: of a clip when not told otherwise.
        max_frames: longest clip; 1 where only pictures are made.
        max_side: longest side in pixels.
        max_area: most pixels of a frame.
    """

    channels: int
    temporal: int
    first: int
    spatial: int
    multiple: int
    frames: int
    height: int
    width: int
    fps: int
    max_frames: int
    max_side: int
    max_area: int

    def grid(self, frames: int, height: int, width: int) -> Grid:
        """Latent extent of a clip that keeps the bounds.

        Raises:
            ValueError: it breaks one; field, value and bound are named.
        """
        bounds = (
            ("frames", frames, self.max_frames),
            ("height", height, self.max_side),
            ("width", width, self.max_side),
        )
        for field, value, maximum in bounds:
            if not 1 <= value <= maximum:
                raise ValueError(f"{field} is {value}, must be from 1 to {maximum}")
        for field, value in (("height", height), ("width", width)):
            if value % self.multiple:
                raise ValueError(f"{field} is {value}, must be a positive multiple of {self.multiple}")
        if height * width > self.max_area:
            raise ValueError(f"height is {height}, must be at most {self.max_area // width} at a width of {width}")
        return Grid(self.latent_frames(frames), height // self.spatial, width // self.spatial)

    def latent_frames(self, frames: int) -> int:
        """Latent frames of a clip of at least one frame."""
        return 1 + max(0, -(-(frames - self.first) // self.temporal))

    def video_frames(self, latent_frames: int) -> tuple[int, int]:
        """Fewest and most frames of a clip of so many latent frames."""
        most = self.first + (latent_frames - 1) * self.temporal
        return (1 if latent_frames == 1 else most - self.temporal + 1), most

    @property
    def sizes(self) -> dict[str, Size]:
        """A size for each aspect ratio, the default size first under the name that is nearest to it."""
        default = Size(self.height, self.width)
        pixels = round((self.height * self.width) ** 0.5)
        sizes = {aspect: size_for_aspect(aspect, pixels, self.multiple) for aspect in ASPECTS}
        shape = self.width / self.height
        nearest = min(ASPECTS, key=lambda aspect: abs(log(shape * ASPECTS[aspect][1] / ASPECTS[aspect][0])))
        return {nearest: default} | {
            aspect: size for aspect, size in sizes.items() if aspect != nearest and self._takes(size)
        }

    def _takes(self, size: Size) -> bool:
        return max(size.height, size.width) <= self.max_side and size.height * size.width <= self.max_area

    def as_dict(self) -> dict[str, int]:
        """The fields as JSON holds them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any) -> Self:
        """The clips that `as_dict` told.

        Raises:
            ValueError: a field is missing, unknown or no positive whole number.
        """
        names = {item.name for item in fields(cls)}
        if not isinstance(values, dict) or values.keys() != names:
            raise ValueError(f"clips is {values!r:.80}, must have {', '.join(sorted(names))}")
        for name, value in values.items():
            if type(value) is not int or value < 1:
                raise ValueError(f"clips.{name} is {value!r:.80}, must be a whole number of at least 1")
        return cls(**values)
