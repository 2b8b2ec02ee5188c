from math import log, pi

import pytest

from training.world.motion import CYCLE_SECONDS, GROUND, hop_seconds, pose, second_pose, to_and_fro, turn_seconds, view
from training.world.scene import MOTIONS, Scene, Second


def _scene(motion: str = "stays still", camera: str = "still", seed: int = 3) -> Scene:
    return Scene("ball", "red", motion, "meadow", camera, seed=seed)


def test_to_and_fro() -> None:
    assert [to_and_fro(seconds) for seconds in (0.0, 1.0, 2.0, 3.0, 4.0)] == [0.0, 0.5, 1.0, 0.5, 0.0]


@pytest.mark.parametrize("seed", range(5))
def test_each_motion_goes_its_usual_way_in_two_seconds(seed: int) -> None:
    first, last = (
        {motion: pose(_scene(motion, seed=seed), seconds) for motion in MOTIONS} for seconds in (0.0, CYCLE_SECONDS)
    )
    assert 0.47 < last["moves right"].x - first["moves right"].x < 0.57
    assert 0.47 < first["moves left"].x - last["moves left"].x < 0.57
    assert first["rises"].y - last["rises"].y == pytest.approx(0.44)
    assert last["falls"].y - first["falls"].y == pytest.approx(0.44)
    assert log(1.74) < log(last["grows"].size / first["grows"].size) < log(1.96)
    assert first["shrinks"].size / last["shrinks"].size == pytest.approx(last["grows"].size / first["grows"].size)
    assert pi < last["spins"].angle < 2 * pi
    assert (last["stays still"].x, last["stays still"].y) == (first["stays still"].x, first["stays still"].y)


def test_a_ball_touches_the_ground_once_a_hop() -> None:
    scene = _scene("bounces")
    hop = hop_seconds(scene)
    for count in range(3):
        touch = pose(scene, count * hop + 1e-9)
        assert touch.lift == pytest.approx(0.0, abs=1e-6)
        assert touch.stretch == pytest.approx(0.78)
        assert touch.y + 0.46 * touch.size * touch.stretch == pytest.approx(GROUND, abs=0.01)
    assert pose(scene, 0.5 * hop).lift == pytest.approx(0.29)
    assert CYCLE_SECONDS / hop >= 2.0


def test_a_turn_takes_turn_seconds() -> None:
    scene = _scene("spins")
    assert pose(scene, turn_seconds(scene)).angle == pytest.approx(2 * pi)


def test_cameras() -> None:
    assert view(_scene(camera="still"), 1.3).x == 0.0
    assert 0.7 <= view(_scene(camera="pans left"), 2.0).x <= 0.9
    assert view(_scene(camera="pans right"), 2.0).x == -view(_scene(camera="pans left"), 2.0).x
    assert view(_scene(camera="zooms in"), 2.0).zoom == pytest.approx(1.55)
    assert view(_scene(camera="zooms out"), 0.0).zoom == pytest.approx(1.55)
    assert view(_scene(camera="tilts up"), 2.0).y == pytest.approx(0.36)


@pytest.mark.parametrize(("relation", "side"), [("left of", 1), ("right of", -1)])
def test_the_first_object_is_in_the_named_relation_to_the_second(relation: str, side: int) -> None:
    scene = Scene("cat", "blue", "spins", "room", second=Second("cube", "red", relation), seed=1)
    assert side * (second_pose(scene).x - pose(scene, 0.0).x) > 0.35
