import numpy as np
import pytest

from kino.shapes import SAMPLE_RATE
from training.world.events import events
from training.world.hearing import Hearing, hear, measure
from training.world.scene import Identity, Scene
from training.world.sound import render_sound


def test_true_sound_is_heard_right() -> None:
    tally = measure(count=16, frames=64, fps=16, seed=21, with_music=True)
    rates = tally.rates()
    assert rates["onsets"].count >= 14
    assert rates["onsets"].value >= 0.97
    assert rates["kinds"].value >= 0.97
    assert rates["places"].value >= 0.85
    assert tally.false_per_second <= 0.03


def test_silence_and_another_clips_sound_are_not() -> None:
    silence = measure(count=8, frames=64, fps=16, seed=21, sound="silence")
    assert silence.rates()["onsets"].right == silence.rates()["whole clips"].right == silence.false == 0
    other = measure(count=16, frames=64, fps=16, seed=21, sound="other")
    assert other.rates()["kinds"].value < 0.4


@pytest.mark.parametrize(
    ("name", "motion", "place", "kinds"),
    [
        ("ball", "bounces", "city", {("bounce", "stone")}),
        ("fish", "bounces", "beach", {("splash", "water")}),
        ("star", "falls", "snow", {("thud", "snow")}),
        ("cube", "spins", "forest", {("bell", "metal")}),
        ("heart", "rises", "meadow", {("whoosh", "air")}),
        ("person", "moves left", "room", {("step", "wood")}),
        ("car", "moves right", "night", {("engine", "")}),
        ("cat", "stays still", "desert", set()),
    ],
)
def test_every_kind_is_told(name: str, motion: str, place: str, kinds: set[tuple[str, str]]) -> None:
    identity = Identity("tan", "blond", "long") if name == "person" else None
    scene = Scene(name, "red", motion, place, identity=identity, seed=77)
    hearing = hear(render_sound(scene, 60, 16))
    assert {(event.kind, event.material) for event in hearing.events} == kinds
    if kinds != {("engine", "")}:  # which drowns the place
        assert hearing.place == place
    truth = [event.seconds for event in events(scene, 3.7)]
    if truth:
        assert [event.seconds for event in hearing.events if event.seconds < 3.7] == pytest.approx(truth, abs=0.0625)


def test_level_and_hiss_do_not_change_what_is_heard() -> None:
    sound = render_sound(Scene("ball", "red", "bounces", "room", seed=8), 32, 16)
    hiss = 0.003 * np.random.default_rng(0).standard_normal(len(sound))
    for given in (0.2 * sound, sound + hiss):
        assert [(event.kind, event.material) for event in hear(given).events if event.seconds < 1.9] == [
            ("bounce", "wood"), ("bounce", "wood"),
        ]  # fmt: skip


def test_noise_alone_is_no_event_and_silence_is_nothing() -> None:
    noise = 0.05 * np.random.default_rng(0).standard_normal(2 * SAMPLE_RATE)
    assert hear(noise).events == []
    assert hear(np.zeros(SAMPLE_RATE)) == Hearing([], "")
    assert hear(np.zeros(10)) == Hearing([], "")


def test_sound_of_one_frame_is_heard() -> None:
    hearing = hear(render_sound(Scene("ball", "red", "bounces", "room", seed=8), 1, 16))
    assert [event.kind for event in hearing.events] in ([], ["bounce"])
    assert hearing.place != ""


def test_sound_of_two_channels_is_refused() -> None:
    with pytest.raises(ValueError, match="must be mono"):
        hear(np.zeros((2, 100)))
