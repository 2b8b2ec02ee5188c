from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kino.presets import EDITOR_TASKS
from kino.registry import Registry
from training.data import to_signed
from training.edit_pairs import PairSet, open_pairs
from training.edit_streams import balanced
from training.published import open_tae
from training.world.edits import sample_edit

ANIMATED = PairSet("animated", "train", 12, size=32, frames=16)
MARKED = replace(ANIMATED, form="marked")
STILLS = replace(ANIMATED, form="stills", frames=1)
TARGETS = replace(ANIMATED, form="targets")


def test_every_other_training_edit_is_the_one_before_reversed() -> None:
    for index in range(0, 12, 2):
        assert STILLS.edit(index) == sample_edit(0, index // 2)
        assert STILLS.edit(index + 1) == STILLS.edit(index).reversed()
    held_out = replace(STILLS, split="held_out")
    assert [held_out.edit(index) for index in range(4)] == [sample_edit(0, index, "held_out") for index in range(4)]


def test_tasks_are_known_to_the_editor() -> None:
    for items in (ANIMATED, MARKED, STILLS, TARGETS):
        assert {items.task(index) for index in range(12)} <= set(EDITOR_TASKS)
    assert MARKED.task(3) == "mark"
    assert MARKED.sentence(0).startswith("mark the ")


def test_a_mark_changes_what_it_touches_and_nothing_else() -> None:
    items = replace(MARKED, size=64)
    before, after = items.pixels(0)
    touched = items.touched(0).repeat(2, axis=1).repeat(2, axis=2)
    changed = (before != after).any(axis=-1)
    assert changed.mean() > 0.03
    assert (changed & touched).sum() > 0.9 * changed.sum()


def test_animated_pictures_move_alike_on_both_sides() -> None:
    items = replace(ANIMATED, size=64)
    before, after = items.pixels(0)  # a new colour: the scenery around is the same in each frame
    assert items.task(0) == "recolour"
    assert (before[0] != before[-1]).any()
    same = (before == after).all(axis=-1).mean(axis=(1, 2))
    assert same.min() > 0.3
    touched = items.touched(0).mean(axis=(1, 2))
    assert 0.02 < touched.min() <= touched.max() < 0.6


def test_stills_are_seen_at_times_of_their_own_and_clips_from_their_start() -> None:
    spins = next(index for index in range(0, 400, 2) if STILLS.edit(index).before.scene.motion == "spins")
    edit = STILLS.edit(spins)
    assert not np.array_equal(STILLS.pixels(spins)[0], edit.before.render(1, 32, 32))
    assert np.array_equal(TARGETS.pixels(spins)[0], edit.after.render(16, 32, 32))


@pytest.mark.parametrize("items", [STILLS, ANIMATED, TARGETS])
def test_latents_are_those_of_both_sides_the_target_last(items: PairSet, tmp_path: Path) -> None:
    tae, manifest = open_tae("nano", Registry(tmp_path / "models"))
    space = manifest.latent_space
    pairs = open_pairs(items, tae, space, tmp_path)
    frames = 1 if items.frames == 1 else 2
    assert pairs.values.shape == (12, items.sides, 16, frames, 4, 4)
    assert pairs.touched.shape == (12, frames, 4, 4)
    with torch.inference_mode():
        target = tae.encode(to_signed(items.pixels(7)[-1][None]))[0]
    assert torch.from_numpy(pairs.values[7, -1]).float() == pytest.approx(target.numpy(), abs=0.05)
    assert len({items.key(space), replace(items, seed=1).key(space), items.key("other")}) == 3


def test_rare_tasks_are_drawn_as_often_as_common_ones() -> None:
    kept = np.array([0, 1, 4, 12, 13, 2])
    tasks = [TARGETS.task(int(index)) for index in kept]
    drawn = balanced(kept, TARGETS)
    counts = Counter(TARGETS.task(int(index)) for index in drawn)
    assert set(drawn) == set(kept)
    assert counts == dict.fromkeys(tasks, Counter(tasks).most_common(1)[0][1])
