"""How loud a sound is where the windows begin that it was made in: a seam would be a click."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from kino.shapes import SAMPLE_RATE

NEAR_SAMPLES = SAMPLE_RATE // 100


def border_decibels(sound: NDArray[np.floating], borders: Iterable[int]) -> float:
    """Mean level of the second differences within 10 ms of some samples, less that of all others, in dB."""
    rough = np.abs(np.diff(sound.astype(np.float64), 2))
    near = np.zeros(len(rough), np.bool_)
    for middle in borders:
        near[max(middle - NEAR_SAMPLES, 0) : middle + NEAR_SAMPLES] = True
    levels = [np.log10(rough[part] + 1e-9).mean() for part in (near, ~near)]
    return float(20 * (levels[0] - levels[1]))
