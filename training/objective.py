"""What the training loop asks of a component: a model, batches that are a pure function of the step, and a loss."""

from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

Batch = dict[str, Any]


class Objective(Protocol):
    """One component's training task.

    Attributes:
        model: everything that learns, auxiliary heads included.
    """

    model: nn.Module

    def batch(self, generator: torch.Generator) -> Batch:
        """Next batch; all randomness comes from the generator, which the loop seeds with (seed, step)."""
        ...

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Scalar terms by name; "loss" is minimised."""
        ...

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Figures of averaged weights on held-out data."""
        ...

    def sample(self, model: nn.Module, path: Path) -> None:
        """Write a picture of what the averaged weights do now."""
        ...


class Settings(Protocol):
    """Frozen settings of an objective, as a recipe row holds them."""

    @property
    def preset(self) -> str:
        """Row of kino.presets whose networks are trained."""
        ...

    def build(self, runs: Path) -> Objective:
        """Make the objective; `runs` is where earlier stages left their results."""
        ...
