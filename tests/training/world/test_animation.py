import numpy as np
import pytest

from training.world.animation import Window, animate, paint, random_window
from training.world.paint import PALETTE


def test_the_whole_picture_seen_at_its_own_size_is_the_picture() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint8)
    whole = Window(0.5, 0.5, 1.0)
    clip = animate(picture, whole, whole, 3, 32)
    assert np.array_equal(clip, np.repeat(picture[None], 3, axis=0))


def test_a_window_that_goes_right_moves_the_picture_left_evenly() -> None:
    picture = np.zeros((64, 64, 3), np.uint8)
    picture[:, 30:32] = 255
    clip = animate(picture, Window(0.25, 0.5, 0.5), Window(0.75, 0.5, 0.5), 5, 32)
    columns = [
        float((frame[..., 0].sum(axis=0) * (np.arange(32) + 0.5)).sum() / frame[..., 0].sum()) for frame in clip[:4]
    ]
    # The stripe lies around x = 31 of 64; a window of 32 pixels starts at 0, 8, 16, 24, 32.
    assert columns == pytest.approx([31.0, 23.0, 15.0, 7.0], abs=0.6)
    assert not clip[4].any()


def test_random_windows_lie_within_the_picture() -> None:
    rng = np.random.default_rng(3)
    for _ in range(200):
        window = random_window(rng)
        assert 0 <= window.x - window.side / 2 < window.x + window.side / 2 <= 1
        assert 0 <= window.y - window.side / 2 < window.y + window.side / 2 <= 1


def test_paint_covers_the_mask_alone() -> None:
    frames = np.full((1, 2, 2, 3), 100, np.uint8)
    mask = np.array([[[True, False], [False, False]]])
    painted = paint(frames, mask, "red")
    assert painted[0, 0, 0].tolist() == [round(25 + 0.75 * value) for value in PALETTE["red"]]
    assert (painted[0, 1] == 100).all()
    assert (frames == 100).all()
