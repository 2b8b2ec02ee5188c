import numpy as np
import pytest

from kino.shapes import SAMPLE_RATE
from training.world.spectrum import BAND_EDGES_HZ, HOP, SLOTS_FLOOR_DB, band_energies, imprint, motor, peaks, rises


def hum(seconds: float, level: float = 0.01) -> np.ndarray:
    return level * np.random.default_rng(0).standard_normal(round(seconds * SAMPLE_RATE))


def test_a_tone_is_in_its_band() -> None:
    times = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    for hz in (100.0, 440.0, 5000.0):
        energies = band_energies(np.sin(2 * np.pi * hz * times))
        assert energies.shape == (200, 20)
        low = BAND_EDGES_HZ[energies[100].argmax()]
        assert low < hz < 1.8 * low


def test_a_burst_is_one_rise_at_its_start() -> None:
    sound = hum(1.0)
    sound[24000:26000] += 30 * hum(2000 / SAMPLE_RATE)
    found = peaks(rises(band_energies(sound)), 6.0, 20)
    assert len(found) == 1
    assert found[0] * HOP / SAMPLE_RATE == pytest.approx(0.5, abs=0.015)


def test_what_sounds_from_the_first_sample_rises_there_and_falls_are_no_rises() -> None:
    sound = hum(1.0)
    sound[:2000] += 30 * hum(2000 / SAMPLE_RATE)
    assert peaks(rises(band_energies(sound)), 6.0, 20)[0] * HOP / SAMPLE_RATE < 0.02
    assert rises(band_energies(sound))[20:].max() < 6


def test_peaks_are_highest_among_their_neighbours() -> None:
    assert peaks(np.array([0.0, 5, 4, 0, 0, 6, 1, 9, 0]), 4.0, 2) == [1, 7]


def test_an_imprint_leaves_out_what_was_there_before_and_what_lies_past_the_end() -> None:
    times = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    steady = np.sin(2 * np.pi * 5000 * times)
    struck = steady + 0.1 * np.sin(2 * np.pi * 300 * times) * (times >= 0.5)
    found = imprint(band_energies(struck), 100)
    assert BAND_EDGES_HZ[found[2].argmax()] < 300 < BAND_EDGES_HZ[found[2].argmax() + 1]
    assert found.max() == 0
    assert found[2, 19] == SLOTS_FLOOR_DB
    late = imprint(band_energies(struck[: SAMPLE_RATE // 2 + 2400]), 100)
    assert np.isfinite(late[:2]).all()
    assert np.isnan(late[2:]).all()


def test_only_a_deep_lasting_pitch_is_a_motor() -> None:
    times = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    engine = sum(np.sin(2 * np.pi * 80 * k * times) / k for k in range(1, 8))
    periodic, deep = motor(np.asarray(engine))
    assert periodic.min() > 0.9
    assert deep.min() > 0.5
    assert np.median(motor(hum(2.0))[0]) < 0.4
    assert motor(np.sin(2 * np.pi * 600 * times))[1].max() < 0.05
    assert len(motor(hum(0.1))[0]) == 0
