"""Loudness and true peak of sound at 48 kHz after ITU-R BS.1770-4, and a limiter that brings a track to both.

Samples are floats [n] (mono) or [c n] (up to two channels), full scale 1. Loudness is in LUFS, peaks in dBTP. A track
is measured and limited in spans, with what they depend on around them, so a long one takes little beyond its samples.
"""

from collections.abc import Iterator
from functools import cache
from math import inf, log10

import numpy as np
from numpy.typing import NDArray

from kino.shapes import SAMPLE_RATE

Floats = NDArray[np.floating]

TARGET_LUFS = -23.0
"""Programme loudness of EBU R 128."""
CEILING_DBTP = -1.0
"""Highest true peak of EBU R 128."""

BLOCK = 2 * SAMPLE_RATE // 5
HOP = SAMPLE_RATE // 10
ABSOLUTE_GATE_LUFS = -70.0
RELATIVE_GATE_LU = -10.0
OVERSAMPLING = 4
LOOK_AHEAD = SAMPLE_RATE // 200
"""Reach of the limiter to either side of a peak: 5 ms."""
TOLERANCE_LU = 0.05
MAX_PASSES = 12
SPAN = 10 * SAMPLE_RATE
"""Samples that are held in double precision at once: a whole number of `HOP`."""

# The two stages of the K-weighting at 48 kHz, BS.1770-4, tables 1 and 2.
_K_WEIGHTING = np.array(
    [
        [1.53512485958697, -2.69169618940638, 1.19839281085285, 1.0, -1.69065929318241, 0.73248077421585],
        [1.0, -2.0, 1.0, 1.0, -1.99004745483398, 0.99007225036621],
    ]
)
_K_TAPS = 1 << 14
_TAPS_PER_PHASE = 24


def loudness(samples: Floats) -> float:
    """Integrated loudness in LUFS: blocks of 400 ms every 100 ms, gated at -70 LUFS and 10 LU below what is left.

    A track shorter than a block, which the standard leaves out, counts as one block. Silence gives -inf.

    Raises:
        ValueError: samples are not finite [n] or [c n] with one or two channels and at least one sample.
    """
    powers = _block_powers(_checked(samples))
    powers = powers[powers > 10 ** ((ABSOLUTE_GATE_LUFS + 0.691) / 10)]
    if len(powers) == 0:
        return -inf
    gate = powers.mean() * 10 ** (RELATIVE_GATE_LU / 10)
    return _lufs(float(powers[powers > gate].mean()))


def true_peak(samples: Floats) -> float:
    """Highest peak between and on the samples in dBTP, by fourfold oversampling (BS.1770-4, annex 2); silence is -inf.

    Raises:
        ValueError: as `loudness`.
    """
    return _decibels(_highest_peak(_checked(samples)))


def limit(samples: Floats, ceiling_dbtp: float = CEILING_DBTP) -> NDArray[np.float32]:
    """The samples with their true peak at or below a ceiling; what is over 10 ms from a higher peak stays as it was.

    The gain falls smoothly before a peak and rises after it, alike on both channels, and nothing is delayed.

    Raises:
        ValueError: as `loudness`, or the ceiling is above 0 dBTP.
    """
    if not ceiling_dbtp <= 0:
        raise ValueError(f"ceiling_dbtp is {ceiling_dbtp}, must be at most 0")
    channels = _checked(samples)
    ceiling = 10 ** (ceiling_dbtp / 20)
    if _highest_peak(channels) <= ceiling:
        return np.asarray(samples, np.float32)
    window = np.hanning(2 * LOOK_AHEAD + 3)[1:-1]
    window /= window.sum()
    out = np.empty(channels.shape, np.float32)
    for block, inner, span in _spans(channels, 2 * LOOK_AHEAD + _TAPS_PER_PHASE):
        wanted = ceiling / np.maximum(_peaks(block), ceiling)
        lowest = np.pad(_lowest(wanted, LOOK_AHEAD), LOOK_AHEAD, mode="edge")
        smooth = _convolved(lowest[None], window)[0, 2 * LOOK_AHEAD : lowest.size]
        out[:, span] = (block * np.minimum(smooth, 1.0))[:, inner]
    excess = _highest_peak(out) / ceiling  # the moving gain can lift a peak between two samples by a hair
    out /= np.float32(max(excess * (1 + 1e-6), 1.0))
    return out.reshape(samples.shape)


def normalise(
    samples: Floats, target_lufs: float = TARGET_LUFS, ceiling_dbtp: float = CEILING_DBTP
) -> NDArray[np.float32]:
    """The samples at a loudness, their true peak at or below a ceiling; silence stays silence.

    Limiting takes loudness away, so gain and limiter are found together. Where peaks are so sparse that the ceiling
    forbids the target, the result is as loud as `MAX_PASSES` steps make it.

    Raises:
        ValueError: as `limit`, or the target is not from -70 to 0 LUFS.
    """
    if not ABSOLUTE_GATE_LUFS <= target_lufs <= 0:
        raise ValueError(f"target_lufs is {target_lufs}, must be from {ABSOLUTE_GATE_LUFS} to 0")
    loud = loudness(samples)
    if loud == -inf:
        return limit(samples, ceiling_dbtp)
    gain_db = target_lufs - loud
    out = limit(samples * 10 ** (gain_db / 20), ceiling_dbtp)
    for _ in range(MAX_PASSES):
        missing = target_lufs - loudness(out)
        if abs(missing) <= TOLERANCE_LU:
            break
        gain_db += missing
        out = limit(samples * 10 ** (gain_db / 20), ceiling_dbtp)
    return out


def _block_powers(channels: Floats) -> NDArray[np.float64]:
    """Mean square of each gating block after the K-weighting, summed over the channels."""
    weighting = _k_weighting()
    hops: list[NDArray[np.float64]] = []
    for block, inner, _ in _spans(channels, len(weighting)):
        squares = np.square(_convolved(block, weighting)[:, inner]).sum(axis=0)
        if channels.shape[1] < BLOCK:
            return np.array([squares.mean()])
        hops.append(squares[: len(squares) // HOP * HOP].reshape(-1, HOP).sum(axis=1))
    summed = np.lib.stride_tricks.sliding_window_view(np.concatenate(hops), BLOCK // HOP).sum(axis=1)
    return np.asarray(summed / BLOCK)


def _spans(channels: Floats, margin: int) -> Iterator[tuple[NDArray[np.float64], slice, slice]]:
    """Yield consecutive spans in double precision, with up to `margin` samples on either side.

    Each comes with where the span lies in what is yielded, and in the whole.
    """
    count = channels.shape[1]
    for start in range(0, count, SPAN):
        stop, before = min(start + SPAN, count), max(start - margin, 0)
        block = np.asarray(channels[:, before : stop + margin], np.float64)
        yield block, slice(start - before, stop - before), slice(start, stop)


def _highest_peak(channels: Floats) -> float:
    """Highest true peak of a track."""
    return max(float(_peaks(block)[inner].max()) for block, inner, _ in _spans(channels, _TAPS_PER_PHASE))


def _peaks(channels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Highest true peak around each sample over the channels, [n]."""
    peaks = np.abs(channels)
    for phase in range(1, OVERSAMPLING):
        between = np.abs(_convolved(channels, _interpolator()[phase]))
        between = between[:, _TAPS_PER_PHASE // 2 : _TAPS_PER_PHASE // 2 + channels.shape[1]]
        np.maximum(peaks, between, out=peaks)
        np.maximum(peaks[:, 1:], between[:, :-1], out=peaks[:, 1:])
    return np.asarray(peaks.max(axis=0))


def _lowest(values: NDArray[np.float64], reach: int) -> NDArray[np.float64]:
    """Lowest of the values within `reach` on either side of each; the ends are held."""
    lowest, width = np.pad(values, reach, mode="edge"), 1
    while width < 2 * reach + 1:
        step = min(width, 2 * reach + 1 - width)
        lowest, width = np.minimum(lowest[:-step], lowest[step:]), width + step
    return lowest


def _convolved(channels: NDArray[np.float64], taps: NDArray[np.float64]) -> NDArray[np.float64]:
    """The full convolution of each channel [c n] with a filter [k], n + k - 1 samples long."""
    length = channels.shape[1] + len(taps) - 1
    size = 1 << (length - 1).bit_length()
    spectrum = np.fft.rfft(channels, size) * np.fft.rfft(taps, size)
    return np.asarray(np.fft.irfft(spectrum, size)[:, :length])


@cache
def _k_weighting() -> NDArray[np.float64]:
    """Impulse response of the K-weighting, which is over in double precision before it ends."""
    response = np.zeros(_K_TAPS)
    response[0] = 1.0
    for section in _K_WEIGHTING.tolist():
        response = np.array(list(_filtered(response.tolist(), section)))
    return response


def _filtered(values: list[float], section: list[float]) -> Iterator[float]:
    """Yield values through a section of second order: b_0, b_1, b_2, 1, a_1, a_2 (transposed direct form 2)."""
    b_0, b_1, b_2, _, a_1, a_2 = section
    first = second = 0.0
    for value in values:
        out = b_0 * value + first
        first, second = b_1 * value - a_1 * out + second, b_2 * value - a_2 * out
        yield out


@cache
def _interpolator() -> NDArray[np.float64]:
    """Filters that give the values a quarter, a half and three quarters of the way to the next sample, [phase tap]."""
    count = _TAPS_PER_PHASE * OVERSAMPLING
    taps = np.sinc((np.arange(count + 1) - count / 2) / OVERSAMPLING) * np.kaiser(count + 1, 5.0)
    taps *= OVERSAMPLING / taps.sum()
    return np.asarray(taps[:-1].reshape(_TAPS_PER_PHASE, OVERSAMPLING).T)


def _checked(samples: Floats) -> Floats:
    """The samples as floats [c n]."""
    channels = np.atleast_2d(np.asarray(samples))
    if channels.ndim != 2 or len(channels) > 2 or channels.shape[1] < 1:
        raise ValueError(f"samples are {list(np.shape(samples))}, must be [n] or [c n] with one or two channels")
    if not np.isfinite(channels).all():
        raise ValueError("samples hold values that are not finite, must be finite")
    return channels


def _lufs(power: float) -> float:
    return -0.691 + 10 * log10(power)


def _decibels(amplitude: float) -> float:
    return 20 * log10(amplitude) if amplitude > 0 else -inf
