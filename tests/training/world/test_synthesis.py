from collections.abc import Callable

import numpy as np
import pytest

from kino.shapes import SAMPLE_RATE
from training.world.synthesis import Signal, add, levelled, noise, ring, samples, strike, swept_noise, tone, wander


def spectrum(signal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.abs(np.fft.rfft(signal)) ** 2, np.fft.rfftfreq(len(signal), 1 / SAMPLE_RATE)


def test_noise_has_its_band_and_power_one() -> None:
    signal = noise(np.random.default_rng(0), 4 * SAMPLE_RATE, 1000, 3000)
    power, hz = spectrum(signal)
    assert power[(hz > 800) & (hz < 3600)].sum() / power.sum() > 0.9
    assert signal.std() == pytest.approx(1.0, abs=0.1)


def test_swept_noise_follows_its_centre() -> None:
    centre = np.linspace(500, 4000, 2 * SAMPLE_RATE)
    signal = swept_noise(np.random.default_rng(0), centre, 200)
    assert signal.std() == pytest.approx(1.0, abs=0.15)
    for start, expected in ((0, 700), (SAMPLE_RATE, 2400)):
        power, hz = spectrum(signal[start : start + SAMPLE_RATE // 4])
        assert (power * hz).sum() / power.sum() == pytest.approx(expected, rel=0.12)


def test_tones_and_modes_ring_at_their_pitch_and_start_at_zero() -> None:
    for signal in (tone(np.full(SAMPLE_RATE, 440.0)), ring(SAMPLE_RATE, ((440.0, 1.0, 0.5),))):
        power, hz = spectrum(signal)
        assert hz[power.argmax()] == pytest.approx(440, abs=1)
        assert signal[0] == 0


def test_a_strike_rises_and_falls_as_told() -> None:
    envelope = strike(SAMPLE_RATE, 0.01, 0.1)
    assert envelope[0] == 0
    assert envelope.argmax() == samples(0.01)
    assert envelope[samples(0.11)] == pytest.approx(np.exp(-1), rel=1e-3)


def test_a_longer_signal_begins_with_the_shorter_one() -> None:
    makers: list[Callable[[int], Signal]] = [
        lambda count: noise(np.random.default_rng(1), count, 100, 900),
        lambda count: swept_noise(np.random.default_rng(1), np.full(count, 800.0), 300),
        lambda count: wander(np.random.default_rng(1), count, 4.0),
    ]
    for make in makers:
        np.testing.assert_allclose(make(9000)[:4000], make(4000), atol=1e-12)


def test_levelled_sounds_have_one_as_their_loudest_50_ms() -> None:
    burst = np.concatenate([np.zeros(5000), np.full(samples(0.05), 3.0), np.zeros(5000)])
    assert levelled(burst).max() == pytest.approx(1.0)


def test_sounds_are_added_where_they_belong_and_cut_at_the_end() -> None:
    track = np.zeros(SAMPLE_RATE)
    add(track, np.ones(SAMPLE_RATE), 0.75)
    add(track, np.ones(10), 2.0)
    assert track.sum() == SAMPLE_RATE // 4
    assert track[samples(0.75)] == 1
    assert track[samples(0.75) - 1] == 0
