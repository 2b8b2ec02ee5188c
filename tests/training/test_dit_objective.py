from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from kino.presets import PRESETS
from kino.registry import Registry
from training.latents import LatentSet
from training.objectives.dit import (
    AlignedDit,
    DitObjective,
    DitSettings,
    chosen_clips,
    patches,
    sample_latents,
)
from training.published import PromptEncoder
from training.recipes import RECIPES
from training.train import Run, compile_blocks, train
from training.world.scene import COLOURS, OBJECTS

RECIPE = replace(RECIPES["dit_nano"], steps=4, log_every=1, validate_every=4, checkpoint_every=2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def run(runs: Path) -> Run:
    return train(RECIPE, runs, resume=False)


def test_an_untrained_generator_has_the_loss_of_predicting_nothing(runs: Path) -> None:
    objective = RECIPE.settings.build(runs)
    assert isinstance(objective, DitObjective)
    terms = objective.loss(objective.batch(torch.Generator().manual_seed(0)), torch.Generator().manual_seed(1))
    batch = objective.batch(torch.Generator().manual_seed(0))
    # The velocity of unit noise and data x_1 has mean square 1 + mean(x_1^2), up to weights and sampling.
    assert terms["velocity"].item() == pytest.approx(1 + (batch["x_1"] ** 2).mean().item(), rel=0.25)


def test_batches_are_a_function_of_the_generator(runs: Path) -> None:
    objective = RECIPE.settings.build(runs)
    first, second = (objective.batch(torch.Generator().manual_seed(5)) for _ in range(2))
    assert first["prompts"] == second["prompts"]
    assert torch.equal(first["x_1"], second["x_1"])


def test_captions_carry_the_frame_rate_only_for_clips(runs: Path) -> None:
    objective = RECIPE.settings.build(runs)
    for seed in range(6):
        batch = objective.batch(torch.Generator().manual_seed(seed))
        told = [prompt for prompt in batch["prompts"] if prompt]
        is_clip = batch["x_1"].shape[2] > 1
        assert all(prompt.startswith("FPS-16 ") == is_clip for prompt in told)


def test_batches_of_other_aspects_and_lengths_come_as_often_as_asked(runs: Path) -> None:
    others = LatentSet("train", 8, size=(32, 48), frames=8), LatentSet("train", 8, size=32, frames=24)
    assert isinstance(RECIPE.settings, DitSettings)
    objective = replace(RECIPE.settings, still_share=0.2, others=others, others_share=0.5).build(runs)
    shapes = Counter(tuple(objective.batch(torch.Generator().manual_seed(seed))["x_1"].shape) for seed in range(200))
    assert set(shapes) == {(8, 16, 1, 4, 4), (4, 16, 2, 4, 4), (4, 16, 1, 4, 6), (4, 16, 3, 4, 4)}
    assert shapes[8, 16, 1, 4, 4] == pytest.approx(40, abs=16)
    assert shapes[4, 16, 2, 4, 4] == pytest.approx(80, abs=20)
    assert shapes[4, 16, 1, 4, 6] == pytest.approx(40, abs=16)


def test_training_moves_the_averaged_weights(run: Run) -> None:
    assert isinstance(run.average, AlignedDit)
    assert run.average.dit.patch_out.weight.abs().max() > 0


def test_patches_hold_the_four_positions_of_each_token() -> None:
    coverage = torch.arange(16.0).view(1, 1, 4, 4)
    assert patches(coverage)[0, 0].tolist() == [0.0, 1.0, 4.0, 5.0]
    assert patches(coverage)[0, 3].tolist() == [10.0, 11.0, 14.0, 15.0]


def test_the_read_out_loses_nothing_only_on_the_facts_of_the_scene(runs: Path) -> None:
    objective = RECIPE.settings.build(runs)
    assert isinstance(objective, DitObjective)
    batch = objective.batch(torch.Generator().manual_seed(0))
    cover = (patches(batch["coverage"]) > 0.5).float()
    facts = {"object": len(OBJECTS), "colour": len(COLOURS)}
    shape = (*cover.shape[:2], -1)
    sure = [40 * F.one_hot(batch[name], classes)[:, None].expand(shape) for name, classes in facts.items()]
    logits = torch.cat([*sure, 80 * cover - 40], dim=-1)
    assert objective._align(logits, batch, cover).item() == pytest.approx(0.0, abs=1e-6)
    for name, classes in facts.items():
        wrong = batch | {name: (batch[name] + 1) % classes}
        assert objective._align(logits, wrong, cover).item() == pytest.approx(40.0, rel=0.01), name


def test_a_pruned_start_keeps_every_other_block(run: Run, runs: Path) -> None:
    assert isinstance(RECIPE.settings, DitSettings)
    settings = replace(RECIPE.settings, layers=1, align_layer=0, start=RECIPE.name, pruned=0)
    shallow = settings.build(runs).model.state_dict()
    deep = run.average.state_dict()
    assert torch.equal(
        shallow["dit.blocks.0.self_attention.qkv.weight"], deep["dit.blocks.1.self_attention.qkv.weight"]
    )
    assert torch.equal(shallow["dit.patch_out.weight"], deep["dit.patch_out.weight"])
    assert not any(name.startswith("dit.blocks.1") for name in shallow)


def test_a_chosen_set_holds_each_motion_under_each_camera_alike() -> None:
    items = LatentSet("train", 2000, size=32)
    chosen = chosen_clips(items, 10)
    pairs = Counter((items.scene(index).motion, items.scene(index).camera) for index in chosen)
    assert set(pairs.values()) == {10}
    assert len(pairs) == 9 * 5 - 2 * 2  # what grows or shrinks is never zoomed
    assert chosen_clips(items, None) == range(2000)


def test_compiling_touches_the_repeated_blocks_alone() -> None:
    model = AlignedDit(PRESETS["nano"].dit)
    compile_blocks(model)
    assert [part._compiled_call_impl is not None for part in model.dit.blocks] == [True, True]
    assert model.dit.patch_in._compiled_call_impl is None
    assert model.state_dict().keys() == AlignedDit(PRESETS["nano"].dit).state_dict().keys()


def test_sampled_latents_follow_the_seed(run: Run, runs: Path) -> None:
    assert isinstance(run.average, AlignedDit)
    prompts = PromptEncoder("nano", Registry(runs / "models"))
    shape = (PRESETS["nano"].tae.latent_channels, 2, 4, 4)
    with torch.inference_mode():
        made = [sample_latents(run.average.dit, prompts, ["a red ball"], shape, 2, 4, 2.0, seed) for seed in (1, 1, 2)]
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_windows_no_shorter_than_a_clip_change_nothing_of_it_and_shorter_ones_reach_its_end(
    run: Run, runs: Path
) -> None:
    assert isinstance(run.average, AlignedDit)
    dit, prompts = run.average.dit, PromptEncoder("nano", Registry(runs / "models"))
    shape = (PRESETS["nano"].tae.latent_channels, 3, 4, 4)
    with torch.inference_mode():
        made = [sample_latents(dit, prompts, ["a red ball"], shape, 1, 1, 2.0, 1, window) for window in (None, 3, 2)]
    noise = torch.randn((1, *shape), generator=torch.Generator().manual_seed(1))
    assert torch.equal(made[0], made[1])
    assert torch.equal((made[2] != made[0]).flatten(3).any(dim=(0, 1, 3)), torch.tensor([True, True, True]))
    assert torch.isfinite(made[2] - noise).all()
