"""How a figure moves, from the track of its centre and size: each motion measured in units of its usual extent."""

import numpy as np
from numpy.typing import NDArray

from training.world.motion import CYCLE_SECONDS
from training.world.segment import Floats

# What each motion does in one cycle: frame widths, frame heights, log of size, hop height, turns.
TRAVEL, CLIMB, GROWTH, HOP, TURN = 0.52, 0.44, 0.615, 0.29, 0.75
STILL_BELOW = 0.3
"""Share of the usual extent below which a figure counts as still."""

_HOP_SECONDS = np.linspace(0.55, 1.25, 15)
_HOP_PHASES = np.arange(10) / 10.0


def motion_strengths(track: Floats, turns: float, height: int, width: int, fps: float) -> dict[str, float]:
    """How much of each motion a film shows, 1 being the usual extent; "stays still" gets `STILL_BELOW`.

    Args:
        track: centre x, centre y and size of the figure in pixels, [t 3], size 0 where nothing is seen.
        turns: full turns during the film.
    """
    seen = track[:, 2] > 0
    seconds = np.arange(len(track))[seen] / fps
    x, y, size = track[seen, 0] / width, track[seen, 1] / height, np.log(track[seen, 2])
    cycles = max(len(track) / fps, 1e-6) / CYCLE_SECONDS
    per_cycle = CYCLE_SECONDS
    travel, climb = _slope(seconds, x) * per_cycle / TRAVEL, -_slope(seconds, y) * per_cycle / CLIMB
    growth = _slope(seconds, size) * per_cycle / GROWTH
    return {
        "moves left": -travel,
        "moves right": travel,
        "bounces": _hop_height(seconds, y) / HOP,
        "spins": abs(turns) / cycles / TURN,
        "grows": growth,
        "shrinks": -growth,
        "rises": climb,
        "falls": -climb,
        "stays still": STILL_BELOW,
    }


def _slope(seconds: NDArray[np.float64], values: NDArray[np.floating]) -> float:
    """Slope of a line through points, after Theil and Sen: the median over all pairs, so that outliers do not pull."""
    if len(seconds) < 2:
        return 0.0
    first, second = np.triu_indices(len(seconds), k=max(1, len(seconds) // 3))
    return float(np.median((values[second] - values[first]) / (seconds[second] - seconds[first])))


def _hop_height(seconds: NDArray[np.float64], y: NDArray[np.floating]) -> float:
    """Height of parabolic hops, in frame heights, of the best fitting hops on a straight drift.

    It is reduced where hops explain little of what a drift leaves unexplained, and 0 for less than a hop and a half.
    """
    if len(seconds) < 6:
        return 0.0
    periods = _HOP_SECONDS[seconds[-1] - seconds[0] + 0.1 >= _HOP_SECONDS * 1.5]
    if len(periods) == 0:
        return 0.0
    phase = (seconds / periods[:, None, None] + _HOP_PHASES[None, :, None]) % 1.0
    hops = (4.0 * phase * (1.0 - phase)).reshape(-1, len(seconds))
    drift = np.stack([np.ones_like(seconds), seconds - seconds.mean()])
    drift /= np.linalg.norm(drift, axis=1, keepdims=True)
    hops -= (hops @ drift.T) @ drift
    left = y - (drift @ y) @ drift
    heights = -(hops @ left) / (hops**2).sum(1)
    explained = heights**2 * (hops**2).sum(1) / max(float(left @ left), 1e-9)
    best = int(np.where(heights > 0, explained, 0.0).argmax())
    return float(max(heights[best], 0.0) * explained[best])
