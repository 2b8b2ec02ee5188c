import numpy as np
import pytest

from training.world.events import Event, Interval, events, intervals
from training.world.motion import hop_seconds, to_and_fro, turn_seconds
from training.world.render import masks
from training.world.scene import Scene


def test_bounces_are_heard_when_the_ball_is_lowest() -> None:
    scene = Scene("ball", "red", "bounces", "room", seed=3)
    fps = 100.0
    lowest = masks(scene, 250, 64, 64, fps=fps).any(axis=2)
    top = lowest.argmax(axis=1)
    heard = events(scene, 2.5)
    assert [event.seconds for event in heard] == pytest.approx([0.0, hop_seconds(scene), 2 * hop_seconds(scene)])
    assert {(event.kind, event.material) for event in heard} == {("bounce", "wood")}
    for event in heard:
        frame = round(event.seconds * fps)
        around = top[max(0, frame - 20) : frame + 20]
        assert top[min(frame, 249)] >= around.max() - 1
    assert np.ptp(top) > 0.25 * 64


def test_boats_splash_by_the_sea() -> None:
    assert events(Scene("boat", "red", "bounces", "beach"), 0.5) == [Event(0.0, "splash", "water")]


def test_falls_land_after_two_seconds() -> None:
    scene = Scene("star", "red", "falls", "snow")
    assert events(scene, 2.0) == []
    assert events(scene, 7.0) == [Event(2.0, "thud", "snow"), Event(6.0, "thud", "snow")]


def test_spins_ring_at_each_full_turn() -> None:
    scene = Scene("star", "red", "spins", "city")
    assert events(scene, turn_seconds(scene) + 0.01) == [Event(turn_seconds(scene), "bell", "metal")]


def test_rises_set_off_at_once_and_still_things_are_silent() -> None:
    assert events(Scene("rocket", "red", "rises", "city"), 1.0) == [Event(0.0, "whoosh", "air")]
    assert events(Scene("cat", "red", "stays still", "city"), 9.0) == []


def test_walkers_set_a_foot_down_twice_a_second() -> None:
    scene = Scene("robot", "red", "moves left", "forest", seed=4)
    heard = events(scene, 1.3)
    assert [event.seconds for event in heard] == [0.25, 0.75, 1.25]
    assert {(event.kind, event.material) for event in heard} == {("step", "earth")}
    assert events(Scene("ball", "red", "moves left", "forest"), 4.0) == []


def test_where_a_walker_is_tells_when_it_steps() -> None:
    for seed in range(20):
        scene = Scene("robot", "red", "moves right", "forest", seed=seed)
        # The same eight places on every way there and back, whatever the seed.
        places = [to_and_fro(event.seconds) for event in events(scene, 4.0)]
        assert places == pytest.approx([0.125, 0.375, 0.625, 0.875, 0.875, 0.625, 0.375, 0.125])


def test_engines_run_as_long_as_a_vehicle_moves() -> None:
    assert intervals(Scene("car", "red", "moves right", "city"), 3.5) == [Interval(0.0, 3.5, "engine")]
    assert intervals(Scene("car", "red", "spins", "city"), 3.5) == []
    assert intervals(Scene("cat", "red", "moves right", "city"), 3.5) == []
    assert events(Scene("car", "red", "moves right", "city"), 3.5) == []
