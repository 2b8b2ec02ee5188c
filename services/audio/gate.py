"""The last look at a sound before it is given out: brought to its loudness, then held to what was promised."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kino.loudness import CEILING_DBTP, loudness, normalise, true_peak

SILENCE_LUFS = -60.0
"""What a model makes below this is silence, and stays it. The sounds that it was trained on are 37 LU louder."""
_SLACK_DB = 0.01

Sound = NDArray[np.float32]
"""Samples [n] at 48 kHz, full scale 1."""


class ContractError(Exception):
    """A sound that is not what was promised; no caller can mend that."""


@dataclass(frozen=True)
class Figures:
    """What was measured on a sound; loudness and peak are -inf where there is nothing at all."""

    samples: int
    loudness_lufs: float
    true_peak_dbtp: float
    silent: bool


def levelled(made: Sound) -> tuple[Sound, Figures]:
    """What a model made, at `kino.loudness.TARGET_LUFS` and under its ceiling, and its figures; silence as it is.

    Raises:
        ContractError: as `check`, of the same number of samples.
    """
    if not np.isfinite(made).all():
        raise ContractError("the sound is not finite")
    silent = loudness(made) < SILENCE_LUFS
    sound = made if silent else normalise(made)
    return sound, check(sound, len(made), silent)


def measured(sound: Sound) -> Figures:
    """The figures of a sound [n] or [c n] that is given out as loud as it was made.

    Raises:
        ContractError: it is not finite.
    """
    if not np.isfinite(sound).all():
        raise ContractError("the sound is not finite")
    level = loudness(sound)
    return Figures(sound.shape[-1], level, true_peak(sound), level < SILENCE_LUFS)


def check(sound: Sound, samples: int, silent: bool) -> Figures:
    """Measure a sound, and hold it to its length, its ceiling, and whether it may be silent.

    Raises:
        ContractError: it is of another length, not finite, silent or not against `silent`, or clips.
    """
    if sound.shape != (samples,):
        raise ContractError(f"the sound is {list(sound.shape)} samples, must be {samples}")
    if not np.isfinite(sound).all():
        raise ContractError("the sound is not finite")
    figures = Figures(samples, loudness(sound), true_peak(sound), silent)
    if (figures.loudness_lufs < SILENCE_LUFS) != silent:
        raise ContractError(f"the sound is at {figures.loudness_lufs:.1f} LUFS, the model's was {_state(silent)}")
    if figures.true_peak_dbtp > CEILING_DBTP + _SLACK_DB:
        raise ContractError(f"the sound peaks at {figures.true_peak_dbtp:.2f} dBTP, must be at most {CEILING_DBTP}")
    return figures


def _state(silent: bool) -> str:
    return "silent" if silent else "not silent"
