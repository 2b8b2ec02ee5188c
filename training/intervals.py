"""Confidence intervals of shares."""

from math import sqrt


def wilson(hits: int, count: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson score interval of hits / count; z = 1.96 for 95 %.

    Raises:
        ValueError: count is below 1 or hits outside 0 to count.
    """
    if count < 1:
        raise ValueError(f"count is {count}, must be at least 1")
    if not 0 <= hits <= count:
        raise ValueError(f"hits is {hits}, must be from 0 to {count}")
    share = hits / count
    centre = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z * sqrt(share * (1 - share) / count + z**2 / (4 * count**2)) / (1 + z**2 / count)
    return max(0.0, centre - half), min(1.0, centre + half)
