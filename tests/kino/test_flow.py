from itertools import islice
from math import erf, log, sqrt

import pytest
import torch

from kino.flow import (
    SIGMA_MIN,
    data_from_velocity,
    guide,
    guide_by_source,
    linear_quadratic,
    logit_normal_times,
    path,
    sample,
    velocity,
    velocity_to_data,
)


@pytest.fixture
def pair() -> tuple[torch.Tensor, torch.Tensor]:
    x_0, x_1 = torch.randn(2, 3, 4, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    return x_0, x_1


@pytest.mark.parametrize(
    ("linear_steps", "expected"),
    [
        (250, {0: 0, 1: 0.004, 24: 0.096, 25: 0.1, 26: 0.10528, 27: 0.11312, 48: 0.86912, 49: 0.93328, 50: 1}),
        (1000, {0: 0, 1: 0.001, 24: 0.024, 25: 0.025, 26: 0.02752, 27: 0.03308, 48: 0.85208, 49: 0.92452, 50: 1}),
    ],
)
def test_the_schedule_of_fifty_steps_has_the_known_times(linear_steps: int, expected: dict[int, float]) -> None:
    times = linear_quadratic(50, linear_steps)
    assert times.shape == (51,)
    assert {index: times[index].item() for index in expected} == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("steps", [1, 2, 3, 7, 8, 49, 50, 200])
@pytest.mark.parametrize("factor", [1, 2, 20])
def test_a_schedule_rises_from_nought_to_one_and_never_slows(steps: int, factor: int) -> None:
    times = linear_quadratic(steps, factor * steps).double()
    assert times[0] == 0
    assert times[-1] == 1
    assert (times.diff() > 0).all()
    assert (times.diff().diff() > -1e-6).all()


def test_as_many_linear_steps_as_steps_is_the_uniform_schedule() -> None:
    torch.testing.assert_close(linear_quadratic(10, 10), torch.linspace(0, 1, 11))


@pytest.mark.parametrize(("steps", "linear_steps", "message"), [(0, 10, "steps is 0"), (10, 9, "linear_steps is 9")])
def test_a_schedule_that_cannot_be_is_refused(steps: int, linear_steps: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        linear_quadratic(steps, linear_steps)


def test_the_velocity_to_the_data_is_the_velocity_of_the_path(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    x_0, x_1 = pair
    t = torch.linspace(0, 0.95, len(x_0), dtype=torch.float64)
    torch.testing.assert_close(velocity_to_data(path(x_0, x_1, t), x_1, t), velocity(x_0, x_1))


def test_the_path_goes_from_noise_to_almost_data(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    x_0, x_1 = pair
    batch = len(x_0)
    assert torch.equal(path(x_0, x_1, torch.zeros(batch, dtype=torch.float64)), x_0)
    torch.testing.assert_close(path(x_0, x_1, torch.ones(batch, dtype=torch.float64)), x_1 + SIGMA_MIN * x_0)


def test_velocity_is_the_derivative_of_the_path(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    x_0, x_1 = pair
    t = torch.tensor([0.1, 0.5, 0.8], dtype=torch.float64)
    slope = (path(x_0, x_1, t + 0.01) - path(x_0, x_1, t)) / 0.01
    torch.testing.assert_close(slope, velocity(x_0, x_1))


def test_data_is_recovered_from_any_point_and_its_velocity(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    x_0, x_1 = pair
    t = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    torch.testing.assert_close(data_from_velocity(path(x_0, x_1, t), velocity(x_0, x_1), t), x_1)


def test_training_times_are_logit_normal() -> None:
    times = logit_normal_times(200_000, torch.Generator().manual_seed(0))
    assert ((times > 0) & (times < 1)).all()
    assert times.median().item() == pytest.approx(0.5, abs=0.003)
    early = (1 + erf(log(0.1 / 0.9) / sqrt(2))) / 2
    assert early == pytest.approx(0.0140, abs=5e-5)
    assert (times < 0.1).float().mean().item() == pytest.approx(early, abs=0.001)
    assert torch.equal(times[:10], logit_normal_times(200_000, torch.Generator().manual_seed(0))[:10])


def test_guidance_of_one_is_conditional_and_of_nought_unconditional(pair: tuple[torch.Tensor, torch.Tensor]) -> None:
    unconditional, conditional = pair
    assert torch.equal(guide(unconditional, conditional, 0.0), unconditional)
    torch.testing.assert_close(guide(unconditional, conditional, 1.0), conditional)
    torch.testing.assert_close(guide(unconditional, conditional, 3.0), 3 * conditional - 2 * unconditional)


def test_the_true_velocity_carries_noise_to_data_in_any_number_of_steps(
    pair: tuple[torch.Tensor, torch.Tensor],
) -> None:
    x_0, x_1 = pair
    for steps in (1, 2, 50):
        *_, last = sample(lambda x_t, t: velocity(x_0, x_1), x_0, linear_quadratic(steps, 1000))
        assert (last.index, last.of) == (steps, steps)
        torch.testing.assert_close(last.x_t, x_1 + SIGMA_MIN * x_0)


def test_euler_steps_of_a_linear_field_have_their_closed_form() -> None:
    times = linear_quadratic(7, 100)
    x_0 = torch.ones(2, 1, 1, 2, 2)
    states = [step.x_t for step in sample(lambda x_t, t: t.view(-1, 1, 1, 1, 1) * x_t, x_0, times)]
    factors = torch.cumprod(1 + times[:-1] * times.diff(), dim=0)
    for state, factor in zip(states, factors, strict=True):
        torch.testing.assert_close(state, factor * x_0)


@pytest.mark.parametrize("done", [1, 4, 7])
def test_a_resumed_integration_equals_the_undisturbed_one_bit_for_bit(done: int) -> None:
    times = linear_quadratic(8, 100)
    x_0 = torch.randn(1, 4, 2, 4, 4, generator=torch.Generator().manual_seed(1))

    def predict(x_t: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch.sin(3 * x_t) - t.view(-1, 1, 1, 1, 1) * x_t

    whole = list(sample(predict, x_0, times))
    begun = list(islice(sample(predict, x_0, times), done))
    resumed = list(sample(predict, begun[-1].x_t, times, start=done))
    assert [step.index for step in begun + resumed] == list(range(1, 9))
    assert all(torch.equal(a.x_t, b.x_t) for a, b in zip(whole, begun + resumed, strict=True))


def test_guidance_by_source_and_text_moves_along_both() -> None:
    none, source, both = (torch.tensor([value]) for value in (1.0, 3.0, 4.0))
    assert guide_by_source(none, source, both, 1.0, 1.0).item() == 4.0
    assert guide_by_source(none, source, both, 2.0, 1.0).item() == 6.0
    assert guide_by_source(none, source, both, 1.0, 5.0).item() == 8.0
