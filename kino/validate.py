"""Checks of what callers send: each returns the value or raises `InvalidArgumentError` with field, value and bound."""

import math
import unicodedata

from kino.errors import InvalidArgumentError

MAX_PROMPT_BYTES = 4096
MAX_SEED = 2**63 - 1
_LINE_BREAKS = "\t\n\r"


def prompt(text: str, field: str = "prompt", *, max_bytes: int = MAX_PROMPT_BYTES, blank: bool = False) -> str:
    """Return a prompt with its white space evened out to single spaces.

    Args:
        max_bytes: bound of its length in UTF-8.
        blank: whether nothing at all is fine too, as for a negative prompt.

    Raises:
        InvalidArgumentError: it is blank, too long, holds control characters or no letter or digit of any script.
    """
    num_bytes = len(text.encode("utf-8", "surrogatepass"))
    if num_bytes > max_bytes:
        bound = f"at most {max_bytes} bytes of UTF-8"
        raise InvalidArgumentError(field, num_bytes, bound, message=f"{field} has {num_bytes} bytes, must have {bound}")
    for character in text:
        if unicodedata.category(character) in ("Cc", "Cs") and character not in _LINE_BREAKS:
            raise InvalidArgumentError(field, text, f"free of control characters such as U+{ord(character):04X}")
    evened = " ".join(text.split())
    if not evened and blank:
        return ""
    if not any(character.isalnum() for character in evened):
        raise InvalidArgumentError(field, text, "words: at least one letter or digit")
    return evened


def whole(value: int, field: str, minimum: int, maximum: int) -> int:
    """Return a whole number that lies within the bounds, both included."""
    if not minimum <= value <= maximum:
        raise InvalidArgumentError(field, value, f"from {minimum} to {maximum}")
    return value


def real(value: float, field: str, minimum: float, maximum: float) -> float:
    """Return a number that lies within the bounds, both included; NaN lies nowhere."""
    if not math.isfinite(value) or not minimum <= value <= maximum:
        raise InvalidArgumentError(field, value, f"from {minimum:g} to {maximum:g}")
    return value


def seed(value: int, field: str = "seed") -> int:
    """Return a seed, 0 to 2^63 - 1."""
    return whole(value, field, 0, MAX_SEED)


def one_of(value: str, field: str, allowed: tuple[str, ...]) -> str:
    """Return a name that is among the allowed ones."""
    if value not in allowed:
        raise InvalidArgumentError(field, value, f"one of {', '.join(allowed)}")
    return value
