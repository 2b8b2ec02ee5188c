"""Runs in one batch, without a network: what leaves, what fails, and what is done where memory ends."""

from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor

from kino.denoising import State, finite
from services.generator.lockstep import Outcomes, Predict, Run, alone, lockstep

STEPS = 4


class Count(Run):
    """A run whose sample grows by what is predicted for it."""

    def __init__(self, name: str, at: float, first: int = 0) -> None:
        super().__init__("key", 1, first, STEPS)
        self.name, self.at = name, at

    def begin(self) -> None:
        if self.at < 0:
            raise ValueError(f"at is {self.at}, must be at least 0")
        self.x_t = torch.full((1, 2), self.at)

    def step(self, index: int, prediction: Tensor) -> State:
        self.x_t = self.x_t + prediction
        return finite(State(index + 1, self.of, self.x_t[0].numpy()))


class Network:
    """Doubles every sample, for so many at once; it remembers the batches that it computed."""

    def __init__(self, most: int = 9, error: Callable[[], Exception] = lambda: torch.OutOfMemoryError("none")) -> None:
        self.most, self.error = most, error
        self.tried: list[str] = []

    def predictor(self, runs: Sequence[Count]) -> Predict:
        names = "".join(run.name for run in runs)

        def predict(x_t: Tensor, index: int) -> Tensor:
            self.tried.append(f"{index}{names}")
            assert len(x_t) == len(runs)
            if len(runs) > self.most:
                raise self.error()
            return x_t

        return predict


def told(outcomes: Outcomes[Count]) -> dict[str, float | str]:
    """What became of each run, by its name."""
    return {run.name: str(one) if isinstance(one, Exception) else float(one.x_t[0]) for run, one in outcomes}


def test_every_run_goes_its_own_way_in_one_batch() -> None:
    network = Network()
    steps = list(map(told, lockstep([Count("a", 1), Count("b", 3)], network.predictor)))
    assert steps == [{"a": 2 * 2**n, "b": 6 * 2**n} for n in range(STEPS)]
    assert network.tried == ["0ab", "1ab", "2ab", "3ab"]


def test_runs_that_go_on_from_one_step_do_only_what_is_left() -> None:
    network = Network()
    steps = list(map(told, lockstep([Count("a", 1, 2), Count("b", 3, 2)], network.predictor)))
    assert steps == [{"a": 2.0, "b": 6.0}, {"a": 4.0, "b": 12.0}]
    assert network.tried == ["2ab", "3ab"]


def test_one_that_cannot_begin_is_told_so_and_the_others_go_on() -> None:
    network = Network()
    steps = list(map(told, lockstep([Count("a", 1), Count("b", -1), Count("c", 0)], network.predictor)))
    assert steps[0] == {"b": "at is -1, must be at least 0", "a": 2.0, "c": 0.0}
    assert [set(step) for step in steps[1:]] == 3 * [{"a", "c"}]
    assert network.tried[0] == "0ac"
    with pytest.raises(ValueError, match="at is -1"):
        list(alone(lockstep([Count("b", -1)], network.predictor)))


def test_one_whose_numbers_end_leaves_alone() -> None:
    network = Network()
    steps = list(map(told, lockstep([Count("a", 1), Count("b", 1e38)], network.predictor)))
    assert steps[1] == {"a": 4.0, "b": "the sample is not finite after step 2 of 4"}
    assert steps[2:] == [{"a": 8.0}, {"a": 16.0}]
    assert network.tried == ["0ab", "1ab", "2a", "3a"]


def test_one_that_nobody_wants_any_more_is_not_computed() -> None:
    network, runs = Network(), [Count(name, 1) for name in "abc"]
    steps = lockstep(runs, network.predictor)
    next(steps)
    runs[0].wanted = False
    assert told(next(steps)) == {"b": 4.0, "c": 4.0}
    runs[1].wanted = runs[2].wanted = False
    assert list(steps) == []
    assert network.tried == ["0abc", "1bc"]


@pytest.mark.parametrize(
    "error",
    [lambda: torch.OutOfMemoryError("none"), lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory")],
)
def test_where_memory_ends_the_batch_goes_on_in_parts(error: Callable[[], Exception]) -> None:
    network = Network(most=2, error=error)
    steps = list(map(told, lockstep([Count(name, n) for n, name in enumerate("abcde")], network.predictor)))
    assert steps == [{name: n * 2.0 ** (step + 1) for n, name in enumerate("abcde")} for step in range(STEPS)]
    assert network.tried[:5] == ["0abcde", "0ab", "0cde", "0c", "0de"]
    assert network.tried[5:8] == ["1ab", "1c", "1de"]  # what did not fit is not tried again


def test_memory_that_ends_for_one_alone_and_other_errors_are_raised() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        list(lockstep([Count("a", 1), Count("b", 1)], Network(most=0).predictor))
    network = Network(most=1, error=lambda: RuntimeError("a matrix is of another shape"))
    with pytest.raises(RuntimeError, match="another shape"):
        list(lockstep([Count("a", 1), Count("b", 1)], network.predictor))
    assert network.tried == ["0ab"]
