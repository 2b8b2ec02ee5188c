import pytest
import torch

from kino.speed import Flops, Rates, measured


def test_operations_add_up_by_kind() -> None:
    total = Flops(1, 2, 3) + Flops(10, 20, 30).times(2.5)
    assert total == Flops(26, 52, 78)
    assert total.total == 156


def test_seconds_are_those_of_all_kinds() -> None:
    assert Rates(1e9, 2e9, 4e9).seconds(Flops(3_000_000_000, 4_000_000_000, 2_000_000_000)) == 3 + 2 + 0.5


@pytest.mark.parametrize(
    ("text", "rate"), [("400T", 4e14), ("62.5G", 6.25e10), ("1.2P", 1.2e15), ("2e9", 2e9), ("7", 7.0)]
)
def test_a_rate_is_stated_for_all_kinds(text: str, rate: float) -> None:
    stated = Rates.stated(text)
    assert (stated.products, stated.attention, stated.convolutions) == (rate, rate, rate)
    assert not stated.is_measured


@pytest.mark.parametrize("text", ["", "0", "-1T", "400 T", "fast", "4K", "1e999", "nan", "inf"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"--flops is .*, must be a positive number"):
        Rates.stated(text)


def test_rates_are_by_the_clock_that_is_given() -> None:
    readings = iter(range(1_000_000))
    rates = measured(torch.device("cpu"), torch.float32, lambda: float(next(readings)))  # every run takes a second
    assert rates.is_measured
    assert rates.products == 4 * 256 * 1536 * 6144
    assert rates.attention == 4 * 1024**2 * 1536
    assert rates.convolutions == 2 * 27 * 128**2 * 4 * 32**2
