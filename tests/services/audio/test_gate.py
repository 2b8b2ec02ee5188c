from math import inf

import numpy as np
import pytest

from kino.loudness import loudness, true_peak
from services.audio.gate import ContractError, Figures, Sound, check, levelled

SECOND = 48_000


def noise(samples: int, level: float) -> Sound:
    return (np.random.default_rng(0).standard_normal(samples) * level).astype(np.float32)


@pytest.mark.parametrize("level", [0.002, 0.05, 0.5])
@pytest.mark.parametrize("samples", [96, 1919, 2 * SECOND])
def test_a_sound_comes_to_its_loudness_with_true_figures(samples: int, level: float) -> None:
    sound, figures = levelled(noise(samples, level))
    assert (len(sound), figures.samples, figures.silent) == (samples, samples, False)
    assert sound.dtype == np.float32
    assert figures.loudness_lufs == loudness(sound)
    assert figures.true_peak_dbtp == true_peak(sound) <= -0.99
    if samples > SECOND:
        assert figures.loudness_lufs == pytest.approx(-23, abs=0.1)


@pytest.mark.parametrize("level", [0.0, 1e-5])
def test_silence_stays_as_it_is_and_is_said(level: float) -> None:
    given = noise(SECOND, level)
    sound, figures = levelled(given)
    np.testing.assert_array_equal(sound, given)
    assert figures.silent
    assert figures.loudness_lufs < -60
    if level == 0:
        assert figures == Figures(SECOND, -inf, -inf, True)


def test_a_lone_click_stays_under_the_ceiling() -> None:
    given = np.zeros(10 * SECOND, np.float32)
    given[SECOND : SECOND + 20] = 1.0
    assert levelled(given)[1].true_peak_dbtp <= -0.99


@pytest.mark.parametrize(
    ("sound", "samples", "silent", "message"),
    [
        (noise(100, 0.1), 101, False, r"the sound is \[100\] samples, must be 101"),
        (np.full(100, np.nan, np.float32), 100, False, "not finite"),
        (np.zeros(SECOND, np.float32), SECOND, False, "the sound is at -inf LUFS, the model's was not silent"),
        (noise(SECOND, 0.1), SECOND, True, r"the sound is at -1\d.\d LUFS, the model's was silent"),
        (noise(SECOND, 0.3), SECOND, False, r"the sound peaks at \d.\d\d dBTP, must be at most -1.0"),
    ],
)
def test_a_broken_promise_is_an_error(sound: Sound, samples: int, silent: bool, message: str) -> None:
    with pytest.raises(ContractError, match=message):
        check(sound, samples, silent)


def test_what_a_network_made_of_nan_is_an_error() -> None:
    with pytest.raises(ContractError, match="not finite"):
        levelled(np.full(100, np.inf, np.float32))
