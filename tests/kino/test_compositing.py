from fractions import Fraction

import numpy as np
import pytest

from kino.compositing import Change, blend, changes, composite, faded
from kino.media import Frames
from tests.kino.clips import noise, plain

GREY = plain(6, 48, 48, (100, 110, 120))


def made_of(frame: Frames, share: int = 255, detail: int = 0, before: Frames | None = None) -> Change:
    mask, kept = (np.full(frame.shape[:2], value, np.uint8) for value in (share, detail))
    return Change(frame, frame if before is None else before, mask, kept)


def patched(frames: Frames, top: int = 20, left: int = 20, side: int = 8) -> Frames:
    changed = frames.copy()
    changed[:, top : top + side, left : left + side] = (250, 0, 0)
    return changed


def test_where_nothing_differs_nothing_changes() -> None:
    source = noise(6, 90, 70)
    made = changes(iter(GREY), iter(GREY))
    shown = np.stack(list(composite(source, Fraction(16), made, Fraction(16))))
    np.testing.assert_array_equal(shown, source)


def test_less_than_the_threshold_is_the_models_own_noise() -> None:
    draw = np.random.default_rng(0).integers(-20, 21, GREY.shape)
    assert all(not change.mask.any() for change in changes(iter((GREY + draw).astype(np.uint8)), iter(GREY)))


def test_a_pixel_far_from_the_change_is_exactly_the_sources_and_one_inside_is_the_edits() -> None:
    """A change in 8 of 48 pixels reaches 2 further by its mask and 2 by its soft edge; twice as large, 8 and some."""
    source = noise(6, 96, 96)
    made = changes(iter(patched(GREY)), iter(GREY))
    shown = np.stack(list(composite(source, Fraction(16), made, Fraction(16))))
    far = np.ones((96, 96), np.bool_)
    far[40 - 12 : 56 + 12, 40 - 12 : 56 + 12] = False
    np.testing.assert_array_equal(shown[:, far], source[:, far])
    np.testing.assert_array_equal(shown[:, 46:50, 46:50], np.broadcast_to([250, 0, 0], (6, 4, 4, 3)))
    assert not np.array_equal(shown[:, ~far], source[:, ~far])


def test_a_single_pixel_is_no_change() -> None:
    assert not any(change.mask.any() for change in changes(iter(patched(GREY, side=1)), iter(GREY)))


def test_a_change_that_is_meant_everywhere_leaves_no_pixel_out() -> None:
    """Another light, too weak for the threshold, that a source of its own details gets all over."""
    source, light = noise(6, 96, 96) // 2 + 40, (GREY + np.array([9, 6, 3])).astype(np.uint8)
    assert not any(change.mask.any() for change in changes(iter(light), iter(GREY)))
    made = changes(iter(light), iter(GREY), everywhere=True)
    shown = np.stack(list(composite(source, Fraction(16), made, Fraction(16))))
    np.testing.assert_array_equal(shown, source + np.array([9, 6, 3], np.uint8))


def test_the_mask_holds_over_neighbouring_frames() -> None:
    edited = GREY.copy()
    edited[3] = patched(GREY)[3]
    shown = [bool(change.mask.any()) for change in changes(iter(edited), iter(GREY))]
    assert shown == [False, False, True, True, True, False]


@pytest.mark.parametrize(("count", "fps", "expected"), [(1, 16, [0]), (6, 16, [0, 1, 2, 3, 4, 5])])
def test_every_frame_has_its_change(count: int, fps: int, expected: list[int]) -> None:
    edited = np.stack([plain(1, 32, 32, (40 * index, 0, 0))[0] for index in range(count)])
    made = list(changes(iter(edited), iter(255 - edited)))
    assert [int(change.frame[0, 0, 0]) // 40 for change in made] == expected


@pytest.mark.parametrize(
    ("fps", "made_fps", "expected"),
    [(32, 16, [0, 0, 1, 2, 2, 2]), (8, 16, [0, 2, 4]), (24, 16, [0, 1, 1, 2, 3]), (16, 1, [0, 0, 0, 0, 0])],
)
def test_a_frame_gets_the_change_that_is_nearest_in_time(fps: int, made_fps: int, expected: list[int]) -> None:
    made = (made_of(plain(1, 16, 16, (index, 0, 0))[0]) for index in range(8))
    source = plain(len(expected), 16, 16, (99, 99, 99))
    shown = composite(source, Fraction(fps), made, Fraction(made_fps))
    assert [int(frame[0, 0, 0]) for frame in shown] == expected


def test_a_video_that_is_longer_keeps_the_last_change() -> None:
    made = iter([made_of(plain(1, 16, 16, (7, 7, 7))[0])])
    assert {
        int(frame[0, 0, 0]) for frame in composite(plain(5, 16, 16, (0, 0, 0)), Fraction(16), made, Fraction(16))
    } == {7}


def test_half_a_mask_is_half_of_each() -> None:
    frame, changed = plain(1, 2, 2, (0, 100, 255))[0], plain(1, 2, 2, (255, 100, 0))[0]
    mixed = blend(frame, made_of(changed, 51))  # a fifth
    np.testing.assert_array_equal(mixed, plain(1, 2, 2, (51, 100, 204))[0])


def test_a_small_change_keeps_the_details_and_a_large_one_does_not() -> None:
    """Another light, 40 of 255: what the model cannot show stays; another thing, 120: the old one leaves no trace."""
    frame, before = plain(1, 16, 16, (100, 100, 100))[0], plain(1, 16, 16, (90, 90, 90))[0]
    for step, expected in ((40, 140), (72, 167), (120, 210)):
        (change,) = changes(iter([before + np.uint8(step)]), iter([before]))
        assert (change.mask == 255).all()
        np.testing.assert_allclose(blend(frame, change), expected, atol=1)


@pytest.mark.parametrize("size", [48, 96])
def test_where_an_object_goes_all_of_it_goes_also_what_the_model_does_not_see(size: int) -> None:
    """The video's red patch; the model shows it a little to the left, and takes it away there."""
    place = np.full((size, size, 3), (100, 110, 120), np.uint8)
    frame, seen, empty = place.copy(), GREY[0].copy(), GREY[0]
    frame[size // 4 : size // 2, size // 4 : size // 2] = seen[12:24, 4:16] = (250, 0, 0)
    change = Change(empty, seen, np.full((48, 48), 255, np.uint8), next(changes([empty], [seen])).detail)
    left, taken = blend(frame, change), blend(frame, change, goes=True)
    assert tuple(left[3 * size // 8, 15 * size // 32]) == (250, 0, 0)
    np.testing.assert_allclose(taken, place, atol=20)  # its soft edge
    (fitted,) = composite([frame], Fraction(16), iter([change]), Fraction(16), goes=True)
    np.testing.assert_array_equal(fitted, taken)


def test_only_three_frames_are_held() -> None:
    taken: list[int] = []

    def reads() -> object:
        for index, frame in enumerate(GREY):
            taken.append(index)
            yield frame

    made = changes(reads(), iter(GREY))  # type: ignore[arg-type]
    next(made)
    assert taken == [0, 1]


@pytest.mark.parametrize("other", [GREY[:5], np.concatenate([GREY, GREY[:1]]), GREY[:, :40]])
def test_an_edit_that_does_not_belong_to_its_reconstruction_is_refused(other: Frames) -> None:
    with pytest.raises(ValueError, match="must be frame by frame as its reconstruction"):
        list(changes(iter(other), iter(GREY)))


def test_no_change_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="edited is without frames"):
        next(composite(GREY, Fraction(16), iter([]), Fraction(16)))


def test_a_faded_change_goes_evenly_from_itself_to_the_changed_frame() -> None:
    rng = np.random.default_rng(0)
    source, frame, before = noise(3, 12, 12) // 4 + np.uint8(96)  # nothing is clipped
    mask, detail = rng.integers(0, 256, (2, 12, 12), np.uint8)
    change = Change(frame, before, mask, detail)
    steps = list(faded([change] * 6, 4))
    plainly = blend(source, change).astype(float)
    for index, step in enumerate(steps):
        share = max(0.0, 1 - index / 4)
        expected = share * plainly + (1 - share) * frame
        assert np.abs(blend(source, step) - expected).max() <= 2
    np.testing.assert_array_equal(blend(source, steps[0]), blend(source, change))
    np.testing.assert_array_equal(blend(source, steps[4]), frame)
