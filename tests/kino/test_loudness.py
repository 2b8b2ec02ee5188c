from math import inf

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from kino.loudness import limit, loudness, normalise, true_peak
from kino.shapes import SAMPLE_RATE


def sine(hz: float, dbfs: float, seconds: float, phase: float = 0.0) -> NDArray[np.float64]:
    times = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.asarray(10 ** (dbfs / 20) * np.sin(2 * np.pi * hz * times + phase))


def stereo(*parts: tuple[float, float]) -> NDArray[np.float64]:
    """A 1 kHz tone on both channels, from (dBFS, seconds) one after the other."""
    tone = np.concatenate([sine(1000, dbfs, seconds) for dbfs, seconds in parts])
    return np.stack([tone, tone])


def bursts(seed: int, seconds: float = 4.0) -> NDArray[np.float64]:
    """Noise whose level changes from one half second to the next."""
    rng = np.random.default_rng(seed)
    levels = np.repeat(10 ** rng.uniform(-2.5, -0.7, round(2 * seconds)), SAMPLE_RATE // 2)
    return np.asarray(levels * np.clip(rng.standard_normal(len(levels)), -3, 3) / 3)


def ffmpeg(samples: NDArray[np.float64]) -> tuple[float, float]:
    """Integrated loudness and true peak of mono samples by FFmpeg's EBU R 128 scanner."""
    graph = av.filter.Graph()
    source = graph.add_abuffer(sample_rate=SAMPLE_RATE, format="dbl", layout="mono", time_base=None)
    scanner = graph.add("ebur128", "metadata=1:peak=true")
    sink = graph.add("abuffersink")
    source.link_to(scanner)
    scanner.link_to(sink)
    graph.configure()
    frame = av.AudioFrame.from_ndarray(samples[None], format="dbl", layout="mono")
    frame.sample_rate = SAMPLE_RATE
    graph.push(frame)
    graph.push(None)
    last = {}
    while True:
        try:
            last = graph.pull().metadata
        except (av.error.EOFError, BlockingIOError):
            return float(last["lavfi.r128.I"]), 20 * np.log10(float(last["lavfi.r128.true_peak"]))


def test_a_full_scale_tone_on_one_channel_reads_minus_three() -> None:
    assert loudness(sine(997, 0.0, 5.0)) == pytest.approx(-3.01, abs=0.01)
    assert loudness(np.stack([sine(997, 0.0, 5.0)] * 2)) == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(-23.0, 20.0)], -23.0),
        ([(-33.0, 20.0)], -33.0),
        ([(-36.0, 10.0), (-23.0, 60.0), (-36.0, 10.0)], -23.0),
        ([(-72.0, 10.0), (-36.0, 10.0), (-23.0, 60.0), (-36.0, 10.0), (-72.0, 10.0)], -23.0),
        ([(-26.0, 20.0), (-20.0, 20.1), (-26.0, 20.0)], -23.0),
    ],
)
def test_ebu_tech_3341_cases_1_to_5(parts: list[tuple[float, float]], expected: float) -> None:
    assert loudness(stereo(*parts)) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize(
    ("hz", "phase", "amplitude", "expected"),
    [(12000, 0.0, 0.5, -6.0), (12000, 45.0, 0.5, -6.0), (8000, 60.0, 0.5, -6.0), (6000, 67.5, 0.5, -6.0)],
)
def test_ebu_tech_3341_true_peaks_15_to_18(hz: float, phase: float, amplitude: float, expected: float) -> None:
    tone = sine(hz, 0.0, 1.0, np.radians(phase)) * amplitude * np.hanning(SAMPLE_RATE) ** 0.1
    assert expected - 0.4 <= true_peak(tone) <= expected + 0.2


def test_loudness_and_peak_agree_with_ffmpeg() -> None:
    for seed in range(3):
        samples = bursts(seed)
        theirs = ffmpeg(samples)
        assert loudness(samples) == pytest.approx(theirs[0], abs=0.05)
        assert true_peak(samples) == pytest.approx(theirs[1], abs=0.3)


def test_silence_and_short_tracks() -> None:
    assert loudness(np.zeros(SAMPLE_RATE)) == -inf
    assert true_peak(np.zeros(10)) == -inf
    assert loudness(sine(997, 0.0, 0.3)) == pytest.approx(-3.01, abs=0.1)
    assert np.array_equal(normalise(np.zeros(3000, np.float32)), np.zeros(3000, np.float32))


@pytest.mark.parametrize(("target", "ceiling"), [(-23.0, -1.0), (-14.0, -1.0), (-16.0, -3.0)])
def test_normalised_tracks_meet_both_bounds(target: float, ceiling: float) -> None:
    for seed in range(3):
        out = normalise(bursts(seed), target, ceiling)
        assert loudness(out) == pytest.approx(target, abs=0.1)
        assert true_peak(out) <= ceiling


def test_both_channels_get_the_same_gain() -> None:
    left = bursts(5)
    out = normalise(np.stack([left, 0.25 * left]), -12.0)
    assert out.shape == (2, len(left))
    np.testing.assert_allclose(out[1], 0.25 * out[0], atol=1e-6)


def test_the_limiter_leaves_alone_what_is_below_the_ceiling_and_far_from_peaks() -> None:
    quiet = sine(440, -12.0, 1.0)
    np.testing.assert_array_equal(limit(quiet, -1.0), quiet.astype(np.float32))
    loud = quiet.copy()
    loud[24000:24010] = 1.0
    out = limit(loud, -6.0)
    assert true_peak(out) <= -6.0
    np.testing.assert_allclose(out[:23000], quiet[:23000], rtol=1e-4)
    np.testing.assert_allclose(out[25000:], quiet[25000:], rtol=1e-4)


def test_bad_requests_are_refused() -> None:
    with pytest.raises(ValueError, match=r"samples are \[3, 5\]"):
        loudness(np.zeros((3, 5)))
    with pytest.raises(ValueError, match="not finite"):
        true_peak(np.array([0.0, np.nan]))
    with pytest.raises(ValueError, match="ceiling_dbtp is 1"):
        limit(np.zeros(5), 1.0)
    with pytest.raises(ValueError, match="target_lufs is 3"):
        normalise(np.zeros(5), 3.0)


@pytest.mark.parametrize("span", [SAMPLE_RATE // 10, SAMPLE_RATE])
def test_a_track_in_spans_is_the_track_as_a_whole(monkeypatch: pytest.MonkeyPatch, span: int) -> None:
    """Loudness, peak and limiter give the same however few samples are held at once; peaks lie across the borders."""
    track = bursts(3, 4.05) * 4
    track[span - 3 : span + 3] = 1.5
    whole = loudness(track), true_peak(track), limit(track, -3.0), normalise(track, -10.0)
    monkeypatch.setattr("kino.loudness.SPAN", span)
    parts = loudness(track), true_peak(track), limit(track, -3.0), normalise(track, -10.0)
    assert parts[:2] == pytest.approx(whole[:2], abs=1e-9)
    for part, expected in zip(parts[2:], whole[2:], strict=True):
        np.testing.assert_allclose(part, expected, atol=1e-6)
