import math

import numpy as np
import pytest
import torch

from kino import flow
from kino.denoising import State, beginning, checked_rows, needed_bytes, schedule, states
from kino.limits import SamplerDefaults
from kino.presets import PRESETS
from kino.shapes import Grid
from tests.services.generator.harness import rows

PRESET = SamplerDefaults(8, 200, 2.0)
GRID = Grid(2, 4, 6)


def test_what_is_left_open_is_the_presets_and_the_linear_steps_are_never_fewer() -> None:
    assert schedule(None, None, None, PRESET) == (8, 200, 2.0)
    assert schedule(300, None, 1.0, PRESET) == (300, 300, 1.0)
    assert torch.equal(schedule(4, 10, 1.0, PRESET).times, flow.linear_quadratic(4, 10))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ((0, None, None), "sampling.steps is 0, must be from 1 to 1000"),
        ((9, 8, None), "sampling.linear_steps is 8, must be from 9 to 10000"),
        ((None, None, math.nan), "sampling.guidance is nan, must be from 1 to 30"),
    ],
)
def test_a_schedule_out_of_bounds_is_named(asked: tuple[int | None, int | None, float | None], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        schedule(*asked, PRESET)


def test_sampling_begins_at_the_seeds_noise_or_where_it_was() -> None:
    noise = torch.randn(16, 2, 4, 6, generator=torch.Generator().manual_seed(5)).numpy()
    begun = beginning(None, 5, 8, 16, GRID)
    assert (begun.step, begun.of) == (0, 8)
    np.testing.assert_array_equal(begun.x_t, noise)
    given = State(3, 8, noise)
    assert beginning(given, 5, 8, 16, GRID) is given
    with pytest.raises(ValueError, match=r"resume_from.x_t is float32 \[16, 2, 4, 6\], must be float32 \[8, 2, 4, 6\]"):
        beginning(given, 5, 8, 8, GRID)


def test_states_are_those_of_the_flow_and_end_where_one_is_not_finite() -> None:
    """A constant velocity of 1 carries zeros to ones; from the second of four even steps on, two are left."""
    times, device = torch.linspace(0, 1, 5), torch.device("cpu")
    begun = State(2, 4, np.full((1, 1, 2, 2), 0.5, np.float32))
    seen = list(states(lambda x, t: torch.ones_like(x), begun, times, device))
    assert [(state.step, state.of, float(state.x_t.mean())) for state in seen] == [(3, 4, 0.75), (4, 4, 1.0)]
    with pytest.raises(FloatingPointError, match="the sample is not finite after step 3 of 4"):
        next(states(lambda x, t: x * math.inf, begun, times, device))


def test_rows_of_every_tower_once_are_taken() -> None:
    towers = PRESETS["nano"].text_shapes
    given = rows(1)
    assert checked_rows("embeddings", given, towers) is given
    with pytest.raises(ValueError, match="embeddings is of ul2, must be one each of ul2, byt5, metaclip"):
        checked_rows("embeddings", {"ul2": given["ul2"]}, towers)


def test_memory_grows_with_tokens_and_texts() -> None:
    config, one = PRESETS["nano"].dit, rows(1)
    assert needed_bytes(config, 24, [one, one]) == 2 * needed_bytes(config, 24, [one])
    grown = needed_bytes(config, 48, [one]) - needed_bytes(config, 24, [one])
    assert grown == 4 * 24 * (8 * 64 + 4 * 128)
