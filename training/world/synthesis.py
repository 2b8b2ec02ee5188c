"""The few signals that every sound of the world is made of. Times in seconds, 48,000 samples each.

Everything is causal and drawn sample by sample, so a longer sound begins exactly with the shorter one.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

from kino.shapes import SAMPLE_RATE

Signal = NDArray[np.float64]
Mode = tuple[float, float, float]
"""Frequency in Hz, gain and decay time (to 1/e) of one way in which a body rings."""

LEVEL_SECONDS = 0.05


def clock(count: int) -> Signal:
    """The time of each sample."""
    return np.arange(count) / SAMPLE_RATE


def samples(seconds: float) -> int:
    """How many samples a time takes, to the nearest."""
    return round(seconds * SAMPLE_RATE)


def strike(count: int, attack_seconds: float, decay_seconds: float) -> Signal:
    """An envelope that rises as a half cosine to one and falls exponentially."""
    times = clock(count)
    rise = 0.5 - 0.5 * np.cos(np.pi * np.clip(times / attack_seconds, 0, 1))
    return np.asarray(rise * np.exp(-np.maximum(times - attack_seconds, 0) / decay_seconds))


def tone(hz: Signal, phase: float = 0.0) -> Signal:
    """A sine whose frequency may change from sample to sample."""
    return np.asarray(np.sin(phase + 2 * np.pi * (np.cumsum(hz) - hz[0]) / SAMPLE_RATE))


def ring(count: int, modes: tuple[Mode, ...]) -> Signal:
    """A struck body: each mode a decaying sine that starts at zero."""
    times = clock(count)
    total = np.zeros(count)
    for hz, gain, seconds in modes:
        total += gain * np.exp(-times / seconds) * np.sin(2 * np.pi * hz * times)
    return total


def noise(rng: np.random.Generator, count: int, low_hz: float, high_hz: float) -> Signal:
    """Noise of one band, its power about one."""
    loudness = (SAMPLE_RATE / 2 / (high_hz - low_hz)) ** 0.5
    return np.asarray(sosfilt(_band(low_hz, high_hz), rng.standard_normal(count)) * loudness)


def swept_noise(rng: np.random.Generator, centre_hz: Signal, width_hz: float) -> Signal:
    """Noise of a band whose centre may change from sample to sample, its power about one."""
    wide = sosfilt(_low(width_hz / 2), rng.standard_normal((len(centre_hz), 2)), axis=0)
    angle = 2 * np.pi * np.cumsum(centre_hz) / SAMPLE_RATE
    loudness = (SAMPLE_RATE / width_hz) ** 0.5
    return np.asarray(loudness * (wide[:, 0] * np.cos(angle) - wide[:, 1] * np.sin(angle)))


def wander(rng: np.random.Generator, count: int, slowest_seconds: float) -> Signal:
    """A slow swell from -1 to 1: three sines of unrelated periods, the longest given."""
    phases = rng.uniform(0, 2 * np.pi, 3)
    times = clock(count) * 2 * np.pi / slowest_seconds
    weights, speeds = (0.5, 0.3, 0.2), (1.0, 1.618, 2.718)
    swells = (w * np.sin(s * times + p) for w, s, p in zip(weights, speeds, phases, strict=True))
    return np.asarray(sum(swells))


def levelled(sound: Signal) -> Signal:
    """The sound with one as the largest root mean square over 50 ms."""
    width = samples(LEVEL_SECONDS)
    energy = np.cumsum(np.pad(np.square(sound), (width, 0)))
    return np.asarray(sound / ((energy[width:] - energy[:-width]).max() / width) ** 0.5)


def add(track: Signal, sound: Signal, seconds: float) -> None:
    """Add a sound to a track from a time on; what lies past the end is left out."""
    start = samples(seconds)
    stop = min(len(track), start + len(sound))
    if start < stop:
        track[start:stop] += sound[: stop - start]


@cache
def _band(low_hz: float, high_hz: float) -> Signal:
    return np.asarray(butter(2, (low_hz, high_hz), "bandpass", fs=SAMPLE_RATE, output="sos"))


@cache
def _low(high_hz: float) -> Signal:
    return np.asarray(butter(2, high_hz, "lowpass", fs=SAMPLE_RATE, output="sos"))
