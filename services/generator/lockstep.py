"""Runs of one shape go through a network in one batch, step by step; each has a sample, a solver and noise its own."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Generic, TypeVar

import torch
from torch import Tensor

from kino.denoising import State
from kino.exhaustion import is_out_of_memory


class Run(ABC):
    """A task that was checked, on its way to a sample.

    Args:
        key: runs of equal keys fit into one batch.
        num_bytes: most that its steps hold at once beside the weights.
        first, of: steps that are done before its own, and all of them.
    """

    x_t: Tensor
    wanted = True
    """Whether anybody waits for it; once set to False, it has no part in the steps that begin after that."""

    def __init__(self, key: Hashable, num_bytes: int, first: int, of: int) -> None:
        self.key, self.num_bytes, self.first, self.of = key, num_bytes, first, of

    @abstractmethod
    def begin(self) -> None:
        """Come to the sample [1 ...] after the first steps; raises ValueError where the state given is not theirs."""

    @abstractmethod
    def step(self, index: int, prediction: Tensor) -> State:
        """The state after the step of this index, from 0, given what was predicted for the sample.

        Raises:
            FloatingPointError: it is not finite.
        """


R = TypeVar("R", bound=Run)
Outcomes = list[tuple[R, State | Exception]]
"""What a step made of each run: its state, or the error that ended it."""
Predict = Callable[[Tensor, int], Tensor]
"""The prediction for samples [b ...] at the step of an index."""
Predictor = Callable[[Sequence[R]], Predict]
"""What predicts for just these runs."""


def lockstep(runs: Sequence[R], predictor: Predictor[R]) -> Iterator[Outcomes[R]]:
    """What each step makes of runs of one key.

    A run that fails, or that nobody wants any more, leaves the batch, and the others go on. Where the memory of the
    device ends on the way, the batch goes on as two halves, one after the other, and ends for runs alone.
    """
    outcomes, begun = _begin(runs)
    groups = [_Group(begun, predictor)] if begun else []
    for index in range(runs[0].first, runs[0].of):
        wanted = [left for group in groups for left in group.wanted()]
        said = [pair for group in wanted for pair in group.predict(index)]
        groups = [group for group, _ in said]
        for group, predictions in said:
            outcomes += group.step(index, predictions)
        if not outcomes:
            return
        yield outcomes
        outcomes = []


def alone(steps: Iterator[Outcomes[R]]) -> Iterator[State]:
    """The states of the only run of a batch; raises the error that ended it."""
    for [(_, outcome)] in steps:
        if isinstance(outcome, Exception):
            raise outcome
        yield outcome


def _begin(runs: Sequence[R]) -> tuple[Outcomes[R], list[R]]:
    """What became of runs that cannot begin, and those that have begun."""
    failed: Outcomes[R] = []
    for run in runs:
        try:
            run.begin()
        except ValueError as error:
            failed.append((run, error))
    return failed, [run for run in runs if run not in dict(failed)]


class _Group(Generic[R]):
    """Runs that are one batch."""

    def __init__(self, runs: Sequence[R], predictor: Predictor[R]) -> None:
        self.runs, self._predictor = runs, predictor
        self._predict: Predict | None = None

    def wanted(self) -> "list[_Group[R]]":
        """The group of those that are still wanted, if any are."""
        runs = [run for run in self.runs if run.wanted]
        if len(runs) == len(self.runs):
            return [self]
        return [_Group(runs, self._predictor)] if runs else []

    def predict(self, index: int) -> "list[tuple[_Group[R], Tensor]]":
        """The predictions for its runs, or for each half of them if there is not the memory for all."""
        try:
            self._predict = self._predict or self._predictor(self.runs)
            return [(self, self._predict(torch.cat([run.x_t for run in self.runs]), index))]
        except Exception as error:
            if len(self.runs) == 1 or not is_out_of_memory(error):
                raise
        half = len(self.runs) // 2
        halves = (_Group(runs, self._predictor) for runs in (self.runs[:half], self.runs[half:]))
        return [pair for group in halves for pair in group.predict(index)]

    def step(self, index: int, predictions: Tensor) -> Outcomes[R]:
        """What the step of an index makes of its runs."""
        outcomes: Outcomes[R] = []
        for run, prediction in zip(self.runs, predictions.split(1), strict=True):
            try:
                outcomes.append((run, run.step(index, prediction)))
            except FloatingPointError as error:
                run.wanted = False
                outcomes.append((run, error))
        return outcomes
