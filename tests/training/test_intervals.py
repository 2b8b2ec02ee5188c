import pytest

from training.intervals import wilson


def test_known_interval() -> None:
    assert wilson(8, 10) == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_ends_stay_within_zero_and_one() -> None:
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)
    assert wilson(20, 20) == pytest.approx((0.8389, 1.0), abs=1e-4)


@pytest.mark.parametrize(("hits", "count", "field"), [(0, 0, "count is 0"), (3, 2, "hits is 3"), (-1, 2, "hits is -1")])
def test_impossible_counts_are_refused(hits: int, count: int, field: str) -> None:
    with pytest.raises(ValueError, match=field):
        wilson(hits, count)
