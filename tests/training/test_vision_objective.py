from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from training.objectives.vision import COVER_SIDE, THUMBNAIL_SIDE, VisionObjective, VisionSettings, frames_of
from training.recipes import RECIPES
from training.train import train
from training.world.scene import COLOURS, PLAIN, RICH, sample

SETTINGS = VisionSettings("nano", scenes=4, frames=2, held_out=8)
RECIPE = replace(RECIPES["vision_nano"], steps=3, log_every=1, validate_every=3, checkpoint_every=3)


def test_frames_come_with_what_they_show() -> None:
    batch = frames_of("train", 5, 2, 3, 48, np.random.default_rng(0))
    assert batch["frames"].shape == (6, 3, 48, 48)
    assert batch["cover"].shape == (6, COVER_SIDE**2)
    scenes = [sample(5, 0, "train", PLAIN)] * 3 + [sample(5, 1, "train", RICH)] * 3
    assert batch["colour"].tolist() == [COLOURS.index(scene.colour) for scene in scenes]
    # Each value of the thumbnail is the mean of 4 x 4 pixels.
    small = batch["frames"].reshape(6, 3, THUMBNAIL_SIDE, 4, THUMBNAIL_SIDE, 4).mean((3, 5)).flatten(1)
    torch.testing.assert_close(batch["thumbnail"], small)


def test_blur_and_noise_are_seen_but_not_read_out() -> None:
    settings = replace(SETTINGS, blur_share=1.0, noise=0.0)
    blurred = VisionObjective(settings).batch(torch.Generator().manual_seed(1))
    plain = VisionObjective(replace(settings, blur_share=0.0)).batch(torch.Generator().manual_seed(1))
    assert torch.equal(blurred["thumbnail"], plain["thumbnail"])
    assert blurred["frames"].shape == plain["frames"].shape
    assert not torch.allclose(blurred["frames"], plain["frames"], atol=0.05)
    pooled = torch.nn.functional.avg_pool2d
    assert (pooled(blurred["frames"], 4) - pooled(plain["frames"], 4)).abs().mean() < 0.05


def test_training_reads_more_from_a_frame(tmp_path: Path) -> None:
    run = train(replace(RECIPE, steps=40, validate_every=40), tmp_path, resume=False)
    lines = (tmp_path / RECIPE.name / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 41
    objective = VisionObjective(SETTINGS)
    batch = objective.batch(torch.Generator().manual_seed(9))
    before = objective.loss(batch, torch.Generator())["loss"].item()
    objective.model = run.model
    assert objective.loss(batch, torch.Generator())["loss"].item() < 0.95 * before
