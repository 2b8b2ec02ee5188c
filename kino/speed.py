"""How fast a device computes: floating-point operations per second by kind, stated or measured in about a second."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional

_PREFIXES = {"": 1.0, "G": 1e9, "T": 1e12, "P": 1e15}
_SECONDS, _RUNS = 0.3, 3
"""How long a kind is measured, in at least so many runs."""
_WIDTH, _HIDDEN, _HEADS, _CHANNELS = 1536, 6144, 12, 128
"""Sizes of what is measured: those of the smallest published video models."""
_SIDE = 32
"""Height and width of what is convolved, in a few frames."""


@dataclass(frozen=True)
class Flops:
    """Floating-point operations by kind: products of matrices, attention, and convolutions."""

    products: int = 0
    attention: int = 0
    convolutions: int = 0

    def __add__(self, other: "Flops") -> "Flops":
        return Flops(
            self.products + other.products, self.attention + other.attention, self.convolutions + other.convolutions
        )

    def times(self, count: float) -> "Flops":
        """As many times of each kind, rounded."""
        return Flops(round(self.products * count), round(self.attention * count), round(self.convolutions * count))

    @property
    def total(self) -> int:
        """Operations of all kinds."""
        return self.products + self.attention + self.convolutions


@dataclass(frozen=True)
class Rates:
    """Operations per second of each kind, as networks reach them with what they compute between.

    Args:
        is_measured: whether a device was measured, rather than its speed stated.
    """

    products: float
    attention: float
    convolutions: float
    is_measured: bool = False

    @classmethod
    def stated(cls, text: str) -> Self:
        """One rate for all kinds, such as 400T.

        Raises:
            ValueError: it is no positive number, with G, T or P behind it or nothing.
        """
        found = re.fullmatch(r"(\d+(?:\.\d+)?(?:e\d+)?)([GTP]?)", text, re.ASCII)
        rate = float(found[1]) * _PREFIXES[found[2]] if found else 0.0
        if not 0 < rate < math.inf:
            raise ValueError(f"--flops is {text!r}, must be a positive number, with G, T or P behind it or nothing")
        return cls(rate, rate, rate)

    def seconds(self, flops: Flops) -> float:
        """Seconds that operations take."""
        return (
            flops.products / self.products + flops.attention / self.attention + flops.convolutions / self.convolutions
        )


def measured(device: torch.device, dtype: torch.dtype, clock: Callable[[], float] = perf_counter) -> Rates:
    """The rates of a device in numbers of a type, each the best of what it reaches in a third of a second.

    Args:
        clock: what tells seconds; one of CPU seconds tells what a busy machine reaches when it is idle.

    Raises:
        MemoryError: the device has no room for it.
    """
    try:
        with torch.inference_mode():
            products, attention, convolutions = (
                _best(*probe(device, dtype), device, clock) for probe in (_products, _attention, _convolutions)
            )
    except torch.OutOfMemoryError as error:
        raise MemoryError(f"{device} has no room to measure its speed: {error}") from error
    return Rates(products, attention, convolutions, is_measured=True)


def _best(run: Callable[[], Tensor], flops: int, device: torch.device, clock: Callable[[], float]) -> float:
    """Operations per second of the fastest run, after one that is not counted."""
    seconds: list[float] = []
    while len(seconds) <= _RUNS or sum(seconds[1:]) < _SECONDS:
        began = clock()
        run()
        if device.type != "cpu":
            torch.accelerator.synchronize(device)
        seconds.append(clock() - began)
    return flops / min(seconds[1:])


def _products(device: torch.device, dtype: torch.dtype) -> tuple[Callable[[], Tensor], int]:
    """The feed-forward of a transformer."""
    rows = 256 if device.type == "cpu" else 16384
    x = torch.randn(1, rows, _WIDTH, dtype=dtype, device=device)
    network = nn.Sequential(
        nn.LayerNorm(_WIDTH), nn.Linear(_WIDTH, _HIDDEN), nn.GELU(approximate="tanh"), nn.Linear(_HIDDEN, _WIDTH)
    ).to(device, dtype)
    return lambda: x + network(x), 4 * rows * _WIDTH * _HIDDEN


def _attention(device: torch.device, dtype: torch.dtype) -> tuple[Callable[[], Tensor], int]:
    """The attention of a transformer."""
    rows = 1024 if device.type == "cpu" else 16384
    q, k, v = torch.randn(3, 1, _HEADS, rows, _WIDTH // _HEADS, dtype=dtype, device=device)
    return lambda: functional.scaled_dot_product_attention(q, k, v), 4 * rows**2 * _WIDTH


def _convolutions(device: torch.device, dtype: torch.dtype) -> tuple[Callable[[], Tensor], int]:
    """Half a residual block of a causal autoencoder."""
    side = _SIDE if device.type == "cpu" else 8 * _SIDE
    x = torch.randn(1, _CHANNELS, 4, side, side, dtype=dtype, device=device)
    norm, convolve = (
        layer.to(device, dtype) for layer in (nn.GroupNorm(32, _CHANNELS), nn.Conv3d(_CHANNELS, _CHANNELS, 3))
    )
    before = (1, 1, 1, 1, 2, 0)  # of width, height and time, which looks back
    flops = 2 * 27 * _CHANNELS**2 * x[0, 0].numel()
    return lambda: x + convolve(functional.pad(functional.silu(norm(x)), before)), flops
