import numpy as np
import pytest

from training.world.motion import View, pose
from training.world.paint import PALETTE
from training.world.render import empty_place, masks, render
from training.world.scene import COLOURS, OBJECTS, PLACES, RICH, Scene, Second, sample


def test_frames_have_the_asked_size_and_are_the_same_each_time() -> None:
    scene = sample(0, 3, mixture=RICH)
    clip = render(scene, 5, 72, 128, fps=8.0)
    assert clip.shape == (5, 72, 128, 3)
    assert clip.dtype == np.uint8
    assert np.array_equal(clip, render(scene, 5, 72, 128, fps=8.0))


@pytest.mark.parametrize("index", range(6))
def test_any_frame_alone_equals_the_frame_of_the_clip(index: int) -> None:
    scene = sample(1, index, mixture=RICH)
    clip = render(scene, 20, 64, 64)
    assert np.array_equal(clip[0], render(scene, 1, 64, 64)[0])
    assert np.array_equal(clip[17], render(scene, 1, 64, 64, start_seconds=17 / 16)[0])


def test_a_slower_frame_rate_shows_the_same_instants() -> None:
    scene = Scene("boat", "teal", "moves left", "beach", "pans left", seed=9)
    assert np.array_equal(render(scene, 16, 64, 64, fps=16.0)[::2], render(scene, 8, 64, 64, fps=8.0))


@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_is_large_and_of_its_colour(name: str) -> None:
    for colour in COLOURS:
        scene = Scene(name, colour, "stays still", "city", seed=2)
        frame, mask = render(scene, 1, 96, 96)[0], masks(scene, 1, 96, 96)[0]
        rows, columns = np.nonzero(mask == 1)
        extent = max(np.ptp(rows), np.ptp(columns)) / 96
        assert 0.45 < extent < 0.75
        pixels = frame[mask == 1].astype(float)
        near = np.abs(pixels - PALETTE[colour]).max(axis=1) < 60
        assert near.mean() > 0.25


def test_masks_follow_the_pose_and_the_nearer_object_hides_the_other() -> None:
    scene = Scene("ball", "red", "moves right", "snow", seed=4)
    mask = masks(scene, 32, 96, 96)
    for index in (8, 16, 24):
        assert np.nonzero(mask[index])[1].mean() / 96 == pytest.approx(pose(scene, index / 16).x, abs=0.02)
    behind = Scene("ball", "red", "stays still", "snow", second=Second("cube", "blue", "behind"), seed=4)
    before = Scene("ball", "red", "stays still", "snow", second=Second("cube", "blue", "in front of"), seed=4)
    assert (masks(behind, 1, 96, 96) == 2).sum() > (masks(before, 1, 96, 96) == 2).sum() > 0


def test_places_are_pale_and_objects_are_not() -> None:
    for place in PLACES:
        image = empty_place(place, 0, View(), 96, 96).astype(int)
        assert np.ptp(image, axis=-1).max() < 80
    for rgb in PALETTE.values():
        assert max(rgb) - min(rgb) > 115


def test_a_pan_moves_the_scenery_and_repeats_without_a_seam() -> None:
    still = empty_place("city", 0, View(), 96, 192)
    whole_period = empty_place("city", 0, View(x=1.0), 96, 192)
    assert np.array_equal(still[80:], whole_period[80:])
    panned = empty_place("city", 0, View(x=0.25), 96, 96)
    assert np.array_equal(panned[80:, 24:], empty_place("city", 0, View(), 96, 96)[80:, :72])


def test_styles_and_signs_change_the_picture() -> None:
    plain = render(Scene("cat", "red", "spins", "room", seed=1), 1, 96, 96)
    for other in (
        Scene("cat", "red", "spins", "room", style="sketch", seed=1),
        Scene("cat", "red", "spins", "room", style="vintage", seed=1),
        Scene("cat", "red", "spins", "room", style="dusk", seed=1),
    ):
        assert np.abs(render(other, 1, 96, 96).astype(int) - plain).mean() > 10
    signed = render(Scene("cat", "red", "spins", "room", sign="OPEN", seed=1), 1, 96, 96)
    assert np.array_equal(signed[0, 60:], plain[0, 60:])
    assert (signed[0, 4:26] != plain[0, 4:26]).any(axis=-1).mean() > 0.3


def test_different_words_on_a_sign_look_different() -> None:
    one, other = (render(Scene("cat", "red", "spins", "room", sign=word), 1, 96, 96) for word in ("OPEN", "OVEN"))
    assert (one != other).any(axis=-1).sum() > 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 96, 96, 16.0), "frames is 0; must be at least 1"),
        ((1, 8, 96, 16.0), "height is 8; must be from 16 to 4096"),
        ((1, 96, 5000, 16.0), "width is 5000"),
        ((1, 96, 96, 0.0), "fps is 0.0; must be positive"),
        ((1, 96, 96, float("nan")), "fps is nan"),
    ],
)
def test_sizes_out_of_range_are_refused(arguments: tuple[int, int, int, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        render(Scene("ball", "red", "spins", "room"), *arguments)
