"""What the judge of sound measures: energy in bands over time, how suddenly it rises, and whether a motor turns in it.

Frames follow each other every 5 ms; frame i is centred on the sample 240 i.
"""

from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from kino.shapes import SAMPLE_RATE

Floats = NDArray[np.float64]

HOP = 240
WINDOW = 1024
BAND_EDGES_HZ = np.geomspace(60.0, 14000.0, 21)
FLOOR_DB = -40.0
"""Below the loudest frame of the clip; what is weaker does not count as a rise."""
BEFORE = (3, 8)
"""A rise is measured against the loudest of the frames so many before: 15 to 40 ms, more than a window back."""

SLOTS = ((-2, 5), (5, 12), (12, 24), (24, 48), (48, 80))
"""Spans of frames after an onset over which its energy is averaged."""
SLOTS_FLOOR_DB = -30.0
_BACKGROUND = (-20, -6)

PITCH_WINDOW = 1024
PITCH_STEP = 8
"""Pitch is looked for at 6 kHz, in windows of 171 ms every 85 ms."""
PITCH_HZ = (40.0, 150.0)
DEEP_HZ = 115.0


def band_energies(samples: NDArray[np.floating]) -> Floats:
    """Energy of each frame in each of 20 bands from 60 Hz to 14 kHz, [t 20]; at least one frame."""
    count = max(1, len(samples) // HOP)
    padded = np.pad(np.asarray(samples, np.float64), (WINDOW // 2, WINDOW))
    frames = np.lib.stride_tricks.sliding_window_view(padded, WINDOW)[::HOP][:count]
    power = np.abs(np.fft.rfft(frames * np.hanning(WINDOW), axis=1)) ** 2
    return np.asarray(power @ _band_matrix())


def background(energies: Floats) -> Floats:
    """What lasts: the lower quartile over time of each band, [20]."""
    return np.asarray(np.percentile(energies, 25, axis=0))


def rises(energies: Floats) -> Floats:
    """How much louder each frame is than those just before it: the mean over the bands in dB, falls left out, [t].

    Before the clip the background is heard.
    """
    levels = 10 * np.log10(energies + max(energies.mean(axis=1).max(), 1e-12) * 10 ** (FLOOR_DB / 10))
    first, last = BEFORE
    earlier = np.concatenate([np.repeat(background(levels)[None], last, axis=0), levels])
    spans = np.lib.stride_tricks.sliding_window_view(earlier, last - first + 1, axis=0)
    return np.asarray(np.maximum(levels - spans[: len(levels)].max(axis=-1), 0).mean(axis=1))


def peaks(values: Floats, least: float, reach: int) -> list[int]:
    """Where a series is at least `least` and highest among `reach` values to either side."""
    return [
        int(index)
        for index in np.flatnonzero(values >= least)
        if values[index] == values[max(0, index - reach) : index + reach + 1].max()
    ]


def imprint(energies: Floats, onset: int) -> Floats:
    """What an onset adds to what was there before: level of each slot and band in dB below the highest, [5 20].

    Slots past the end of the clip are NaN. Levels end at `SLOTS_FLOOR_DB`; where nothing is added all are there.
    """
    start, stop = onset + _BACKGROUND[0], onset + _BACKGROUND[1]
    before = energies[start:stop].mean(axis=0) if start >= 0 else background(energies)
    added = np.full((len(SLOTS), energies.shape[1]), np.nan)
    for row, (first, last) in enumerate(SLOTS):
        span = energies[max(0, onset + first) : onset + last]
        if onset + first < len(energies):
            added[row] = np.maximum(span.mean(axis=0) - before, 0)
    floor = 10 ** (SLOTS_FLOOR_DB / 10)
    highest = max(float(np.nanmax(added)), 1e-12)
    return np.asarray(10 * np.log10(np.maximum(added / highest, floor)))


def motor(samples: NDArray[np.floating]) -> tuple[Floats, Floats]:
    """How periodic each window is at the pitch of a motor (0 to 1), and the share of its energy that is deep, [n] each.

    A sound shorter than a window has none.
    """
    low = sosfilt(_below_1500(), np.asarray(samples, np.float64))[::PITCH_STEP]
    if len(low) < PITCH_WINDOW:
        return np.zeros(0), np.zeros(0)
    rate = SAMPLE_RATE / PITCH_STEP
    frames = np.lib.stride_tricks.sliding_window_view(low, PITCH_WINDOW)[:: PITCH_WINDOW // 2]
    shape = np.hanning(PITCH_WINDOW)
    power = np.abs(np.fft.rfft(frames * shape, 2 * PITCH_WINDOW, axis=1)) ** 2
    lags = slice(round(rate / PITCH_HZ[1]), round(rate / PITCH_HZ[0]))
    alone = np.fft.irfft(np.abs(np.fft.rfft(shape, 2 * PITCH_WINDOW)) ** 2)
    likeness = np.fft.irfft(power, axis=1)
    total = np.maximum(likeness[:, :1], 1e-12)
    periodic = (likeness[:, lags] / total / (alone[lags] / alone[0])).max(axis=1)
    deep = power[:, np.fft.rfftfreq(2 * PITCH_WINDOW, 1 / rate) < DEEP_HZ].sum(axis=1)
    return np.asarray(periodic), np.asarray(deep / np.maximum(power.sum(axis=1), 1e-12))


@cache
def _band_matrix() -> Floats:
    """Which bins each band sums; a band too narrow to hold a bin takes the nearest, [513 20]."""
    bins = np.fft.rfftfreq(WINDOW, 1 / SAMPLE_RATE)
    matrix = np.zeros((len(bins), len(BAND_EDGES_HZ) - 1))
    for band, (low, high) in enumerate(pairwise(BAND_EDGES_HZ)):
        matrix[(bins >= low) & (bins < high), band] = 1
        if not matrix[:, band].any():
            matrix[np.abs(bins - (low * high) ** 0.5).argmin(), band] = 1
    return matrix


@cache
def _below_1500() -> Floats:
    return np.asarray(butter(2, 1500, fs=SAMPLE_RATE, output="sos"))
