import subprocess
from pathlib import Path

import pytest

from kino.manifest import Manifest
from kino.registry import Registry
from training import checkpoint, plan
from training.encode import latent_sets
from training.plan import PLANS, Stage
from training.published import part
from training.recipes import RECIPES, stages

MINI = {stage.name: stage for stage in plan.plan("mini")}


def test_every_stage_comes_after_those_it_stands_on() -> None:
    for name in PLANS:
        before: set[str] = set()
        for stage in plan.plan(name):
            assert before.issuperset(stage.after), stage
            before.add(stage.name)
    towers = ("ul2_mini", "byt5_mini", "metaclip_mini")
    assert MINI["dit_mini_images"].after == ("tae_mini_decoder", *towers, "dit_latents")
    assert MINI["editor_mini_stills"].after[-2:] == ("editor_latents", "dit_mini_tuned")
    assert MINI["audio_mini"].after == ("codec_mini", "vision_mini", "t5_mini")
    assert MINI["dit_latents"] == Stage("dit_latents", "encode", "dit_mini_aspects", after=("tae_mini_decoder",))


def test_the_generator_is_trained_in_the_papers_order_and_published_at_the_end() -> None:
    found = [stage for stage in MINI.values() if stage.name.startswith("dit_")]
    assert [stage.name.removeprefix("dit_") for stage in found] == [
        *("latents", "mini_images", "mini_joint", "mini_pruned", "mini_tuned", "mini_aspects")
    ]
    assert [stage.published for stage in found] == [False] * 5 + [True]


def test_every_recipe_of_a_shipped_network_is_in_the_plan_that_make_runs() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    assert "\nweights:" in makefile
    assert '-m training.plan run --plan mini --version "$(VERSION)" --alias mini' in makefile
    assert {stage.recipe for stage in MINI.values()} == {name for name in RECIPES if "_mini" in name}
    with pytest.raises(ValueError, match="plan is 'maxi', must be one of nano, mini"):
        plan.plan("maxi")


class Python:
    """Stands for the interpreter: keeps what it is asked to run, and leaves what that would."""

    def __init__(self, runs: Path, models: Path) -> None:
        self.runs, self.registry, self.ran = runs, Registry(models), list[str]()
        self.failing = ""

    def run(self, command: list[str], check: bool) -> "subprocess.CompletedProcess[str]":
        module, recipe = command[2], RECIPES[command[command.index("--recipe") + 1]]
        self.ran.append(f"{module.rpartition('.')[2]} {recipe.name}")
        if self.failing == self.ran[-1]:
            return subprocess.CompletedProcess(command, 3)
        if module == "training.train":
            checkpoint.save(self.runs / recipe.name, {"step": recipe.steps})
        if module == "training.publish":
            weights = self.runs / "weights"
            weights.write_text(recipe.name)
            manifest = Manifest(
                recipe.component, command[command.index("--version") + 1], "nano", {}, recipe=recipe.name
            )
            self.registry.publish(manifest, {"model.safetensors": weights})
        return subprocess.CompletedProcess(command, 0)


def test_a_plan_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runs, models = tmp_path / "runs", str(tmp_path / "models")
    python = Python(runs, tmp_path / "models")
    monkeypatch.setattr(subprocess, "run", python.run)
    monkeypatch.setenv("KINO_MODELS", "")
    monkeypatch.setenv("KINO_PARTS", "")
    python.failing = "train dit_nano_joint"
    assert plan.run(plan.plan("nano"), "v1", "trial", runs, models) == 3
    first = ["train tae_nano", "publish tae_nano", "encode dit_nano_tuned", "train dit_nano_images"]
    assert python.ran == [*first, "train dit_nano_joint"]
    assert "dit_nano_joint ended with 3; run again to go on from there" in capsys.readouterr().err
    python.ran, python.failing = [], ""
    assert plan.run(plan.plan("nano"), "v1", "trial", runs, models) == 0
    # encoding left nothing here, so it is asked for again
    assert python.ran == [
        "encode dit_nano_tuned",
        "train dit_nano_joint",
        "train dit_nano_tuned",
        "publish dit_nano_tuned",
    ]
    assert "tae_nano: done\n" in capsys.readouterr().out


def test_a_version_of_another_recipe_is_not_taken_for_this_one(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "models")
    (tmp_path / "weights").write_text("x")
    registry.publish(Manifest("dit", "v1", "nano", {}, recipe="dit_nano"), {"model.safetensors": tmp_path / "weights"})
    assert not plan.published("tae_nano", "v1", registry)
    with pytest.raises(ValueError, match="dit/v1 is of the recipe 'dit_nano', must be of 'dit_nano_tuned': take a new"):
        plan.published("dit_nano_tuned", "v1", registry)


def test_latents_are_there_once_every_set_is_whole(tmp_path: Path) -> None:
    registry, folder = Registry(tmp_path / "models"), tmp_path / "latents"
    folder.mkdir()
    space = part("tae", "nano", registry).latent_space
    sets = [items for row in stages(RECIPES["dit_nano_tuned"]) for items in latent_sets(row.settings)]
    marks = {folder / f"{items.key(space)}.done" for items in sets}
    assert len(marks) == 4
    for mark in marks:
        assert not plan.encoded("dit_nano_tuned", tmp_path, registry)
        mark.write_text("4")
        assert not plan.encoded("dit_nano_tuned", tmp_path, registry)
        mark.write_text("8")
    assert plan.encoded("dit_nano_tuned", tmp_path, registry)
