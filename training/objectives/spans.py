"""Span corruption: hides runs of tokens behind sentinels, for a decoder to restore."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kino.tokens import END


@dataclass(frozen=True)
class Denoiser:
    """One member of UL2's mixture.

    Args:
        mode: name of the mode token put before the input.
        rate: share of the tokens hidden, in (0, 1).
        span: mean length of a hidden run, in tokens; 0 hides the tail alone (the sequential denoiser).
    """

    mode: str
    rate: float
    span: float


UL2 = (
    Denoiser("<R>", 0.15, 3.0),
    Denoiser("<X>", 0.5, 3.0),
    Denoiser("<X>", 0.5, 8.0),
    Denoiser("<S>", 0.25, 0.0),
)
"""Regular, extreme and sequential denoising. Source: UL2, arXiv 2205.05131, table 1, spans cut to captions' length."""


def corrupt(
    ids: Sequence[int], denoiser: Denoiser, sentinels: Sequence[int], rng: np.random.Generator
) -> tuple[list[int], list[int]]:
    """(input, target): `ids` with runs replaced by sentinels, and each sentinel followed by what it hides, then END.

    Args:
        ids: at least two tokens.
        sentinels: ids that name the runs, first to last; no more runs than these are hidden.

    Source: T5, arXiv 1910.10683, section 3.1.4.
    """
    count = len(ids)
    hidden = min(max(round(count * denoiser.rate), 1), count - 1)
    if denoiser.span == 0:
        return [*ids[: count - hidden], sentinels[0]], [sentinels[0], *ids[count - hidden :], END]
    runs = min(max(round(hidden / denoiser.span), 1), hidden, count - hidden, len(sentinels))
    source: list[int] = []
    target: list[int] = []
    start = 0
    for sentinel, kept, gone in zip(
        sentinels, _split(count - hidden, runs, rng), _split(hidden, runs, rng), strict=False
    ):
        source += [*ids[start : start + kept], sentinel]
        target += [sentinel, *ids[start + kept : start + kept + gone]]
        start += kept + gone
    return source, [*target, END]


def _split(total: int, parts: int, rng: np.random.Generator) -> list[int]:
    """`total` as a sum of `parts` positive numbers, every such sum equally likely."""
    cuts = np.sort(rng.choice(total - 1, parts - 1, replace=False)) + 1
    return [int(length) for length in np.diff([0, *cuts, total])]
