"""Optimisers and schedules: Muon for matrices, AdamW for everything else, one flat-then-linear rate for both."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Nearest semi-orthogonal matrices of a stack [s, m, n], by Newton-Schulz iterations in fp32.

    Singular values come out near one. fp32, because the Gram matrix in bf16 diverges on CPUs.
    Source: Muon (Jordan et al. 2024).
    """
    a, b, c = NEWTON_SCHULZ
    x = matrices.float()
    transposed = x.shape[-2] > x.shape[-1]
    if transposed:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if transposed else x


class Muon(torch.optim.Optimizer):
    """Momentum whose update of each weight matrix is orthogonalised; convolutions count as matrices [out, in * kernel].

    Args:
        params: weights of two or more dimensions.
        lr: spectral norm of an update of a square or wide matrix; sqrt(m / n) times it where m > n.
        momentum: decay of the (Nesterov) momentum.
        weight_decay: decoupled, per step lr * weight_decay.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.0) -> None:
        super().__init__(list(params), {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Apply one update. Weights of one shape are orthogonalised together."""
        assert closure is None
        for group in self.param_groups:
            by_shape: dict[tuple[int, int], list[tuple[Tensor, Tensor]]] = defaultdict(list)
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                momentum = self.state[weight].setdefault("momentum", torch.zeros_like(weight))
                momentum.lerp_(weight.grad, 1 - group["momentum"])
                update = weight.grad.lerp(momentum, group["momentum"]).flatten(1)
                by_shape[(update.shape[0], update.shape[1])].append((weight, update))
            for (rows, columns), pairs in by_shape.items():
                updates = orthogonalise(torch.stack([update for _, update in pairs]))
                length = group["lr"] * max(1.0, rows / columns) ** 0.5
                for (weight, _), update in zip(pairs, updates, strict=True):
                    weight.mul_(1 - group["lr"] * group["weight_decay"])
                    weight.add_(update.view_as(weight), alpha=-length)


def split_parameters(module: nn.Module) -> tuple[list[Tensor], list[Tensor]]:
    """Weights for Muon (two or more dimensions, not tables looked up by an index) and all the others for AdamW."""
    tables = {id(part.weight) for part in module.modules() if isinstance(part, nn.Embedding)}
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for name, parameter in module.named_parameters():
        if not parameter.requires_grad:
            continue
        is_table = id(parameter) in tables or name.endswith("_table")
        (others if parameter.ndim < 2 or is_table else matrices).append(parameter)
    return matrices, others


def rate(step: int, steps: int, warmup: int, flat: float) -> float:
    """Factor of the learning rate at a step: linear warm-up, 1 until `flat` of all steps, then linear to 0.02."""
    if step < warmup:
        return (step + 1) / warmup
    decay_start = flat * steps
    if step <= decay_start:
        return 1.0
    return max(0.02, (steps - step) / (steps - decay_start))


@torch.no_grad()
def update_average(average: nn.Module, model: nn.Module, decay: float, step: int) -> None:
    """Exponential moving average of the weights; the decay grows from 0.1 so that the first steps are forgotten."""
    decay = min(decay, (1 + step) / (10 + step))
    source = dict(model.named_parameters())
    for name, parameter in average.named_parameters():
        parameter.lerp_(source[name], 1 - decay)
    buffers = dict(model.named_buffers())
    for name, buffer in average.named_buffers():
        buffer.copy_(buffers[name])
