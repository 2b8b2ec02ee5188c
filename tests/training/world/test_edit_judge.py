from dataclasses import replace

import numpy as np
import pytest

from training.world.edit_judge import (
    EditTally,
    Outcome,
    find_second,
    judge_edit,
    nearest_style,
    tally,
    true_pairs,
    without_cast,
)
from training.world.edits import KINDS, Edit, Take, sample_edit
from training.world.render import render
from training.world.scene import STYLES, Scene, Second
from training.world.styles import stylise, unstylise

SCENE = Scene("boat", "yellow", "shrinks", "meadow", "pans left", seed=9)
BOTH = replace(SCENE, second=Second("heart", "orange", "left of"))
RECOLOUR = Edit("recolour", Take(SCENE), Take(replace(SCENE, colour="blue")))


@pytest.fixture(scope="module")
def source() -> np.ndarray:
    return render(SCENE, 32, 96, 96)


def test_true_edits_are_done_and_keep_everything() -> None:
    edits = [sample_edit(3, index, "held_out") for index in range(12)]
    counted = tally(edits, true_pairs(edits, 96)).groups()
    assert set(counted) == {"all", *KINDS}
    for outcome in counted["all"]:
        assert outcome.done
        assert outcome.camera
        assert outcome.motion is (None if outcome.kind == "remove" else True)
        assert (outcome.error is None) == (outcome.kind == "style")
        assert (outcome.error or 0.0) < 2.0


def test_doing_nothing_does_no_edit_and_keeps_everything() -> None:
    edits = [sample_edit(5, index, "held_out") for index in range(6)]
    for outcome in tally(edits, true_pairs(edits, 96, nothing=True)).groups()["all"]:
        assert not outcome.done
        assert outcome.camera
        assert outcome.error in (None, 0.0)


def test_another_motion_camera_or_background_counts_as_not_kept(source: np.ndarray) -> None:
    after = RECOLOUR.after.scene
    moved = judge_edit(RECOLOUR, source, render(replace(after, motion="rises"), 32, 96, 96))
    assert (moved.done, moved.motion, moved.camera) == (True, False, True)
    other = judge_edit(RECOLOUR, source, render(replace(after, camera="zooms in"), 32, 96, 96))
    assert (other.done, other.motion, other.camera) == (True, True, False)
    assert other.error is not None
    assert other.error > 20


def test_another_object_or_place_than_asked_is_not_done(source: np.ndarray) -> None:
    after = RECOLOUR.after.scene
    for wrong in (replace(after, object="car"), replace(after, colour="teal"), replace(after, place="snow")):
        assert not judge_edit(RECOLOUR, source, render(wrong, 32, 96, 96)).done


def test_the_error_is_the_mean_square_over_what_should_stay(source: np.ndarray) -> None:
    brighter = np.clip(source.astype(int) + 3, 0, 255).astype(np.uint8)
    outcome = judge_edit(RECOLOUR, np.minimum(source, 252), np.clip(brighter, 3, 255))
    assert outcome.error == pytest.approx(9.0, rel=0.02)


def test_the_second_object_is_read_with_its_side() -> None:
    second = find_second(render(BOTH, 32, 96, 96))
    assert second is not None
    assert (second.object, second.colour, second.side) == ("heart", "orange", "right")
    assert find_second(render(SCENE, 32, 96, 96)) is None


def test_an_object_added_on_the_wrong_side_is_not_done(source: np.ndarray) -> None:
    edit = Edit("add", Take(BOTH), Take(BOTH, (1, 2)))
    before = edit.before.render(32, 96, 96)
    assert judge_edit(edit, before, edit.after.render(32, 96, 96)).done
    assert not judge_edit(edit, before, np.ascontiguousarray(edit.after.render(32, 96, 96)[:, :, ::-1])).done
    assert not judge_edit(edit.reversed(), before, edit.after.render(32, 96, 96)).done
    assert judge_edit(edit.reversed(), edit.after.render(32, 96, 96), before).done


@pytest.mark.parametrize("style", STYLES)
def test_styles_are_told_apart_and_their_tones_undone(style: str, source: np.ndarray) -> None:
    styled = stylise(source, style)
    assert nearest_style(source, styled) == style
    gap = np.abs(unstylise(styled, style).astype(int) - source)
    assert np.median(gap) <= (12 if style == "sketch" else 2)
    assert (gap.mean() < 1.5) == (style != "sketch")


def test_videos_of_different_extent_are_refused(source: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"edited is \[31, 96, 96, 3\]"):
        judge_edit(RECOLOUR, source, source[1:])


def test_a_tally_counts_by_kind() -> None:
    counted = EditTally()
    counted.add(Outcome("add", True, True, True, 6.5025))
    counted.add(Outcome("add", False, True, False, 65.025))
    counted.add(Outcome("remove", True, None, True, None))
    figures = counted.as_dict()
    assert figures["add"]["done"]["rate"] == 0.5  # type: ignore[index]
    assert figures["add"]["kept_decibels"] == pytest.approx(35.0)
    assert figures["all"]["motion"]["count"] == 2  # type: ignore[index]
    assert "kept_decibels" not in figures["remove"]
    assert "add       kept    35.00 dB, worst 30.00" in str(counted)
    counted.add(Outcome("add", False, True, False, 0.0))  # which keeps as much as whole grey levels can tell apart
    assert counted.as_dict()["add"]["kept_decibels"] == pytest.approx((35.0 * 2 + 58.92) / 3, abs=0.01)


def test_a_style_is_done_while_the_colour_stays(source: np.ndarray) -> None:
    restyle = Edit("style", Take(SCENE), Take(replace(SCENE, style="dusk")))
    assert judge_edit(restyle, source, stylise(source, "dusk")).done
    assert not judge_edit(restyle, source, stylise(source, "vintage")).done
    assert not judge_edit(restyle, source, render(replace(SCENE, colour="pink", style="dusk"), 32, 96, 96)).done
    back = judge_edit(restyle.reversed(), stylise(source, "dusk"), source)
    assert (back.done, back.motion, back.camera) == (True, True, True)


def test_a_tint_of_the_whole_film_is_taken_away(source: np.ndarray) -> None:
    tinted = (source * np.array([0.9, 0.7, 0.8])).round().astype(np.uint8)
    assert np.abs(without_cast(tinted, source).astype(int) - source).max() <= 2
