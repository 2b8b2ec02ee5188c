"""The rows of sizes: one preset, one row. `1b`, `5b` and `30b` carry published numbers, `mini` and `nano` are ours."""

from dataclasses import dataclass

from kino.models.dit import DitConfig
from kino.models.lm import LmConfig
from kino.models.tae import TaeConfig
from kino.models.text import TowerConfig
from kino.shapes import ASPECTS, Grid, Size, latent_grid, size_for_aspect


@dataclass(frozen=True)
class VideoLimits:
    """What a generator row may be asked for, and what it makes when not told otherwise.

    Args:
        pixels: side of the square whose area every aspect keeps.
        max_pixels: `pixels` of the largest clips.
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
        """Longest side of a clip in pixels: the longest of any aspect."""
        return max(max(size.height, size.width) for size in self._largest_sizes)

    @property
    def max_area(self) -> int:
        """Most pixels of a frame: those of the aspect whose rounding adds most."""
        return max(size.height * size.width for size in self._largest_sizes)

    @property
    def _largest_sizes(self) -> list[Size]:
        return [size_for_aspect(aspect, self.max_pixels) for aspect in ASPECTS]

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
        grid = latent_grid(frames, Size(height, width))
        if height * width > self.max_area:
            raise ValueError(f"height is {height}, must be at most {self.max_area // width} at a width of {width}")
        return grid


@dataclass(frozen=True)
class SamplerDefaults:
    """Sampling when a request does not say: Euler steps, the linear schedule they follow, and the guidance scale."""

    steps: int
    linear_steps: int
    guidance: float


@dataclass(frozen=True)
class Preset:
    """One family of networks that fit each other.

    Args:
        towers: text towers by name; empty where the row's towers are not ours to make.
    """

    name: str
    tae: TaeConfig
    dit: DitConfig
    towers: dict[str, TowerConfig]
    rewriter: LmConfig
    video: VideoLimits
    sampler: SamplerDefaults

    @property
    def text_shapes(self) -> dict[str, tuple[int, int]]:
        """Most rows of one text and their width, by tower; a tower that is published elsewhere may give up to 512."""
        return {
            name: (self.towers[name].max_rows if name in self.towers else 512, width)
            for name, width in self.dit.text_widths
        }


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
# UL2 20B, ByT5-small and the MetaCLIP text tower (Movie Gen, section 3.2.2; the towers' own papers).
PAPER_TEXT_WIDTHS = (("ul2", 4096), ("byt5", 1472), ("metaclip", 1280))
# 2 x 2 patches of 1168 x 496, the longest side of the 768 px aspects, and 32 latent frames (Movie Gen, section 3.2.2).
PAPER_GRID = (32, 80, 80)
# The latent-diffusion autoencoder of compression 8, inflated (Movie Gen, section 3.1.1; arXiv 2112.10752, KL-f8).
PAPER_TAE = TaeConfig(16, (128, 256, 512, 512), encoder_blocks=2, decoder_blocks=3, attention=True)
# Llama 3 8B (arXiv 2407.21783, table 3).
PAPER_REWRITER = LmConfig(128_256, 4096, 32, 32, 8, 14_336, 8192, base=500_000.0)


def paper_row(name: str, width: int, layers: int, heads: int, hidden: int) -> Preset:
    """A row of the paper's family: 768 px, up to 16 s; its towers are published elsewhere and loaded from there."""
    return Preset(
        name=name,
        tae=PAPER_TAE,
        dit=DitConfig(width, layers, heads, hidden, PAPER_TEXT_WIDTHS, PAPER_GRID),
        towers={},
        rewriter=PAPER_REWRITER,
        video=VideoLimits(768, 768, 256, (16, 24), 256, 16),
        sampler=SamplerDefaults(50, 1000, 7.5),
    )


PRESETS: dict[str, Preset] = {
    "nano": Preset(
        name="nano",
        tae=TaeConfig(
            16, (16, 16), encoder_blocks=1, decoder_blocks=1, attention=True, temporal_patch=4, spatial_patch=4
        ),
        dit=DitConfig(64, 2, 2, 128, text_widths(NANO_TOWERS), max_grid=(32, 32, 32)),
        towers=NANO_TOWERS,
        rewriter=LmConfig(259, 32, 1, 2, 2, 64, 512, tokens="bytes"),
        video=VideoLimits(32, 64, 256, (8, 12, 16, 24), 16, 16),
        sampler=SamplerDefaults(8, 200, 2.0),
    ),
    "mini": Preset(
        name="mini",
        tae=TaeConfig(
            16, (96, 160), encoder_blocks=1, decoder_blocks=2, attention=False, temporal_patch=4, spatial_patch=4
        ),
        dit=DitConfig(320, 5, 5, 640, text_widths(MINI_TOWERS), max_grid=(32, 16, 16), later_position_gain=0.3),
        towers=MINI_TOWERS,
        rewriter=LmConfig(1024, 160, 4, 4, 2, 320, 384),
        video=VideoLimits(96, 128, 256, (16,), 32, 16),
        sampler=SamplerDefaults(50, 1000, 3.0),
    ),
    "1b": paper_row("1b", 1536, 24, 16, 4096),
    "5b": paper_row("5b", 3072, 32, 24, 8192),
    "30b": paper_row("30b", 6144, 48, 48, 16_384),
}
