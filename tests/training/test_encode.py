import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from training import checkpoint, encode
from training.latents import LatentSet
from training.objectives.dit import DitSettings
from training.recipes import RECIPES, stages
from training.run_store import RunStore
from training.train import train


def test_latents_are_found_at_any_depth_of_the_settings() -> None:
    settings = RECIPES["dit_mini_aspects"].settings
    assert isinstance(settings, DitSettings)
    named = (settings.videos, settings.stills, settings.held_out, *settings.others)
    assert list(encode.latent_sets(settings)) == list(named)
    pairs = [items for items in encode.latent_sets(RECIPES["editor_nano"].settings) if not isinstance(items, LatentSet)]
    assert [items.form for items in pairs] == ["animated", "marked", "targets", "stills", "clips"]
    assert list(encode.latent_sets(RECIPES["codec_mini"].settings)) == []


def test_the_stages_before_a_recipe_are_those_of_its_component() -> None:
    assert [row.name for row in stages(RECIPES["dit_nano_tuned"])] == [
        *("dit_nano_images", "dit_nano_joint", "dit_nano_tuned")
    ]
    assert [row.name for row in stages(RECIPES["editor_mini_tasks"])] == ["editor_mini_stills", "editor_mini_tasks"]
    assert [row.name for row in stages(RECIPES["tae_mini"])] == ["tae_mini"]


@pytest.mark.timeout(300)  # builds three small networks beside the tower of each
def test_a_stage_on_another_machine_goes_on_with_what_the_store_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = str(tmp_path / "store")
    arguments = ["--recipe", "dit_nano_joint", "--runs", str(tmp_path / "one"), "--store", store]
    monkeypatch.setattr(sys, "argv", ["encode", *arguments])
    encode.main()
    assert [line.split(",")[0] for line in capsys.readouterr().out.splitlines()] == [
        "dit_nano_images: 6 files",
        "dit_nano_joint: 9 files",
    ]
    images, joint = (
        replace(RECIPES[name], steps=2, validate_every=2) for name in ("dit_nano_images", "dit_nano_joint")
    )
    with pytest.raises(ValueError, match="dit_nano_joint goes on from dit_nano_images, which has no checkpoint yet"):
        train(joint, tmp_path / "two", resume=True, store=store)
    train(images, tmp_path / "three", resume=True, store=store)
    assert (RunStore(store, images.name).steps(), RunStore(store, joint.name).steps()) == (2, 0)
    run = train(joint, tmp_path / "four", resume=True, store=store)
    started = checkpoint.load(tmp_path / "four" / images.name)["average"]
    assert checkpoint.load(tmp_path / "three" / images.name)["average"].keys() == started.keys()
    assert not torch.equal(started["dit.patch_out.weight"], run.average.state_dict()["dit.patch_out.weight"])
    encoded, fetched = (
        {path.name: path for path in (tmp_path / name / "latents").iterdir()} for name in ("one", "four")
    )
    assert len(fetched) == 9
    for name, path in fetched.items():
        assert path.read_bytes() == encoded[name].read_bytes()
    assert {np.load(path).shape[0] for name, path in fetched.items() if name.endswith("values.npy")} == {8}
