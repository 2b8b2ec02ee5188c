"""What each place sounds like when nothing happens: wind, waves, leaves and birds, traffic, crickets, room tone.

Every bed has a power of about one and no sharp onsets but those of its animals, which are high and thin.
"""

from collections.abc import Callable

import numpy as np

from kino.shapes import SAMPLE_RATE
from training.world.synthesis import Signal, add, clock, noise, samples, strike, swept_noise, tone, wander

Generators = Callable[[int], np.random.Generator]


def ambience(place: str, count: int, seed: int) -> Signal:
    """The sound of a place from time zero on; a longer one begins with the shorter one."""

    def layer(number: int) -> np.random.Generator:
        return np.random.default_rng([seed, 7, number])

    return _PLACES[place](count, layer)


def _meadow(count: int, layer: Generators) -> Signal:
    breeze = noise(layer(0), count, 150, 700) * (0.75 + 0.25 * wander(layer(1), count, 5.0))
    return breeze + 0.12 * noise(layer(2), count, 2000, 7000) + _birds(count, layer(3), (3800, 5200), 0.06, 4, 0.7)


def _snow(count: int, layer: Generators) -> Signal:
    whistle = 680 * 1.3 ** wander(layer(0), count, 4.0)
    return 0.8 * swept_noise(layer(1), whistle, 90) + 0.5 * noise(layer(2), count, 100, 350)


def _desert(count: int, layer: Generators) -> Signal:
    gusts = 0.75 + 0.25 * wander(layer(0), count, 4.5)
    moan = swept_noise(layer(1), 300 * 1.25 ** wander(layer(2), count, 6.0), 160)
    return gusts * (0.75 * moan + 0.5 * noise(layer(3), count, 3500, 11000))


def _beach(count: int, layer: Generators) -> Signal:
    phase = float(layer(0).uniform(0, 1))
    swell = 0.5 - 0.5 * np.cos(2 * np.pi * (clock(count) / 5.5 + phase))
    breaking = noise(layer(1), count, 500, 5500) * (0.25 + 0.75 * swell**2)
    return breaking + 0.5 * noise(layer(2), count, 80, 300) * (0.6 + 0.4 * swell)


def _forest(count: int, layer: Generators) -> Signal:
    leaves = noise(layer(0), count, 2500, 9000) * (0.7 + 0.3 * wander(layer(1), count, 4.0))
    return 0.8 * leaves + 0.3 * noise(layer(2), count, 150, 500) + _birds(count, layer(3), (1700, 2400), 0.16, 2, 1.1)


def _city(count: int, layer: Generators) -> Signal:
    traffic = noise(layer(0), count, 60, 280) * (0.8 + 0.2 * wander(layer(1), count, 6.0))
    passing = noise(layer(2), count, 500, 1600) * (0.7 + 0.3 * wander(layer(3), count, 3.5))
    return 0.9 * traffic + 0.35 * passing


def _night(count: int, layer: Generators) -> Signal:
    return (
        0.35 * noise(layer(0), count, 120, 500)
        + _crickets(count, layer(1), 4300, 0.42)
        + 0.6 * _crickets(count, layer(2), 4750, 0.57)
    )


def _room(count: int, layer: Generators) -> Signal:
    return 0.6 * noise(layer(0), count, 50, 160) + 0.08 * noise(layer(1), count, 160, 2500)


def _birds(
    count: int, rng: np.random.Generator, band: tuple[float, float], note_seconds: float, notes: int, pause: float
) -> Signal:
    """Calls of a few gliding notes, a pause of about `pause` seconds before each call."""
    track = np.zeros(count)
    length = samples(note_seconds)
    at = float(rng.uniform(0.1, pause))
    while at < count / SAMPLE_RATE:
        for index in range(notes):
            start, end = rng.uniform(*band, 2)
            glide = tone(np.linspace(start, end, length))
            note = 0.8 * glide * np.sin(np.pi * np.arange(length) / length) ** 2
            add(track, note, at + 1.25 * note_seconds * index)
        at += 1.25 * note_seconds * notes + float(rng.uniform(0.6, 1.4)) * pause
    return track


def _crickets(count: int, rng: np.random.Generator, hz: float, period: float) -> Signal:
    """Chirps of three pulses of one high note."""
    track = np.zeros(count)
    length = samples(0.022)
    pulse = strike(length, 0.008, 0.008) * tone(np.full(length, hz))
    at = float(rng.uniform(0, period))
    while at < count / SAMPLE_RATE:
        for index in range(3):
            add(track, 1.6 * pulse, at + 0.032 * index)
        at += period
    return track


_PLACES: dict[str, Callable[[int, Generators], Signal]] = {
    "meadow": _meadow,
    "snow": _snow,
    "desert": _desert,
    "beach": _beach,
    "forest": _forest,
    "city": _city,
    "night": _night,
    "room": _room,
}
