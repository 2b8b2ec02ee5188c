from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kino.models.codec import Codec
from kino.presets import PRESETS
from training.data import SoundSet, open_pool
from training.objectives.codec import CodecObjective, set_codec_statistics, spectral_distance, to_float
from training.recipes import RECIPES
from training.train import train

RECIPE = replace(RECIPES["codec_nano"], steps=3, log_every=1, validate_every=3, checkpoint_every=3)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


def test_a_set_of_sounds_is_computed_once_and_read_again(tmp_path: Path) -> None:
    items = SoundSet("train", 2, seconds=1)
    first = open_pool(items, tmp_path, processes=1)
    assert first.shape == (2, 48_000)
    assert first.dtype == np.int16
    assert np.array_equal(first[1], items.item(1))
    assert np.array_equal(open_pool(items, tmp_path), first)
    assert items.key != replace(items, seed=1).key


def test_spectra_are_equal_only_for_equal_sounds() -> None:
    tone = 0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(9600) / 48_000)[None]
    assert spectral_distance(tone, tone).item() == 0
    # Twice the magnitude: a relative error of 1, and log 2 wherever both are above the floor.
    assert 1.0 < spectral_distance(2 * tone, tone).item() < 1.0 + np.log(2)


def test_training_brings_the_spectra_nearer(runs: Path) -> None:
    objective = RECIPE.settings.build(runs)
    assert isinstance(objective, CodecObjective)
    with torch.inference_mode():
        before = objective.validate(objective.model)["held_out_spectral"]
    run = train(replace(RECIPE, steps=30, validate_every=30), runs, resume=False)
    with torch.inference_mode():
        after = objective.validate(run.model.eval())
    assert after["held_out_spectral"] < 0.9 * before
    assert (runs / RECIPE.name / "sample_000030.png").stat().st_size > 1000


def test_latents_leave_with_zero_mean_and_unit_deviation() -> None:
    torch.manual_seed(0)
    codec, sounds = Codec(PRESETS["nano"].codec).eval(), torch.rand(3, 48_000) - 0.5
    set_codec_statistics(codec, sounds)
    latents = codec.encode(sounds)
    torch.testing.assert_close(latents.mean(dim=(0, 2)), torch.zeros(8), atol=1e-4, rtol=0)
    torch.testing.assert_close(latents.std(dim=(0, 2)), torch.ones(8), atol=1e-3, rtol=0)


def test_16_bit_samples_fill_the_range() -> None:
    assert to_float(np.array([-32767, 0, 32767], np.int16)).tolist() == [-1.0, 0.0, 1.0]
