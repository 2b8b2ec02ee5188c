import numpy as np
import pytest

from kino.shapes import SAMPLE_RATE
from training.world.events import KINDS, MATERIALS, Event
from training.world.scene import PLACES
from training.world.sound_events import ENGINE_HZ, GROUNDS, engine, sound_of
from training.world.synthesis import Signal, samples

KIND_MATERIALS = {"splash": "water", "bell": "metal", "whoosh": "air"}


def voice(kind: str, material: str = "earth", seed: int = 0) -> Signal:
    return sound_of(Event(0.0, kind, KIND_MATERIALS.get(kind, material)), np.random.default_rng(seed))


def centroid(signal: Signal) -> float:
    power = np.abs(np.fft.rfft(signal)) ** 2
    return float((power * np.fft.rfftfreq(len(signal), 1 / SAMPLE_RATE)).sum() / power.sum())


def ninety_percent_seconds(signal: Signal) -> float:
    energy = np.cumsum(signal**2)
    return float(np.searchsorted(energy, 0.9 * energy[-1]) / SAMPLE_RATE)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_starts_at_its_onset_and_ends(kind: str) -> None:
    sound = voice(kind)
    loudest = np.abs(sound).max()
    assert abs(sound[0]) < 0.05 * loudest
    assert np.abs(sound[: samples(0.05)]).max() > 0.4 * loudest
    assert np.abs(sound[-samples(0.005) :]).max() < 0.1 * loudest


def test_kinds_differ_in_pitch_and_length() -> None:
    assert centroid(voice("thud")) < 150 < centroid(voice("bounce")) < 450
    assert centroid(voice("splash")) > 2000
    assert ninety_percent_seconds(voice("step")) < 0.15
    assert ninety_percent_seconds(voice("splash")) > 0.2
    assert ninety_percent_seconds(voice("whoosh")) > 0.3
    assert ninety_percent_seconds(voice("bell")) > 0.8


def test_a_bounce_rings_at_its_note_on_any_ground() -> None:
    for material in GROUNDS:
        sound = voice("bounce", material)[samples(0.06) : samples(0.3)]
        hz = np.fft.rfftfreq(8 * len(sound), 1 / SAMPLE_RATE)[np.abs(np.fft.rfft(sound, 8 * len(sound))).argmax()]
        assert 205 <= hz <= 290


def test_a_whoosh_climbs() -> None:
    sound = voice("whoosh")
    assert centroid(sound[samples(0.6) : samples(0.9)]) > 2 * centroid(sound[: samples(0.15)])


def test_steps_tell_their_ground() -> None:
    order = sorted(GROUNDS, key=lambda material: centroid(voice("step", material)))
    assert order[0] == "earth"
    assert order[-2:] == ["snow", "sand"]


def test_every_place_has_a_ground_that_sounds() -> None:
    assert set(MATERIALS) == set(PLACES)
    assert set(MATERIALS.values()) == set(GROUNDS)


@pytest.mark.parametrize("name", sorted(ENGINE_HZ))
def test_engines_turn_slower_where_the_way_reverses(name: str) -> None:
    sound = engine(name, 3 * SAMPLE_RATE, np.random.default_rng(0))

    def pitch(second: float) -> float:
        window = sound[samples(second - 0.1) : samples(second + 0.1)] * np.hanning(samples(0.2))
        power = np.abs(np.fft.rfft(window, 1 << 17)) ** 2
        hz = np.fft.rfftfreq(1 << 17, 1 / SAMPLE_RATE)
        low = (hz > 0.55 * ENGINE_HZ[name]) & (hz < 1.3 * ENGINE_HZ[name])
        return float(hz[low][power[low].argmax()])

    assert pitch(1.0) == pytest.approx(ENGINE_HZ[name], rel=0.08)
    assert pitch(2.0) < 0.88 * pitch(1.0)
    assert pitch(1.7) < pitch(0.3)
