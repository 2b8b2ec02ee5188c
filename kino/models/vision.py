"""Vision encoder: each frame of a video on its own to one row of features, which the audio generator listens by.

It stands where the published system has the image tower of MetaCLIP (Movie Gen, arXiv 2410.13720, section 6.1: 1,024
values a frame). Ours is a small residual convolutional network, trained to tell what a frame shows and where.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

PATCH = 4
BATCH = 256


@dataclass(frozen=True)
class VisionConfig:
    """Sizes of a vision encoder.

    Args:
        size: side in pixels that frames are scaled to, a multiple of 4 x 2^(levels - 1).
        widths: channels of each level; the grid of patches halves from one to the next.
        features: values of a frame's row.
    """

    size: int
    widths: tuple[int, ...]
    features: int

    def __post_init__(self) -> None:
        assert self.size % (PATCH * 2 ** (len(self.widths) - 1)) == 0

    @property
    def last_side(self) -> int:
        """Side of the last level's grid."""
        return self.size // (PATCH * 2 ** (len(self.widths) - 1))


class Vision(nn.Module):
    """Frames in [-1, 1] to rows of unit variance."""

    def __init__(self, config: VisionConfig) -> None:
        super().__init__()
        self.config = config
        layers: list[nn.Module] = [nn.Conv2d(3, config.widths[0], PATCH, stride=PATCH), Residual(config.widths[0])]
        for width, wider in pairwise(config.widths):
            layers += [nn.Conv2d(width, wider, 2, stride=2), Residual(wider)]
        self.trunk = nn.Sequential(*layers)
        self.out = nn.Linear(config.widths[-1] * config.last_side**2, config.features)
        self.norm = nn.LayerNorm(config.features)

    def forward(self, frames: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Rows of frames of any size."""
        rows: Tensor = self.norm(self.out(F.silu(self.trunk(self.scaled(frames))).flatten(1)))
        return rows

    def scaled(self, frames: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 s s"]:
        """Frames in the config's square, whatever their aspect; those that are so already stay as they are."""
        side = self.config.size
        if frames.shape[-2:] == (side, side):
            return frames
        return F.interpolate(frames, (side, side), mode="bilinear", antialias=True)


class Residual(nn.Module):
    """x + conv3(silu(conv3(silu(norm(x)))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.GroupNorm(4, width),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = x + self.layers(x)
        return changed


def batches(count: int) -> Iterator[slice]:
    """Consecutive spans of at most `BATCH` frames, so that a long video takes no more memory than a short one."""
    for start in range(0, count, BATCH):
        yield slice(start, min(start + BATCH, count))
