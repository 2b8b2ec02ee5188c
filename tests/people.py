"""Pictures in which the identity encoder of random weights finds nobody, one person or two."""

import numpy as np

from kino.media import Frames

SEEDS = (9, 7, 1)
"""By how many people are found."""
ANOTHER = 22
"""Of one person as well, another one."""


def picture(people: int, seed: int | None = None) -> Frames:
    """A wall of one colour with a patch of another, uint8 [64 16 3], drawn so that as many faces are found."""
    draw = np.random.default_rng(SEEDS[people] if seed is None else seed)
    pixels = np.empty((64, 16, 3), np.uint8)
    pixels[:] = draw.integers(0, 256, 3)
    y, x = draw.integers(0, 56), draw.integers(0, 8)
    pixels[y : y + 8, x : x + 8] = draw.integers(0, 256, 3)
    return pixels
