from dataclasses import replace
from pathlib import Path

import pytest
import torch

from kino import weights
from kino.manifest import Manifest
from kino.registry import GRAPH_FILE, Registry, VersionExistsError
from training import checkpoint, export, publish
from training.published import open_dit, open_tae
from training.recipes import RECIPES
from training.train import train

TAE = replace(RECIPES["tae_nano"], steps=2, validate_every=2)
DIT = replace(RECIPES["dit_nano"], steps=2, validate_every=2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    train(TAE, folder, resume=False)
    train(DIT, folder, resume=False)
    return folder


def test_a_published_tae_normalises_its_latents(runs: Path, tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    manifest = publish.publish(TAE, runs, registry, "first")
    tae, opened = open_tae("first", registry)
    assert opened.latent_space == manifest.digest
    assert tae.latent_std.min() > 0
    assert not torch.equal(tae.latent_std, torch.ones(16))
    assert manifest.recipe == "tae_nano"
    assert manifest.metrics["psnr"] > 5


def test_a_published_generator_holds_the_average_and_names_its_spaces(runs: Path, tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    manifest = publish.publish(DIT, runs, registry, "first")
    average = checkpoint.load(runs / DIT.name)["average"]
    dit = open_dit("first", registry)
    expected = average["dit.patch_out.weight"].to(torch.bfloat16).float()
    assert torch.equal(dit.patch_out.weight, expected)
    assert manifest.spaces.latent == weights.find("tae", "nano", registry).digest
    assert set(manifest.spaces.text) == {"ul2", "byt5", "metaclip"}
    assert not any("readout" in name for name in weights.load_state(manifest, registry))


def test_a_card_tells_how_the_weights_were_made(runs: Path, tmp_path: Path) -> None:
    manifest = publish.publish(DIT, runs, Registry(tmp_path), "first")
    card = (tmp_path / "dit" / manifest.version / "card.md").read_text()
    assert "# dit, recipe dit_nano" in card
    assert "- Steps: 2 of 2;" in card
    assert "held_out_velocity" in card


def test_a_version_never_changes(runs: Path, tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    publish.publish(TAE, runs, registry, "first")
    with pytest.raises(VersionExistsError):
        publish.publish(replace(TAE, name="other"), _copied(runs, tmp_path, "other"), registry, "first")


def test_a_version_has_its_graph_before_its_alias(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def attach(manifest: Manifest, registry: Registry) -> Manifest:
        assert registry.aliases("tae") == {}
        return registry.attach_graph(manifest, b"a graph")

    monkeypatch.setattr(export, "export", attach)
    for component in ("tae", "dit"):
        arguments = ["--recipe", f"{component}_nano", "--version", "first", "--alias", "best", "--runs", str(runs)]
        monkeypatch.setattr("sys.argv", ["publish", *arguments, "--models", str(tmp_path)])
        publish.main()
    found = {component: Registry(tmp_path).resolve(component, "best") for component in ("tae", "dit")}
    assert [name for name, manifest in found.items() if GRAPH_FILE in manifest.digests] == ["tae"]
    assert f"published tae/first, digest {found['tae'].digest}" in capsys.readouterr().out


def _copied(runs: Path, tmp_path: Path, name: str) -> Path:
    folder = tmp_path / "runs" / name
    folder.mkdir(parents=True)
    for file in (runs / TAE.name).iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return tmp_path / "runs"


def test_the_commit_is_that_of_the_image_where_there_is_no_git(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINO_GIT_REVISION", "abc123")
    assert publish.git_revision() == "abc123"
    monkeypatch.delenv("KINO_GIT_REVISION")
    monkeypatch.setenv("PATH", "")
    assert publish.git_revision() == ""
