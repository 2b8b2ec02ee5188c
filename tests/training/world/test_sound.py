import numpy as np
import pytest

from kino.loudness import loudness, true_peak
from kino.shapes import SAMPLE_RATE, audio_samples
from training.world.events import events
from training.world.scene import RICH, Scene, sample
from training.world.sound import mix, render_sound
from training.world.synthesis import samples


def level_db(signal: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(signal**2)))


@pytest.mark.parametrize(("frames", "fps"), [(32, 16), (1, 16), (7, 24), (50, 30)])
def test_length_loudness_and_peak_are_as_stated(frames: int, fps: int) -> None:
    for index in range(3):
        sound = render_sound(sample(4, index, mixture=RICH), frames, fps)
        assert sound.shape == (audio_samples(frames, fps),)
        assert sound.dtype == np.float32
        assert np.abs(sound).max() <= 1
        assert loudness(sound) == pytest.approx(-23, abs=0.2)
        assert true_peak(sound) <= -1.0


def test_the_same_scene_sounds_the_same_and_another_seed_does_not() -> None:
    scene = Scene("ball", "red", "bounces", "meadow", seed=3)
    sound = render_sound(scene, 16, 16)
    np.testing.assert_array_equal(sound, render_sound(scene, 16, 16))
    assert not np.allclose(sound, render_sound(Scene("ball", "red", "bounces", "meadow", seed=4), 16, 16))


@pytest.mark.parametrize(("name", "motion"), [("ball", "bounces"), ("boat", "moves left"), ("robot", "moves right")])
def test_a_later_clip_is_the_same_span_of_a_longer_one(name: str, motion: str) -> None:
    scene = Scene(name, "red", motion, "beach", seed=3)
    whole, part = mix(scene, 4 * SAMPLE_RATE, "calm"), render_sound(scene, 24, 16, 2.5, "calm")
    np.testing.assert_allclose(mix(scene, SAMPLE_RATE, "calm"), whole[:SAMPLE_RATE], atol=1e-9)
    span = whole[samples(2.5) :]
    gain = (span @ part) / (span @ span)
    np.testing.assert_allclose(part, gain * span, atol=1e-3)


def test_events_are_far_above_the_place_when_they_are_seen() -> None:
    for name, motion in (
        ("ball", "bounces"),
        ("star", "falls"),
        ("heart", "rises"),
        ("cube", "spins"),
        ("fish", "bounces"),
    ):
        scene = Scene(name, "red", motion, "beach", seed=5)
        still = Scene(name, "red", "stays still", "beach", seed=5)
        track, bed = mix(scene, 5 * SAMPLE_RATE), mix(still, 5 * SAMPLE_RATE)
        for event in events(scene, 4.5):
            start = samples(event.seconds)
            span = slice(start, start + samples(0.05))
            assert level_db(track[span]) > level_db(bed[span]) + 15
        first = samples(events(scene, 4.5)[0].seconds)
        np.testing.assert_array_equal(track[:first], bed[:first])


def test_music_is_added_below_the_events() -> None:
    scene = Scene("ball", "red", "bounces", "room", seed=5)
    plain = mix(scene, 2 * SAMPLE_RATE)
    added = mix(scene, 2 * SAMPLE_RATE, "happy") - plain
    assert -30 < level_db(added) < level_db(plain[: samples(0.05)]) - 12


def test_bad_requests_are_refused() -> None:
    scene = Scene("ball", "red", "bounces", "room")
    with pytest.raises(ValueError, match="frames is 0"):
        render_sound(scene, 0, 16)
    with pytest.raises(ValueError, match="start_seconds is -1"):
        render_sound(scene, 4, 16, -1)
    with pytest.raises(ValueError, match="mood is 'angry'"):
        render_sound(scene, 4, 16, mood="angry")
