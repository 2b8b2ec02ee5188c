import numpy as np
import pytest

from kino.shapes import SAMPLE_RATE
from training.world.ambience import ambience
from training.world.scene import PLACES


def share(place: str, low: float, high: float) -> float:
    """Share of the power of eight seconds of a place between two frequencies."""
    power = np.abs(np.fft.rfft(ambience(place, 8 * SAMPLE_RATE, 1))) ** 2
    hz = np.fft.rfftfreq(8 * SAMPLE_RATE, 1 / SAMPLE_RATE)
    return float(power[(hz >= low) & (hz < high)].sum() / power.sum())


@pytest.mark.parametrize("place", PLACES)
def test_places_are_steady_repeatable_and_grow_at_the_end(place: str) -> None:
    bed = ambience(place, 8 * SAMPLE_RATE, 1)
    assert 0.4 < bed.std() < 1.2
    assert np.abs(bed).max() < 8 * bed.std()
    np.testing.assert_allclose(ambience(place, SAMPLE_RATE, 1), bed[:SAMPLE_RATE], atol=1e-9)
    assert not np.allclose(ambience(place, SAMPLE_RATE, 2), bed[:SAMPLE_RATE])


def test_places_have_their_own_bands() -> None:
    assert share("room", 40, 300) > 0.8
    assert share("night", 4000, 5200) > 0.3
    assert share("forest", 2000, 10000) > 0.5
    assert share("snow", 400, 1000) > 0.5
    assert share("city", 50, 400) > 0.7
    assert share("desert", 3000, 12000) > 0.2 > share("meadow", 5500, 12000)
    assert share("beach", 400, 6000) > 0.5


def test_crickets_chirp_and_rest() -> None:
    bed = ambience("night", 2 * SAMPLE_RATE, 1)
    power = (np.diff(bed) ** 2)[: SAMPLE_RATE * 2 // 480 * 480 - 480].reshape(-1, 480).mean(axis=1)
    assert np.percentile(power, 95) > 20 * np.percentile(power, 20)
