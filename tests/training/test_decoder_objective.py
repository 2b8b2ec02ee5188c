from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kino import weights
from kino.registry import Registry
from training import checkpoint, publish
from training import train as trainer
from training.objectives import decoder
from training.objectives.decoder import DecoderObjective, DecoderSettings, face_mask, masked_psnr
from training.published import open_tae
from training.recipes import RECIPES
from training.train import train
from training.world.people import face
from training.world.scene import PLAIN

TAE = replace(RECIPES["tae_nano"], steps=2, validate_every=2)
TUNED = replace(RECIPES["tae_nano_decoder"], steps=2, validate_every=2)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    train(TAE, folder, resume=False)
    return folder


@pytest.fixture
def registry(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Holds the TAE that is tuned, as "first"."""
    for module in (decoder, trainer):
        monkeypatch.setattr(module, "MODELS", str(tmp_path / "models"))
    registry = Registry(tmp_path / "models")
    publish.publish(TAE, runs, registry, "first")
    return registry


@pytest.fixture
def tuned(registry: Registry, tmp_path: Path) -> Path:
    """Runs of the decoder alone, that went on from the published version."""
    train(TUNED, tmp_path / "tuned", resume=False)
    return tmp_path / "tuned"


def settings() -> DecoderSettings:
    assert isinstance(TUNED.settings, DecoderSettings)
    return TUNED.settings


def test_the_decoder_learns_and_the_encoder_stays(registry: Registry, tuned: Path) -> None:
    before, after = open_tae("first", registry)[0].state_dict(), checkpoint.load(tuned / TUNED.name)["model"]
    changed = {name for name, part in before.items() if not torch.equal(part, after[name])}
    assert changed == {name for name in before if name.startswith("decoder.")}


def test_a_tuned_decoder_reads_the_latents_of_the_tae_it_went_on_from(registry: Registry, tuned: Path) -> None:
    first, second = registry.resolve("tae", "first"), publish.publish(TUNED, tuned, registry, "second")
    assert second.latent_space == first.digest != second.digest
    assert (second.parent.version, second.parent.recipe) == ("first", "tae_nano")
    video = torch.rand(1, 3, 16, 32, 32)
    before, after = (open_tae(name, registry)[0] for name in ("first", "second"))
    assert torch.equal(before.encode(video), after.encode(video))
    third = publish.publish(replace(TUNED, name="again"), _renamed(tuned), registry, "third")
    assert third.latent_space == first.digest


def test_a_tuned_decoder_of_another_encoder_has_a_space_of_its_own(registry: Registry, tuned: Path) -> None:
    run = tuned / TUNED.name
    state = checkpoint.load(run)
    state["average"]["encoder.enter.space.weight"] += 0.1
    checkpoint.save(run, state)
    other = publish.publish(TUNED, tuned, registry, "other")
    assert other.spaces.latent == ""
    assert other.latent_space == other.digest
    kept, own = (weights.load_state(registry.resolve("tae", name), registry) for name in ("first", "other"))
    assert not torch.equal(kept["latent_std"], own["latent_std"])


def test_a_run_that_was_never_published_can_be_gone_on_from(runs: Path, tmp_path: Path) -> None:
    train(replace(TUNED, name="unpublished"), runs, resume=False)
    manifest = publish.publish(replace(TUNED, name="unpublished"), runs, Registry(tmp_path / "empty"), "first")
    assert manifest.latent_space == manifest.digest
    tae = open_tae("first", Registry(tmp_path / "empty"))[0]
    assert not torch.equal(tae.latent_std, torch.ones(16))


def test_a_face_is_masked_where_it_is_drawn_and_things_have_none() -> None:
    people = settings().people
    mask = face_mask(people, 3, start=5, length=4)
    seen = face(people.scene(3), 6 / 16, 32, 32)
    y, x = np.argwhere(mask[1] > 0).mean(0) + 0.5
    assert mask.shape == (4, 32, 32)
    assert (x, y) == (pytest.approx(seen.x, abs=0.5), pytest.approx(seen.y, abs=0.5))
    assert mask[1].sum() == pytest.approx(np.pi * seen.reach**2, rel=0.1)
    things = settings().clips
    thing = next(index for index in range(8) if things.scene(index).identity is None)
    assert face_mask(things, thing, 0, 4).sum() == 0


def test_batches_hold_people_and_things_in_windows_of_one_length(runs: Path) -> None:
    objective = DecoderObjective(replace(settings(), people_share=1.0, lengths=((16, 1.0),)), runs)
    batch = objective.batch(torch.Generator().manual_seed(0))
    assert batch["video"].shape == (2, 3, 16, 32, 32)
    assert batch["faces"].shape == (2, 16, 32, 32)
    assert batch["faces"].amax(dim=(2, 3)).min() == 1
    plain = replace(settings(), clips=replace(settings().clips, mixture=PLAIN), people_share=0.0)
    assert DecoderObjective(plain, runs).batch(torch.Generator().manual_seed(0))["faces"].amax() == 0


def test_psnr_of_a_mask_sees_nothing_else() -> None:
    target, mask = torch.zeros(1, 3, 1, 2, 2), torch.zeros(1, 1, 2, 2)
    output = target.clone()
    output[..., 0], output[..., 1] = 0.2, 1.0
    mask[..., 0] = 1
    assert masked_psnr(output, target, mask) == pytest.approx(20.0, abs=1e-4)


def _renamed(tuned: Path) -> Path:
    """The folder of runs after its run was copied under another name."""
    (tuned / "again").mkdir()
    for file in (tuned / TUNED.name).iterdir():
        (tuned / "again" / file.name).write_bytes(file.read_bytes())
    return tuned
