"""What is planned for an imported model, against the model itself."""

import json
from collections.abc import Mapping

import numpy as np
import pytest
import torch

from kino import flops
from kino.cli import main
from kino.execution import Execution
from kino.families import AUDIO, DIT, TAE, TOWERS
from kino.importing import import_pipeline
from kino.manifest import Manifest
from kino.parts import Parts
from kino.planning import Film, Outline, weights_bytes
from kino.registry import Registry
from kino.shapes import Grid
from services.audio.families.ltx2 import Ltx2
from services.audio.published import PublishedSound
from services.tae.families.table import open_engine
from tests import pipelines, sound_pipelines
from tests.kino.peaks import peak_bytes

FILM = Film(9, 32, 64, Grid(3, 4, 8), 10, 4.0)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    root = tmp_path_factory.mktemp("planning")
    registry = Registry(root / "models")
    builds = (pipelines.wan_experts, pipelines.hunyuan, pipelines.flux, pipelines.hunyuan15, sound_pipelines.ltx2)
    for build in builds:
        name = build.__name__
        import_pipeline(pipelines.save(build, root / name), registry, name.replace("_", "-"))
    return registry


def versions(models: Registry, name: str) -> Mapping[str, Manifest]:
    components = (TOWERS, DIT, TAE, AUDIO)
    return {part: models.resolve(part, name) for part in components if name in models.versions(part)}


def held_bytes(network: torch.nn.Module) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in network.parameters())


@pytest.mark.parametrize("name", ["wan-experts", "hunyuan", "flux", "ltx2"])
def test_weights_are_those_of_the_loaded_networks(models: Registry, name: str) -> None:
    for manifest in versions(models, name).values():
        outline, parts = Outline.of(manifest, models), Parts(manifest, models)
        assert outline.networks
        for part, network in outline.networks.items():
            assert weights_bytes(network, torch.float32) == held_bytes(parts.network(part))


def test_kinds_of_numbers_and_places_change_what_is_on_the_device(models: Registry) -> None:
    outline = Outline.of(models.resolve(DIT, "wan-experts"), models)
    whole = outline.need("generator", FILM, Execution())
    assert (whole.host, whole.device) == (0, whole.weights + whole.work)
    half = outline.need("generator", FILM, Execution(), "bfloat16")
    assert whole.weights / 2 < half.weights < whole.weights  # some parts stay in float32
    small = outline.need("generator", FILM, Execution("int8"))
    assert small.weights < half.weights
    turns = outline.need("generator", FILM, Execution(offload="networks"))
    assert (2 * turns.weights, turns.host, turns.work) == (whole.weights, whole.weights, whole.work)
    layers = outline.need("generator", FILM, Execution(offload="layers"))
    leaves = [leaf for leaf in outline.networks["transformer"].modules() if isinstance(leaf, torch.nn.Linear)]
    assert layers.weights == 2 * 4 * max(leaf.weight.numel() + leaf.out_features for leaf in leaves)
    assert layers.host == whole.weights


def test_operations_are_those_of_all_steps_and_texts(models: Registry) -> None:
    outline, grid = Outline.of(models.resolve(DIT, "wan-experts"), models), Grid(3, 16, 32)
    need = outline.need("generator", Film(9, 128, 256, grid, 10, 4.0), Execution())
    assert need.flops == flops.of_step(outline.networks["transformer"], grid, 512).times(20)
    alone = outline.need("generator", Film(9, 128, 256, grid, 10, 1.0), Execution())
    assert need.flops == alone.flops.times(2)


def test_texts_are_of_the_rows_of_their_towers(models: Registry) -> None:
    outline = Outline.of(models.resolve(TOWERS, "hunyuan"), models)
    llama, clip = (outline.networks[part] for part in ("text_encoder", "text_encoder_2"))
    both = flops.of_text(llama, 256 + 95) + flops.of_text(clip, 77)  # whose pooled row stands for a whole text
    assert outline.need("encoder", FILM, Execution()).flops == both.times(2)


def test_decoding_grows_with_the_size_of_the_clip(models: Registry) -> None:
    outline = Outline.of(models.resolve(TAE, "hunyuan"), models)
    small, large = (
        outline.need("tae", Film(9, side, side, Grid(3, side // 8, side // 8), 1, 1.0), Execution())
        for side in (64, 128)
    )
    assert large.flops.convolutions == 4 * small.flops.convolutions > 0
    assert large.work == 4 * small.work


@pytest.mark.parametrize("tiled", [False, True])
def test_work_of_decoding_is_near_to_what_is_measured(models: Registry, tiled: bool) -> None:
    manifest, film = models.resolve(TAE, "hunyuan15"), Film(5, 320, 320, Grid(2, 20, 20), 1, 1.0, tiled=tiled)
    tae = open_engine("mini", "hunyuan15", models, "cpu", "torch", tiled)
    latents = np.random.default_rng(0).standard_normal((4, 2, 20, 20), np.float32)
    peak = peak_bytes(lambda: list(tae.decode(latents, film.frames)))
    assert 0.8 < Outline.of(manifest, models).need("tae", film, Execution()).work / peak < 2.0


def test_tiles_take_less_of_what_they_are_for(models: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for flags in ((), ("--tiled",)):
        size = ("--size", "1280x720", "--device-memory", "1000")
        code, out, _ = run(capsys, models, "hunyuan15", *size, *flags, "--json")
        assert code == 0
        told.append({row["service"]: row["work_bytes"] for row in json.loads(out)["services"]})
    whole, tiled = told
    assert tiled["tae"] < 0.5 * whole["tae"]
    assert (tiled["encoder"], tiled["generator"]) == (whole["encoder"], whole["generator"])


def test_sound_is_planned_where_it_is_made(models: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    work = {}
    for seconds in ("1", "2"):
        code, out, _ = run(capsys, models, "ltx2", "--size", "64x32", "--seconds", seconds, "--json")
        assert code == 0
        rows = json.loads(out)["services"]
        assert [row["service"] for row in rows] == ["encoder", "generator", "tae", "audio"]
        assert all(row["seconds"] > 0 for row in rows)
        work[seconds] = rows[3]["work_bytes"]
    assert work["2"] == 2 * work["1"]


def test_work_of_decoding_sound_is_near_to_what_is_measured(models: Registry) -> None:
    sound = PublishedSound(Ltx2, models.resolve(AUDIO, "ltx2"), models)
    latents = np.random.default_rng(0).standard_normal((2, 100, 2), np.float32)
    peak = peak_bytes(lambda: list(sound.decode(latents, 4 * 48_000)))
    assert 0.8 < sound.decoder.needed_bytes(100) / peak < 2.0


def run(capsys: pytest.CaptureFixture[str], models: Registry, *arguments: str) -> tuple[int, str, str]:
    code = main(["models", "plan", *arguments, "--models", models.name])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_a_plan_tells_each_service(models: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, models, "wan-experts", "--size", "64x32", "--seconds", "0.5", "--steps", "4", "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["width"], told["height"], told["frames"], told["steps"]) == (64, 32, 8, 4)
    assert [row["service"] for row in told["services"]] == ["encoder", "generator", "tae"]
    for row in told["services"]:
        assert row["fits"]
        assert row["device_bytes"] == row["weights_bytes"] + row["work_bytes"]
        assert row["seconds"] > 0
    rates = told["flops_per_second"]
    assert rates.pop("is_measured")
    assert min(rates.values()) > 0


def test_a_plan_for_another_machine_takes_what_is_stated(models: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    there = ("--device", "cuda:7", "--device-memory", "80")
    seconds = {}
    for rate in ("1T", "2T"):
        code, out, _ = run(capsys, models, "wan-experts", "--size", "64x32", *there, "--flops", rate, "--json")
        told = json.loads(out)
        assert (code, told["flops_per_second"]["is_measured"]) == (0, False)
        seconds[rate] = [row["seconds"] for row in told["services"]]
    assert seconds["1T"] == [2 * each for each in seconds["2T"]]
    _, out, _ = run(capsys, models, "wan-experts", "--size", "64x32", *there, "--flops", "400T")
    assert "400 TFLOP/s, as stated" in out


def test_what_cannot_fit_is_said_before_it_is_loaded(models: Registry, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, models, "wan-experts", "--size", "1280x720", "--device-memory", "0.01")
    assert code == 2
    assert "generator" in out
    assert "wan-experts does not fit: the generator takes" in err
    assert "cpu has 0.01 GiB" in err


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["wan-experts", "--size", "60x32"], "width is 60, must be a positive multiple of 16"),
        (["wan-experts", "--size", "big"], "--size is 'big', must be of the form WIDTHxHEIGHT"),
        (["wan-experts", "--seconds", "99"], "frames is 1584, must be from 1 to"),
        (["wan-experts", "--dtype", "int8"], "--dtype is 'int8', must be one of float32"),
        (["wan-experts", "--weights", "int4"], "--weights is 'int4', must be one of int8, float8"),
        (["wan-experts", "--device-memory", "0"], "--device-memory is 0.0, must be more than 0 GiB"),
        (["wan-experts", "--steps", "0"], "--steps is 0, must be from 1 to 1000"),
        (["wan-experts", "--flops", "fast"], "--flops is 'fast', must be a positive number"),
        (["wan-experts", "--device", "cuda:7"], "device is 'cuda:7', must be one of this machine"),
        (["wan-experts", "--device", "toaster"], "device is 'toaster', must be one of this machine"),
    ],
)
def test_what_cannot_be_planned_is_refused(
    models: Registry, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    code, _, err = run(capsys, models, *arguments)
    assert code == 2
    assert reason in err
