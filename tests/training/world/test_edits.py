from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from training.world.edits import KINDS, Edit, Take, sample_edit, subject, unseen, untouched
from training.world.render import footprints, masks, render
from training.world.scene import Scene, Second, held_out

SCENE = Scene("ball", "red", "bounces", "meadow", "pans left", seed=5)
BOTH = replace(SCENE, second=Second("star", "blue", "left of"))
LOCAL = ("recolour", "replace", "remove", "add")


def test_kinds_take_turns_and_edits_are_the_same_each_time() -> None:
    edits = [sample_edit(4, index) for index in range(12)]
    assert [edit.kind for edit in edits] == [*KINDS, *KINDS]
    assert edits == [sample_edit(4, index) for index in range(12)]
    assert len(set(edits)) == 12


@pytest.mark.parametrize("index", range(18))
@pytest.mark.parametrize("split", ["train", "held_out"])
def test_what_an_edit_does_not_name_is_the_same_frame_by_frame(split: str, index: int) -> None:
    edit = sample_edit(1, index, split)  # type: ignore[arg-type]
    before, after = edit.before.render(5, 96, 96, 4.0), edit.after.render(5, 96, 96, 4.0)
    kept = untouched(edit, 5, 96, 96, 4.0)
    assert not np.array_equal(before, after)
    if edit.kind in LOCAL:
        assert kept.mean() > 0.3
        assert np.array_equal(before[kept], after[kept])
    elif edit.kind == "place":
        assert 0.02 < kept.mean() < 0.4
        gap = np.abs(before.astype(int) - after)
        assert gap[kept].max() <= 12
        assert gap[~kept].mean() > 8
    else:
        assert not kept.any()


def test_shadows_are_part_of_a_footprint_and_masks_lie_within_it() -> None:
    mask, footprint = masks(SCENE, 4, 96, 96, 4.0) == 1, footprints(SCENE, 4, 96, 96, 4.0)
    assert not (mask & ~footprint).any()
    empty, full = render(SCENE, 4, 96, 96, 4.0, shown=()), render(SCENE, 4, 96, 96, 4.0)
    changed = (empty != full).any(axis=-1)
    assert not (changed & ~footprint).any()
    assert (changed & ~mask).sum() > 100  # the shadow


def test_hiding_the_second_object_moves_nothing() -> None:
    alone, both = (render(BOTH, 3, 96, 96, 2.0, shown=shown) for shown in ((1,), (1, 2)))
    second = footprints(BOTH, 3, 96, 96, 2.0, shown=(2,))
    assert np.array_equal(alone[~second], both[~second])
    assert not np.array_equal(alone, both)


def test_held_out_edits_end_in_a_held_out_scene_and_pair_what_training_never_pairs() -> None:
    for index in range(120):
        known, new = sample_edit(2, index, "train"), sample_edit(2, index, "held_out")
        for take in (known.before, known.after):
            assert (take.scene.object, take.scene.colour, take.scene.motion) not in held_out()
        assert (new.after.scene.object, new.after.scene.colour, new.after.scene.motion) in held_out()
        assert unseen(new)
        assert not unseen(known)
        assert not unseen(known.reversed())


def test_every_style_and_every_place_is_reached_by_held_out_edits() -> None:
    edits = [sample_edit(0, index, "held_out", ("place", "style")) for index in range(160)]
    assert set(Counter(edit.after.scene.style for edit in edits)) == {"plain", "sketch", "vintage", "dusk"}
    assert len({edit.after.scene.place for edit in edits if edit.kind == "place"}) == 8


def test_reversing_swaps_the_sides_and_undoes_itself() -> None:
    removal = Edit("remove", Take(SCENE), Take(SCENE, ()))
    addition = removal.reversed()
    assert addition == Edit("add", Take(SCENE, ()), Take(SCENE))
    assert addition.reversed() == removal
    assert (removal.thing, subject(removal)) == (1, SCENE)
    second = Edit("add", Take(BOTH), Take(BOTH, (1, 2)))
    assert (second.thing, subject(second)) == (2, BOTH.second)
