from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from kino import weights
from kino.manifest import Manifest, Parent
from kino.registry import WEIGHTS_FILE, Registry
from training import checkpoint, lineage
from training.lineage import data_digest, parent_of, published_state
from training.objectives.dit import DitSettings
from training.people import PeopleSet
from training.published import averaged, fill
from training.recipes import RECIPES

TUNED = RECIPES["dit_mini_tuned"]


def changed(**fields: object) -> str:
    assert isinstance(TUNED.settings, DitSettings)
    return data_digest(replace(TUNED, settings=replace(TUNED.settings, **fields)))  # type: ignore[arg-type]


def test_the_data_of_a_recipe_has_one_digest_everywhere() -> None:
    assert data_digest(TUNED) == "297d4ad389b9f8c2139b4eeef0945eea57b5e816c66933cd7adef1d041ea285b"
    digests = {name: data_digest(recipe) for name, recipe in RECIPES.items()}
    assert digests.pop("dit_nano_joint") == digests["dit_nano"]  # the same clips and captions, from other weights
    assert len(set(digests.values())) == len(digests)


def test_how_a_network_learns_is_no_part_of_its_data() -> None:
    same = [
        data_digest(replace(TUNED, name="other", steps=1, matrix_rate=1.0, storage="int8")),
        changed(start=None, align_layer=1, align_weight=0.0, object_weight=1.0, layers=3, pruned=1),
    ]
    assert set(same) == {data_digest(TUNED)}


def test_what_is_drawn_and_how_it_is_mixed_is_the_data() -> None:
    assert isinstance(TUNED.settings, DitSettings)
    stills = TUNED.settings.stills
    others = [
        data_digest(replace(TUNED, seed=1)),
        changed(stills=replace(stills, seed=1)),
        changed(stills=replace(stills, split="held_out")),
        changed(stills=replace(stills, count=stills.count + 1)),
        changed(stills=PeopleSet(stills.split, stills.count, frames=1)),
        changed(still_share=0.2),
        changed(caption_drop=0.2),
    ]
    assert len({data_digest(TUNED), *others}) == len(others) + 1


def test_another_word_of_the_world_is_other_data(monkeypatch: pytest.MonkeyPatch) -> None:
    before = data_digest(TUNED)
    monkeypatch.setitem(lineage._WORLD, "colours", (*lineage._WORLD["colours"], "gold"))
    assert data_digest(TUNED) != before


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """The run that the tuned generator starts from, of two tensors."""
    average = {"dit.patch_out.weight": torch.eye(2), "readout.weight": torch.ones(2, 2)}
    checkpoint.save(tmp_path / "dit_mini_pruned", {"average": average})
    return tmp_path


def test_what_only_training_needs_is_not_published(runs: Path) -> None:
    assert list(published_state(RECIPES["dit_mini_pruned"], runs)) == ["patch_out.weight"]


def test_a_stage_goes_on_from_what_is_published_where_the_run_is_not_there(tmp_path: Path) -> None:
    registry, elsewhere = Registry(tmp_path / "models"), tmp_path / "elsewhere"
    with pytest.raises(FileNotFoundError, match="editor_mini_edits has no checkpoint in "):
        averaged("editor_mini_edits", elsewhere, registry)
    for number in (1, 2):
        weights.save_state(tmp_path / WEIGHTS_FILE, {"patch_out.weight": number * torch.eye(2)}, "bf16")
        row = Manifest("editor", f"mini-{number}", "mini", {}, recipe="editor_mini_edits", created=f"2026-01-0{number}")
        newest = registry.publish(row, {WEIGHTS_FILE: tmp_path / WEIGHTS_FILE})
    found = averaged("editor_mini_edits", elsewhere, registry)
    assert found.keys() == {"patch_out.weight"}
    assert torch.equal(found["patch_out.weight"], 2 * torch.eye(2))
    assert parent_of(RECIPES["editor_mini_back"], elsewhere, registry) == Parent(
        "editor", "mini-2", "editor_mini_edits", newest.digests[WEIGHTS_FILE]
    )


def test_a_stage_that_goes_on_from_a_version_reads_out_anew(runs: Path, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "models")
    weights.save_state(tmp_path / WEIGHTS_FILE, {"patch_out.weight": 3 * torch.eye(2)}, "bf16")
    row = Manifest("dit", "pruned-1", "mini", {}, recipe="dit_mini_pruned")
    registry.publish(row, {WEIGHTS_FILE: tmp_path / WEIGHTS_FILE})
    found = averaged("dit_mini_pruned", tmp_path / "elsewhere", registry)
    model = nn.ModuleDict(
        {"dit": nn.ModuleDict({"patch_out": nn.Linear(2, 2, bias=False)}), "readout": nn.Linear(2, 2)}
    )
    drawn = model["readout"].state_dict()["weight"].clone()
    fill(model, found)
    assert torch.equal(model.state_dict()["dit.patch_out.weight"], 3 * torch.eye(2))
    assert torch.equal(model.state_dict()["readout.weight"], drawn)
    fill(model, averaged("dit_mini_pruned", runs, registry) | {"readout.bias": torch.zeros(2)})
    assert torch.equal(model.state_dict()["readout.weight"], torch.ones(2, 2))
    with pytest.raises(RuntimeError, match="Missing key"):
        fill(model, {"readout.weight": drawn})


def test_a_parent_is_named_by_its_weights_and_by_the_version_that_has_them(runs: Path, tmp_path: Path) -> None:
    registry = Registry(tmp_path / "models")
    found = parent_of(TUNED, runs, registry)
    assert (found.component, found.version, found.recipe) == ("dit", "", "dit_mini_pruned")
    weights.save_state(tmp_path / WEIGHTS_FILE, {"patch_out.weight": torch.eye(2)}, "bf16")
    for version, path in (("other", Path(__file__)), ("pruned-1", tmp_path / WEIGHTS_FILE)):
        published = registry.publish(Manifest("dit", version, "mini", {}), {WEIGHTS_FILE: path})
    assert parent_of(TUNED, runs, registry) == replace(found, version="pruned-1")
    assert found.digest == published.digests[WEIGHTS_FILE]


def test_a_run_that_begins_anew_has_no_parent(tmp_path: Path) -> None:
    assert parent_of(RECIPES["tae_mini"], tmp_path, Registry(tmp_path)) == Parent()
