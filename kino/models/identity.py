"""Identity encoder: finds the faces of a picture, and turns each into tokens and a row that tell whose it is.

It stands where the published system has a face detector, the vision tower of Long-prompt MetaCLIP for the tokens, and
ArcFace for the likeness (Movie Gen, arXiv 2410.13720, section 4). Ours is one small convolutional network for all
three, trained on the people of the world; it knows nobody else. The finder is after CenterNet (arXiv 1904.07850): on a
coarse grid, whether a face's middle lies in a cell, where in it, and how large the face is.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from kino.models.vision import PATCH, Residual, Vision, VisionConfig

FOUND = 0.5
"""Probability from which a face counts as found."""
NEAR = 0.8
"""Two found faces nearer than this share of the larger one's reach are one."""


@dataclass(frozen=True)
class IdentityConfig:
    """Sizes of an identity encoder.

    Args:
        view: faces are sought in pictures scaled to the area of a square of this side in pixels.
        finder: channels of each level of the finder; its grid's cells are 4 x 2^(levels - 1) pixels wide.
        size, widths: of the `Vision` network that sees a face.
        features: values of a face's row.
        tokens: rows that a generator reads them as, of features / tokens values each.
    """

    view: int
    finder: tuple[int, ...]
    size: int
    widths: tuple[int, ...]
    features: int
    tokens: int

    @property
    def cell(self) -> int:
        """Side of a cell of the finder's grid in pixels of the scaled picture."""
        return PATCH * 2 ** (len(self.finder) - 1)

    @property
    def token_width(self) -> int:
        """Values of one token."""
        return self.features // self.tokens


class FoundFace(NamedTuple):
    """A face in a picture, in pixels: its middle, half the side of the square about face and hair, and how sure."""

    x: float
    y: float
    reach: float
    probability: float


class Identity(nn.Module):
    """The finder, and the encoder of what it finds."""

    def __init__(self, config: IdentityConfig) -> None:
        super().__init__()
        self.config = config
        first = config.finder[0]
        layers: list[nn.Module] = [nn.Conv2d(3, first, PATCH, stride=PATCH), Residual(first)]
        for width, wider in pairwise(config.finder):
            layers += [nn.Conv2d(width, wider, 2, stride=2), Residual(wider)]
        self.finder = nn.Sequential(*layers, nn.SiLU(), nn.Conv2d(config.finder[-1], 4, 3, padding=1))
        self.vision = Vision(VisionConfig(config.size, config.widths, config.features))

    def forward(self, faces: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n d"]:
        """Rows of unit length of cut faces in [-1, 1]: the cosine of two is the likeness of their people."""
        return F.normalize(self.vision(faces), dim=-1)

    def tokens(self, faces: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n m d"]:
        """What a generator reads of cut faces in [-1, 1]."""
        return rearrange(self.vision(faces), "n (m d) -> n m d", m=self.config.tokens)

    def grid(self, pictures: Float[Tensor, "n 3 h w"]) -> Float[Tensor, "n 4 gh gw"]:
        """Of each cell of pictures whose sides are multiples of a cell: presence as a logit, place, logarithm of reach.

        The place is that of the face's middle from the cell's middle; place and reach are in cells.
        """
        found: Tensor = self.finder(pictures)
        return found

    def find(self, picture: Float[Tensor, "3 h w"]) -> list[FoundFace]:
        """The faces of a picture in [-1, 1], the surest first."""
        _, height, width = picture.shape
        grid = self.grid(self._scaled(picture))[0].float().cpu()
        presence, rows, columns = torch.sigmoid(grid[0]), grid.shape[1], grid.shape[2]
        found: list[FoundFace] = []
        for index in presence.flatten().argsort(descending=True).tolist():
            row, column = divmod(index, columns)
            probability, (x, y, size) = float(presence[row, column]), grid[1:, row, column].tolist()
            if probability < FOUND:
                break
            scale = (height / rows * width / columns) ** 0.5
            face = FoundFace(
                (column + 0.5 + x) * width / columns,
                (row + 0.5 + y) * height / rows,
                scale * float(torch.tensor(size).exp()),
                probability,
            )
            if all(_apart(face, other) for other in found):
                found.append(face)
        return found

    def _scaled(self, picture: Tensor) -> Tensor:
        _, height, width = picture.shape
        cell, shrunk = self.config.cell, self.config.view / (height * width) ** 0.5
        size = [max(1, round(side * shrunk / cell)) * cell for side in (height, width)]
        return F.interpolate(picture[None], size, mode="bilinear", antialias=True)


def _apart(face: FoundFace, other: FoundFace) -> bool:
    distance = ((face.x - other.x) ** 2 + (face.y - other.y) ** 2) ** 0.5
    return distance >= NEAR * max(face.reach, other.reach)


def cut(picture: Float[Tensor, "3 h w"], x: float, y: float, reach: float, size: int) -> Float[Tensor, "3 s s"]:
    """The square about a face, scaled to `size`; beyond the picture its border goes on.

    Args:
        x, y: middle of the face in pixels.
        reach: half the side of the square in pixels.
    """
    _, height, width = picture.shape
    side = max(1, round(2 * reach))
    left, top = round(x - side / 2), round(y - side / 2)
    rows = torch.arange(top, top + side, device=picture.device).clamp(0, height - 1)
    columns = torch.arange(left, left + side, device=picture.device).clamp(0, width - 1)
    square = picture[:, rows][:, :, columns]
    return F.interpolate(square[None], (size, size), mode="bilinear", antialias=True)[0]
