import numpy as np
import pytest

from kino.shapes import AUDIO_COMPRESSION, SAMPLE_RATE
from training.world.borders import border_decibels

WINDOW = 100


def test_borders_of_even_noise_are_as_loud_as_the_rest() -> None:
    sound = np.random.default_rng(0).standard_normal(60 * SAMPLE_RATE)
    assert border_decibels(sound, WINDOW) == pytest.approx(0.0, abs=0.2)


def test_a_louder_border_is_heard_by_as_much() -> None:
    """Twice as loud within 20 ms of each of the borders, every two seconds: 6 dB."""
    sound = np.random.default_rng(0).standard_normal(60 * SAMPLE_RATE)
    step = WINDOW // 2 * AUDIO_COMPRESSION
    for border in range(step, len(sound), step):
        sound[border - SAMPLE_RATE // 50 : border + SAMPLE_RATE // 50] *= 2
    assert border_decibels(sound, WINDOW) == pytest.approx(6.02, abs=0.3)
