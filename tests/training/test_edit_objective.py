from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from kino import conditions
from kino.models.dit import DiT
from kino.presets import EDITOR_TASKS, PRESETS
from kino.prompts import with_frame_rate
from training.edit_sampling import EditSampling, sample_edits
from training.edit_streams import ClipExamples, PairExamples, Stream
from training.latents import LatentSet
from training.objectives.dit import AlignedDit
from training.objectives.edit import EditObjective, EditSettings, start_from
from training.recipes import RECIPES
from training.train import Run, train
from training.world.captions import canonical, moving

ROW = RECIPES["editor_nano"]
SETTINGS = cast(EditSettings, ROW.settings)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def objective(runs: Path) -> EditObjective:
    return SETTINGS.build(runs)


def test_a_new_editor_has_the_loss_of_predicting_nothing(objective: EditObjective) -> None:
    generator = torch.Generator().manual_seed(0)
    batch = objective.batch(generator)
    terms = objective.loss(batch, generator)
    # The velocity of unit noise and data x_1 has mean square 1 + mean(x_1^2), up to sampling.
    assert terms["velocity"].item() == pytest.approx(1 + (batch["x_1"] ** 2).mean().item(), rel=0.25)


def test_batches_are_a_function_of_the_generator(objective: EditObjective) -> None:
    first, second = (objective.batch(torch.Generator().manual_seed(5)) for _ in range(2))
    assert first["prompts"] == second["prompts"]
    assert torch.equal(first["condition"], second["condition"])
    assert torch.equal(first["task"], second["task"])


def test_conditions_go_with_their_tasks(objective: EditObjective) -> None:
    seen = set()
    for seed in range(40):
        batch = objective.batch(torch.Generator().manual_seed(seed))
        clips = batch["x_1"].shape[2] > 1
        for condition, number, told in zip(batch["condition"], batch["task"], batch["prompts"], strict=True):
            task = EDITOR_TASKS[number]
            seen.add((task, clips))
            assert told == "" or told.startswith("FPS-16 ") == clips
            if task == "text":
                assert not condition.any()
            elif task == "image" and condition.any():
                assert condition[16, 0].all()
                assert not condition[16, 1:].any()
                assert torch.equal(condition[:16, 1], condition[:16, 0])
            else:
                assert not condition[16].any()
    assert {("text", True), ("image", True), ("mark", True), ("recolour", True), ("recolour", False)} <= seen
    assert ("text", False) not in seen


def test_single_frames_lie_at_any_position_and_clips_at_the_first(objective: EditObjective) -> None:
    firsts: dict[int, set[int]] = {1: set(), 2: set()}
    for seed in range(30):
        batch = objective.batch(torch.Generator().manual_seed(seed))
        firsts[batch["x_1"].shape[2]].add(batch["first"])
    assert firsts == {1: {0, 1}, 2: {0}}


def test_dropped_items_lose_their_sentence_and_some_their_source(runs: Path) -> None:
    streams = (Stream("edit", SETTINGS.held_out),)
    settings = replace(SETTINGS, clips=streams, stills=(), clip_batch=200, text_drop=0.3, both_drop=0.2)
    batch = settings.build(runs).batch(torch.Generator().manual_seed(0))
    untold = torch.tensor([not told for told in batch["prompts"]])
    without = torch.tensor([not condition.any() for condition in batch["condition"]])
    assert untold.float().mean().item() == pytest.approx(0.5, abs=0.1)
    assert without.float().mean().item() == pytest.approx(0.2, abs=0.09)
    assert not (without & ~untold).any()


def test_the_start_is_the_generator_wherever_the_tasks_are_not_heard() -> None:
    torch.manual_seed(0)
    generator = AlignedDit(PRESETS["nano"].dit)
    torch.nn.init.normal_(generator.dit.patch_out.weight)
    torch.nn.init.normal_(generator.dit.modulation.weight, std=0.1)
    editor = DiT(PRESETS["nano"].editor)
    start_from(editor, generator.state_dict())
    texts = {
        name: (torch.randn(2, 3, width), torch.zeros(2, 3, dtype=torch.bool))
        for name, width in PRESETS["nano"].dit.text_widths
    }
    x_t, t = torch.randn(2, 16, 2, 4, 4), torch.tensor([0.3, 0.8])
    with torch.inference_mode():
        made = editor(torch.cat([x_t, torch.randn(2, 17, 2, 4, 4)], dim=1), t, texts, torch.tensor([0, 3]))
        assert torch.allclose(made, generator.dit(x_t, t, texts), atol=1e-5)
    again = DiT(PRESETS["nano"].editor)
    start_from(again, editor.state_dict())
    assert torch.equal(again.patch_in.weight, editor.patch_in.weight)


def test_back_sources_are_what_the_start_makes_of_the_targets(objective: EditObjective) -> None:
    back = objective.clips[-1]
    assert isinstance(back, PairExamples)
    assert back.sources.shape == back.targets.shape
    # An untrained network predicts zero, so that what it makes is the noise it starts from.
    assert float(np.std(back.sources.astype(np.float32))) == pytest.approx(1.0, abs=0.05)
    undone = back.items.edit(1).reversed()
    assert undone == back.items.edit(0)


def test_without_any_done_edit_there_is_nothing_to_learn_from(runs: Path) -> None:
    with pytest.raises(ValueError, match="edits done by the start are 0 of 8"):
        replace(SETTINGS, judged=True).build(runs)


def test_sampling_follows_seed_source_and_both_guidances(objective: EditObjective) -> None:
    torch.manual_seed(1)
    editor = DiT(PRESETS["nano"].editor).eval()
    torch.nn.init.normal_(editor.patch_out.weight, std=0.1)
    sources = [conditions.from_video(torch.full((1, 16, 2, 4, 4), value)) for value in (0.0, 2.0)]
    task = torch.tensor([EDITOR_TASKS.index("recolour")])

    def made(source: int, how: EditSampling, seed: int = 0) -> torch.Tensor:
        with torch.inference_mode():
            return sample_edits(editor, objective.prompts, ["make the ball blue"], task, sources[source], how, seed)

    plain = made(1, EditSampling(2, 4, 3.0))
    assert torch.equal(plain, made(1, EditSampling(2, 4, 3.0)))
    assert not torch.allclose(plain, made(1, EditSampling(2, 4, 3.0), seed=1), atol=1e-3)
    assert not torch.allclose(plain, made(0, EditSampling(2, 4, 3.0)), atol=1e-3)
    assert not torch.allclose(plain, made(1, EditSampling(2, 4, 3.0, 2.0)), atol=1e-4)
    assert torch.allclose(plain, made(1, EditSampling(2, 4, 3.0, 1.0 + 1e-6)), atol=1e-4)


def test_training_resumes_and_measures_each_task(runs: Path) -> None:
    recipe = replace(ROW, steps=4, log_every=1, validate_every=4, checkpoint_every=2)
    run: Run = train(recipe, runs, resume=False)
    figures = run.objective.validate(run.average)
    assert set(figures) == {"held_out_velocity", "held_out_touched"} | {
        f"held_out_{kind}" for kind in ("recolour", "replace", "remove", "add", "place", "style")
    }
    assert (runs / "editor_nano" / "sample_000004.png").stat().st_size > 1000
    assert isinstance(run.average, DiT)
    assert run.average.patch_out.weight.abs().max() > 0


def test_sentences_of_moving_clips_leave_to_the_picture_what_it_shows() -> None:
    items = LatentSet("train", 4, size=32, frames=16)
    latents, coverage = np.zeros((4, 16, 2, 4, 4), np.float16), np.zeros((4, 2, 4, 4), np.uint8)
    moving_, all_ = (
        ClipExamples(items, latents, coverage, latents[:, :, :1], tells_all=told) for told in (False, True)
    )
    for index in range(4):
        scene = items.scene(index)
        expected = moving(scene, np.random.default_rng(index))
        assert moving_.sentence(index, None) == ("image", with_frame_rate(expected, items.fps))
        assert all_.sentence(index, None) == ("image", with_frame_rate(canonical(scene), items.fps))
