import numpy as np
import pytest

from kino.shapes import SAMPLE_RATE
from training.world.music import MOODS, SHARE, drawn_mood, music


def notes(mood: str, seed: int) -> set[int]:
    """The loudest five pitches of the first 1.2 seconds, in semitones above A, octaves folded."""
    count = 6 * SAMPLE_RATE // 5
    power = np.abs(np.fft.rfft(music(mood, count, seed)[:count] * np.hanning(count))) ** 2
    hz = np.fft.rfftfreq(count, 1 / SAMPLE_RATE)
    tops = [i for i in range(1, len(power) - 1) if power[i] > max(power[i - 1], power[i + 1]) and hz[i] > 100]
    loudest = sorted(tops, key=lambda i: power[i])[-3:]
    return {round(12 * np.log2(hz[i] / 220)) % 12 for i in loudest}


@pytest.mark.parametrize("mood", MOODS)
def test_music_is_soft_repeatable_and_grows_at_the_end(mood: str) -> None:
    long = music(mood, 6 * SAMPLE_RATE, 3)
    assert 0.2 < long.std() < 1.0
    assert long[0] == 0
    assert np.abs(np.diff(long)).max() < 0.15 * np.abs(long).max()
    np.testing.assert_allclose(music(mood, 2 * SAMPLE_RATE, 3), long[: 2 * SAMPLE_RATE], atol=1e-9)


def test_happy_chords_are_major_and_sad_ones_hold_a_minor_third() -> None:
    major = {frozenset((root + step) % 12 for step in (0, 4, 7)) for root in range(12)}
    minor = {frozenset((root + step) % 12 for step in (0, 3, 7)) for root in range(12)}
    assert sum(frozenset(notes("happy", seed)) in major for seed in range(6)) >= 4
    assert sum(frozenset(notes("sad", seed)) in major | minor for seed in range(6)) >= 4
    assert not any(frozenset(notes("tense", seed)) in major | minor for seed in range(6))


def test_a_share_of_seeds_draws_music_and_every_mood_occurs() -> None:
    drawn = [drawn_mood(seed) for seed in range(1000)]
    assert sum(mood is not None for mood in drawn) / 1000 == pytest.approx(SHARE, abs=0.05)
    assert {mood for mood in drawn if mood} == set(MOODS)


def test_unknown_moods_are_refused() -> None:
    with pytest.raises(ValueError, match="mood is 'angry'"):
        music("angry", 100, 0)
