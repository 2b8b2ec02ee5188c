import numpy as np
import pytest

from kino.shapes import SAMPLE_RATE
from training.world.borders import border_decibels

BORDERS = range(2 * SAMPLE_RATE, 60 * SAMPLE_RATE, 2 * SAMPLE_RATE)


def test_borders_of_even_noise_are_as_loud_as_the_rest() -> None:
    sound = np.random.default_rng(0).standard_normal(60 * SAMPLE_RATE)
    assert border_decibels(sound, BORDERS) == pytest.approx(0.0, abs=0.2)


def test_a_louder_border_is_heard_by_as_much() -> None:
    """Twice as loud within 20 ms of every border: 6 dB."""
    sound = np.random.default_rng(0).standard_normal(60 * SAMPLE_RATE)
    for border in BORDERS:
        sound[border - SAMPLE_RATE // 50 : border + SAMPLE_RATE // 50] *= 2
    assert border_decibels(sound, BORDERS) == pytest.approx(6.02, abs=0.3)
