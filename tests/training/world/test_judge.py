import numpy as np
import pytest

from training.world.damage import damage
from training.world.judge import NOTHING, judge, measure
from training.world.motion import View
from training.world.people import sample_person
from training.world.render import empty_place, render
from training.world.scene import PLACES, Scene


def test_true_renders_are_read_right() -> None:
    rates = measure(count=16, size=96, seed=11).rates()
    assert rates["first four"].right == 16
    assert rates["camera"].right >= 15


def test_soft_noisy_compressed_renders_are_read_right() -> None:
    rates = measure(count=12, size=96, seed=12, blur=1.5, noise=6.0, jpeg=40).rates()
    assert rates["object"].right >= 11
    assert rates["colour"].right == rates["place"].right == 12
    assert rates["motion"].right >= 11


@pytest.mark.parametrize(("height", "width", "fps"), [(64, 64, 16.0), (144, 256, 24.0)])
def test_other_sizes_and_frame_rates(height: int, width: int, fps: float) -> None:
    scene = Scene("rocket", "purple", "rises", "desert", "pans right", seed=5)
    verdict = judge(render(scene, round(2 * fps), height, width, fps), fps)
    assert (verdict.object, verdict.colour, verdict.motion) == ("rocket", "purple", "rises")
    assert (verdict.place, verdict.camera) == ("desert", "pans right")


def test_one_frame_is_enough_for_what_does_not_move() -> None:
    verdict = judge(render(Scene("car", "green", "stays still", "city", seed=2), 1, 96, 96))
    assert (verdict.object, verdict.colour, verdict.motion, verdict.place, verdict.camera) == (
        "car", "green", "stays still", "city", "still",
    )  # fmt: skip


@pytest.mark.parametrize("index", [51, 99, 13, 27])
def test_people_are_read_by_their_dress_and_turn_about_their_middle(index: int) -> None:
    scene = sample_person(1, index, "held_out")  # the first two spin, and the dress goes round
    frames = damage(render(scene, 32, 96, 96), np.random.default_rng(index), blur=1.5, noise=6.0)
    verdict = judge(frames, person=True)
    assert (verdict.object, verdict.colour, verdict.motion) == ("person", scene.colour, scene.motion)
    assert (verdict.place, verdict.camera) == (scene.place, scene.camera)


@pytest.mark.parametrize("place", PLACES)
def test_an_empty_place_shows_nothing(place: str) -> None:
    verdict = judge(np.repeat(empty_place(place, 99, View(), 96, 96)[None], 8, axis=0))
    assert (verdict.object, verdict.colour, verdict.motion) == (NOTHING, NOTHING, NOTHING)
    assert verdict.place == place
    assert verdict.camera == "still"


def test_frames_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="must be uint8"):
        judge(np.zeros((2, 96, 96, 3), np.float32))
    with pytest.raises(ValueError, match="at least 64 pixels"):
        judge(np.zeros((2, 32, 96, 3), np.uint8))
    with pytest.raises(ValueError, match="fps is 0"):
        judge(np.zeros((2, 96, 96, 3), np.uint8), 0.0)


def test_damage_blurs_and_adds_noise() -> None:
    frames = np.zeros((1, 96, 96, 3), np.uint8)
    frames[:, :, 48:] = 255
    rng = np.random.default_rng(0)
    soft = damage(frames, rng, blur=2.0)[0, 48, :, 0].astype(int)
    assert 0 < soft[46] < 128 < soft[50] < 255
    assert damage(np.full_like(frames, 128), rng, noise=5.0).std() == pytest.approx(5.0, rel=0.05)
    assert np.array_equal(damage(frames, rng), frames)
