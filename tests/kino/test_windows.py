from itertools import pairwise

import pytest
import torch
from torch import Tensor

from kino.windows import cut, merged, triangle, window_starts


@pytest.mark.parametrize(
    ("length", "window", "starts"),
    [
        (1, 50, [0]),
        (50, 50, [0]),
        (51, 50, [0, 1]),
        (100, 50, [0, 25, 50]),
        (113, 50, [0, 25, 50, 63]),
        (4, 1, [0, 1, 2, 3]),
    ],
)
def test_windows_lie_half_apart_and_reach_the_end(length: int, window: int, starts: list[int]) -> None:
    assert window_starts(length, window) == starts


@pytest.mark.parametrize("window", [2, 5, 50, 100])
def test_windows_cover_every_latent(window: int) -> None:
    for length in range(window, 5 * window):
        starts = window_starts(length, window)
        covered = {place for start in starts for place in range(start, start + window)}
        assert covered == set(range(length))
        assert all(after - before <= window // 2 for before, after in pairwise(starts))


def test_the_weights_are_a_triangle() -> None:
    assert torch.allclose(triangle(4), torch.tensor([0.25, 0.75, 0.75, 0.25]))
    assert torch.allclose(triangle(5), torch.tensor([0.2, 0.6, 1.0, 0.6, 0.2]))
    halves = triangle(50)[:25] + triangle(50)[25:]  # two windows, half apart: they sum to one
    assert torch.allclose(halves, torch.ones(25))


@pytest.mark.parametrize("length", [7, 20, 33])
def test_what_every_window_agrees_on_is_merged_unchanged(length: int) -> None:
    x = torch.randn(1, 3, length, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(merged(lambda states, starts: 2 * states, x, 10, 2), 2 * x)


def test_windows_that_disagree_meet_halfway() -> None:
    """Two windows of 4 over 6 latents say 0 and 1: in the overlap the weights are those of the triangles."""

    def predict(states: Tensor, starts: object) -> Tensor:
        return torch.stack([torch.full((1, 4), float(index)) for index in range(len(states))])

    v = merged(predict, torch.zeros(1, 1, 6), 4, 8)[0, 0]
    assert torch.allclose(v, torch.tensor([0.0, 0.0, 0.25, 0.75, 1.0, 1.0]))


def test_memory_is_bounded_by_the_windows_at_once() -> None:
    seen: list[int] = []

    def predict(states: Tensor, starts: object) -> Tensor:
        seen.append(len(states))
        return states

    merged(predict, torch.zeros(1, 1, 100), 10, 8)
    assert seen == [8, 8, 3]


def test_cutting_stacks_the_windows() -> None:
    x = torch.arange(6.0).view(1, 1, 6)
    assert cut(x, 2, [0, 3], 3).tolist() == [[[0, 1, 2]], [[3, 4, 5]]]
    assert cut(x, 2, [0], 10).tolist() == x.tolist()


def test_pictures_in_time_are_merged_as_rows_are() -> None:
    x = torch.randn(1, 3, 9, 2, 4, generator=torch.Generator().manual_seed(0))
    starts = window_starts(9, 4)

    def predict(states: Tensor, group: object) -> Tensor:
        return states.cumsum(2)

    by_rows = [merged(predict, x[..., y, i], 4, 2) for y in range(2) for i in range(4)]
    assert starts == [0, 2, 4, 5]
    assert torch.allclose(merged(predict, x, 4, 2), torch.stack(by_rows, -1).view(x.shape))
