from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kino.presets import PRESETS
from training.objectives.identity import (
    IdentitySettings,
    frame_of,
    grid_of,
    portrait_of,
    supervised_contrast,
)
from training.recipes import RECIPES
from training.train import train
from training.world.people import Face, held_out_identities, train_identities

CONFIG = PRESETS["nano"].identity
assert CONFIG is not None
SETTINGS = IdentitySettings("nano", portraits=6, frames=3, reconstructed=3, clips=2, length=8, held_out=4)
RECIPE = replace(RECIPES["identity_nano"], settings=SETTINGS, steps=3, log_every=1, validate_every=3)


def test_the_grid_says_where_the_middle_of_a_face_lies() -> None:
    assert CONFIG is not None
    grid = grid_of([Face(13.0, 6.0, 16.0), Face(-3.0, 5.0, 9.0)], CONFIG)
    assert grid.shape == (4, 4, 4)
    assert grid[0].nonzero().tolist() == [[0, 1]]  # the second one is outside
    np.testing.assert_allclose(grid[1:, 0, 1].numpy(), [13 / 8 % 1 - 0.5, 6 / 8 % 1 - 0.5, np.log(2.0)], rtol=1e-5)


def test_the_contrast_is_small_where_only_the_same_people_are_alike() -> None:
    rows = torch.eye(3)[[0, 0, 1, 1]]
    people = torch.tensor([7, 7, 9, 9])
    chances = torch.log_softmax(torch.tensor([10.0, 0.0, 0.0]), 0)[0]  # cosines over the temperature
    assert supervised_contrast(rows, people).item() == pytest.approx(-chances.item(), rel=1e-4)
    assert supervised_contrast(rows, torch.tensor([7, 9, 7, 9])).item() > 5
    assert supervised_contrast(rows, torch.tensor([1, 2, 3, 4])).item() == 0.0


def test_a_batch_shows_people_of_training_alone(tmp_path: Path) -> None:
    objective = SETTINGS.build(tmp_path)
    batch = objective.batch(torch.Generator().manual_seed(1))
    assert batch["pictures"].shape == (12, 3, 32, 32)
    assert batch["grid"].shape == (12, 4, 4, 4)
    assert len(batch["cuts"]) == len(batch["looks"])
    assert batch["cuts"].shape[1:] == (3, 16, 16)
    rng = np.random.default_rng(0)
    for _ in range(20):
        assert set(portrait_of(train_identities(), rng, 32).people) <= set(train_identities())
        assert not set(frame_of(rng, 32).people) & set(held_out_identities())
    again = objective.batch(torch.Generator().manual_seed(1))
    assert torch.equal(batch["cuts"], again["cuts"])


def test_training_lowers_the_loss_and_measures_held_out_people(tmp_path: Path) -> None:
    run = train(replace(RECIPE, steps=12, validate_every=12), tmp_path, resume=False)
    objective = SETTINGS.build(tmp_path)
    batch = objective.batch(torch.Generator().manual_seed(9))
    before = objective.loss(batch, torch.Generator())["loss"].item()
    objective.model = run.model
    assert objective.loss(batch, torch.Generator())["loss"].item() < 0.95 * before
    figures = objective.validate(run.average)
    assert set(figures) == {
        *("held_out_portrait_top1", "held_out_frame_top1", "held_out_counted", "held_out_found"),
    }
    assert (tmp_path / RECIPE.name / "sample_000012.png").exists()
