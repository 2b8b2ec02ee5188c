"""The rows of sizes: one preset, one row. `1b`, `5b` and `30b` carry published numbers, `mini` and `nano` are ours."""

from dataclasses import dataclass

from kino.models.dit import DitConfig
from kino.models.lm import LmConfig
from kino.models.tae import TaeConfig
from kino.models.text import TowerConfig
from kino.shapes import Grid, Size, latent_grid


@dataclass(frozen=True)
class VideoLimits:
    """What a generator row may be asked for, and what it makes when not told otherwise.

    Args:
        pixels: side of the square whose area every aspect keeps.
        max_pixels: side of the square whose area no clip may exceed.
        max_frames: longest clip.
        frame_rates: frame rates in frames per second that the row was made for.
    """

    pixels: int
    max_pixels: int
    max_frames: int
    frame_rates: tuple[int, ...]
    frames: int
    fps: int

    @property
    def max_side(self) -> int:
        """Longest side of a clip in pixels: twice that of the largest square, room for every aspect."""
        return 2 * self.max_pixels

    def grid(self, frames: int, height: int, width: int) -> Grid:
        """Latent extent of a clip that keeps the bounds.

        Raises:
            ValueError: it breaks one; field, value and bound are named.
        """
        bounds = (("frames", frames, self.max_frames), ("height", height, self.max_side), ("width", width, self.max_side))
        for field, value, maximum in bounds:
            if not 1 <= value <= maximum:
                raise ValueError(f"{field} is {value}, must be from 1 to {maximum}")
        grid = latent_grid(frames, Size(height, width))
        if height * width > self.max_pixels**2:
            raise ValueError(f"height is {height}, must be at most {self.max_pixels**2 // width} at a width of {width}")
        return grid


@dataclass(frozen=True)
class SamplerDefaults:
    """Sampling when a request does not say: Euler steps, the linear schedule they follow, and the guidance scale."""

    steps: int
    linear_steps: int
    guidance: float


@dataclass(frozen=True)
class Preset:
    """One family of networks that fit each other."""

    name: str
    tae: TaeConfig
    dit: DitConfig
    towers: dict[str, TowerConfig]
    rewriter: LmConfig
    video: VideoLimits
    sampler: SamplerDefaults


def text_widths(towers: dict[str, TowerConfig]) -> tuple[tuple[str, int], ...]:
    """Width of each tower's rows, in the order a generator concatenates them."""
    return tuple((name, tower.width) for name, tower in towers.items())


NANO_TOWERS = {
    "ul2": TowerConfig(259, 32, 1, 2, 64, 64, tokens="bytes"),
    "byt5": TowerConfig(259, 32, 1, 2, 64, 32, tokens="bytes", reads="quotes"),
    "metaclip": TowerConfig(259, 32, 1, 2, 64, 64, tokens="bytes", output="pooled"),
}
MINI_TOWERS = {
    "ul2": TowerConfig(1024, 192, 3, 3, 512, 64),
    "byt5": TowerConfig(384, 96, 2, 3, 256, 32, tokens="bytes", reads="quotes"),
    "metaclip": TowerConfig(1024, 192, 2, 3, 512, 64, output="pooled"),
}
# Widths of UL2 20B, ByT5-small and the MetaCLIP text tower (Movie Gen, section 3.2.2; the towers' own papers).
PAPER_TEXT_WIDTHS = (("ul2", 4096), ("byt5", 1472), ("metaclip", 1280))

PRESETS: dict[str, Preset] = {
    "nano": Preset(
        name="nano",
        tae=TaeConfig(
            16, (16, 16), encoder_blocks=1, decoder_blocks=1, attention=True, temporal_patch=4, spatial_patch=4
        ),
        dit=DitConfig(64, 2, 2, 128, text_widths(NANO_TOWERS), max_grid=(32, 32, 32)),
        towers=NANO_TOWERS,
        rewriter=LmConfig(259, 32, 1, 2, 2, 64, 512),
        video=VideoLimits(32, 64, 256, (8, 12, 16, 24), 16, 16),
        sampler=SamplerDefaults(8, 200, 2.0),
    ),
    "mini": Preset(
        name="mini",
        tae=TaeConfig(
            16, (96, 160), encoder_blocks=1, decoder_blocks=2, attention=False, temporal_patch=4, spatial_patch=4
        ),
        dit=DitConfig(320, 6, 5, 640, text_widths(MINI_TOWERS), max_grid=(32, 16, 16), later_position_gain=0.3),
        towers=MINI_TOWERS,
        rewriter=LmConfig(1024, 160, 4, 4, 2, 448, 256),
        video=VideoLimits(96, 128, 256, (16,), 32, 16),
        sampler=SamplerDefaults(50, 1000, 3.0),
    ),
}
