"""Simple music by mood: held chords and a broken one above them, with onsets too soft to pass for an event."""

from dataclasses import dataclass

import numpy as np

from kino.shapes import SAMPLE_RATE
from training.world.synthesis import Signal, add, clock, samples

SHARE = 0.3
"""How often a scene has music, where nothing else is asked."""


@dataclass(frozen=True)
class Score:
    """How a mood is played.

    Attributes:
        chords: semitones above the A of 220 Hz, a bar each, again and again.
        bar_seconds: length of a bar.
        notes: notes of the broken chord in a bar; none leaves the chord alone.
        brightness: how fast overtones fade, from 0 (a sine) to 1.
    """

    chords: tuple[tuple[int, ...], ...]
    bar_seconds: float
    notes: int
    brightness: float


SCORES = {
    "happy": Score(((3, 7, 10), (8, 12, 15), (10, 14, 17), (3, 7, 10)), 1.6, 8, 0.5),
    "calm": Score(((3, 7, 14), (0, 7, 12), (8, 12, 19), (3, 10, 14)), 3.2, 4, 0.2),
    "sad": Score(((0, 3, 7), (-4, 0, 3), (-7, -4, 0), (0, 3, 7)), 3.2, 3, 0.25),
    "tense": Score(((0, 1, 6), (0, 3, 6), (-1, 5, 6), (0, 1, 6)), 2.4, 0, 0.7),
}
MOODS = tuple(SCORES)


def drawn_mood(seed: int) -> str | None:
    """The mood of the music that a scene of this seed has by default: none for most, else one of `MOODS`."""
    rng = np.random.default_rng([seed, 9])
    return MOODS[int(rng.integers(len(MOODS)))] if rng.random() < SHARE else None


def music(mood: str, count: int, seed: int) -> Signal:
    """Music from time zero on, of power about one; the seed sets the key and where in the piece it starts.

    Raises:
        ValueError: the mood is not one of `MOODS`.
    """
    if mood not in SCORES:
        raise ValueError(f"mood is {mood!r}; must be one of {', '.join(MOODS)}")
    score = SCORES[mood]
    rng = np.random.default_rng([seed, 8])
    key, first = int(rng.integers(-2, 3)), int(rng.integers(len(score.chords)))
    track = np.zeros(count)
    for bar in range(int(count / SAMPLE_RATE / score.bar_seconds) + 1):
        start = bar * score.bar_seconds
        chord = [220.0 * 2 ** ((step + key) / 12) for step in score.chords[(first + bar) % len(score.chords)]]
        for hz in chord:
            add(track, 0.45 * _note(hz, score.bar_seconds * 1.15, 0.15, score.brightness), start)
        if score.notes:
            beat = score.bar_seconds / score.notes
            broken = [0.4 * _note(2 * hz, 1.6 * beat, 0.06, score.brightness) for hz in chord]
            for index in range(score.notes):
                add(track, broken[(0, 1, 2, 1)[index % 4]], start + index * beat)
    return track


def _note(hz: float, seconds: float, rise_seconds: float, brightness: float) -> Signal:
    """A note with five harmonics that swells and fades."""
    times = clock(samples(seconds))
    shape = np.minimum(times / rise_seconds, (seconds - times) / (seconds - rise_seconds))
    shape = np.sin(0.5 * np.pi * np.clip(shape, 0, 1)) ** 2
    previous, sine, turn = np.zeros(len(times)), np.sin(2 * np.pi * hz * times), 2 * np.cos(2 * np.pi * hz * times)
    total = sine.copy()
    for k in range(2, 6):
        previous, sine = sine, turn * sine - previous  # sin kx = 2 cos x sin (k - 1)x - sin (k - 2)x
        total += brightness ** (k - 1) / k * sine
    return np.asarray(shape * total)
