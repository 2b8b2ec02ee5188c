from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kino.models.upsampler import Upsampler
from kino.presets import PRESETS
from kino.registry import Registry
from kino.weights import open_network
from training import publish
from training.data import to_signed
from training.hd_crops import HdCrops
from training.objectives.upsampler import (
    UpsamplerObjective,
    UpsamplerSettings,
    set_latent_scale,
    shrunk_and_enlarged,
    upsampled,
)
from training.recipes import RECIPES
from training.train import train
from training.world.render import render

RECIPE = replace(RECIPES["upsampler_nano"], steps=3, log_every=1, validate_every=3, checkpoint_every=3)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def objective(runs: Path) -> UpsamplerObjective:
    assert isinstance(RECIPE.settings, UpsamplerSettings)
    return RECIPE.settings.build(runs)


def crop_set() -> HdCrops:
    assert isinstance(RECIPE.settings, UpsamplerSettings)
    return RECIPE.settings.crops


def test_crops_are_cut_from_the_full_frames(objective: UpsamplerObjective) -> None:
    crops = crop_set()
    start = crops.first_frame(2)
    whole = render(crops.scene(2), crops.frames, 128, 128, 16, start / 16)
    assert np.array_equal(objective.crops.sharp[2], crops.cut(whole, 2))
    assert objective.crops.sharp.shape == (4, 2, 3, 32, 32, 3)


def test_both_sides_of_a_pair_show_the_same(objective: UpsamplerObjective) -> None:
    # A TAE of random weights keeps nothing; the enlarged frames of the scene itself are what it would be given.
    crops = crop_set()
    clip = render(crops.scene(1), crops.clip_frames, 32, 32, 16)[crops.first_frame(1) :][: crops.frames]
    low = crops.cut(np.repeat(np.repeat(clip, 4, axis=1), 4, axis=2), 1)
    near = np.abs(objective.crops.sharp[1].astype(float) - low).mean()
    far = np.abs(objective.crops.sharp[0].astype(float) - low).mean()
    assert near < 0.5 * far


def test_half_of_a_batch_went_through_the_first_stage(objective: UpsamplerObjective) -> None:
    known = {crop.tobytes() for crop in objective.crops.distorted.reshape(8, 3, 32, 32, 3)}
    known |= {crop.tobytes() for crop in objective.crops.distorted[..., ::-1, :].reshape(8, 3, 32, 32, 3)}
    seen = []
    for seed in range(25):
        low = objective.batch(torch.Generator().manual_seed(seed))["low"]
        pixels = ((low + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 4, 1).numpy()
        seen += [np.ascontiguousarray(crop).tobytes() in known for crop in pixels]
    assert 0.35 < np.mean(seen) < 0.65


def test_what_was_made_small_is_blurred_the_more_the_smaller() -> None:
    crop, rng = render(crop_set().scene(0), 3, 64, 64, 16), np.random.default_rng(0)
    errors = [
        np.square(shrunk_and_enlarged(crop, factor, False, rng).astype(float) - crop).mean() for factor in (1, 2, 8)
    ]
    assert errors[0] < 1 < errors[1] < errors[2]
    damaged = shrunk_and_enlarged(crop, 2, True, rng).astype(float)
    assert np.square(damaged - crop).mean() > errors[1]


def test_latents_are_half_way_to_unit_deviation() -> None:
    assert PRESETS["nano"].upsampler is not None
    network, crops = Upsampler(PRESETS["nano"].upsampler), to_signed(render(crop_set().scene(0), 3, 64, 64, 16)[None])
    raw = network.encode(crops)
    set_latent_scale(network, crops)
    scaled, first = network.encode(crops), raw[:, 0].std().item()
    assert scaled[:, 0].std().item() == pytest.approx(first**0.5, rel=1e-3)
    assert scaled.mean(dim=(0, 2, 3, 4)).abs().max() < 1e-4


def test_an_untrained_network_gives_back_the_enlarged_frames(objective: UpsamplerObjective) -> None:
    assert isinstance(objective.model, Upsampler)
    low = to_signed(objective.crops.distorted[0])
    with torch.inference_mode():
        torch.testing.assert_close(upsampled(objective.model, low, steps=4), low, atol=1e-4, rtol=0)


def test_training_brings_crops_nearer_to_the_sharp_ones_and_is_published(runs: Path, tmp_path: Path) -> None:
    recipe = replace(RECIPE, steps=30, validate_every=30, checkpoint_every=30, vector_rate=3e-3)
    run = train(recipe, runs, resume=False)
    with torch.inference_mode():
        figures = run.objective.validate(run.average)
    assert figures["film_psnr"] > figures["film_enlarged_psnr"] + 0.5
    assert (runs / recipe.name / "sample_000030.png").stat().st_size > 1000
    manifest = publish.publish(recipe, runs, Registry(tmp_path), "first")
    assert manifest.metrics["film_psnr"] == pytest.approx(figures["film_psnr"], abs=0.05)


def test_the_random_preset_opens(tmp_path: Path) -> None:
    manifest, _, network = open_network("upsampler", "nano", "nano", Registry(tmp_path), build)
    assert manifest.config["start_noise"] == 0.03
    assert network.patch_out.weight.abs().max() > 0


def build(preset: object) -> Upsampler:
    config = PRESETS["nano"].upsampler
    assert config is not None
    return Upsampler(config)
