import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training import checkpoint
from training.recipes import RECIPES
from training.train import Run, train

RECIPE = replace(RECIPES["tae_nano"], steps=6, log_every=1, validate_every=3, checkpoint_every=2)


class KilledError(Exception):
    pass


def kill_after(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    advance = Run.advance

    def dying(run: Run) -> dict[str, float]:
        if run.step == step:
            raise KilledError
        return advance(run)

    monkeypatch.setattr(Run, "advance", dying)


def losses(folder: Path) -> list[tuple[int, float]]:
    rows = map(json.loads, (folder / checkpoint.METRICS_FILE).read_text().splitlines())
    return [(row["step"], row["loss"]) for row in rows if "loss" in row]


def test_a_killed_and_resumed_run_equals_the_undisturbed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(RECIPE, tmp_path / "whole", resume=False)
    with monkeypatch.context() as patch:
        kill_after(5, patch)
        with pytest.raises(KilledError):
            train(RECIPE, tmp_path / "killed", resume=False)
    resumed = train(RECIPE, tmp_path / "killed", resume=True)
    assert losses(tmp_path / "killed" / RECIPE.name) == losses(tmp_path / "whole" / RECIPE.name)
    for name, value in whole.average.state_dict().items():
        assert torch.equal(value, resumed.average.state_dict()[name]), name


def test_a_run_leaves_curves_samples_and_validation(tmp_path: Path) -> None:
    train(RECIPE, tmp_path, resume=False)
    folder = tmp_path / RECIPE.name
    assert (folder / "curves.png").stat().st_size > 1000
    assert sorted(path.name for path in folder.glob("sample_*.png")) == ["sample_000003.png", "sample_000006.png"]
    rows = [json.loads(line) for line in (folder / checkpoint.METRICS_FILE).read_text().splitlines()]
    assert [row["step"] for row in rows if "psnr" in row] == [2, 5]


def test_a_checkpoint_is_never_overwritten_without_being_asked(tmp_path: Path) -> None:
    train(RECIPE, tmp_path, resume=False)
    with pytest.raises(ValueError, match="already holds a checkpoint"):
        train(RECIPE, tmp_path, resume=False)


def test_training_lowers_the_loss(tmp_path: Path) -> None:
    train(RECIPE, tmp_path, resume=False)
    curve = losses(tmp_path / RECIPE.name)
    assert curve[-1][1] < curve[0][1]


def test_a_checkpoint_survives_a_kill_while_the_next_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint.save(tmp_path, {"step": 1})

    def dying(state: object, file: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", dying)
        with pytest.raises(KilledError):
            checkpoint.save(tmp_path, {"step": 2})
    assert checkpoint.load(tmp_path) == {"step": 1}


def test_a_run_may_end_joined_with_what_it_began_with(tmp_path: Path) -> None:
    alone = train(RECIPE, tmp_path / "alone", resume=False)
    joined = train(replace(RECIPE, own_share=0.75), tmp_path / "joined", resume=False)
    name = "encoder.enter.space.weight"
    start, own = joined.start[name], alone.average.state_dict()[name]
    assert not torch.allclose(start, own)
    torch.testing.assert_close(joined.average.state_dict()[name], 0.25 * start + 0.75 * own)
    saved = checkpoint.load(tmp_path / "joined" / RECIPE.name)["average"][name]
    assert torch.equal(saved, joined.average.state_dict()[name])
