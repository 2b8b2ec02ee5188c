import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kino.families import FAMILIES, Settings
from kino.importing import import_pipeline
from kino.registry import Registry, VersionExistsError
from kino.shapes import Grid
from tests import picture_pipelines, pipelines, sound_pipelines
from tests.services.families import CASES


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = pipelines.save(pipelines.wan_experts, tmp_path_factory.mktemp("pipelines") / "Wan2.2 A14B (tiny)")
    (made / "LICENSE.txt").write_text("Apache License\n")
    return made


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


def test_a_pipeline_becomes_three_versions_that_know_each_other(folder: Path, registry: Registry) -> None:
    imported = import_pipeline(folder, registry)
    assert imported.name == "wan2.2-a14b-tiny"
    found = {component: registry.resolve(component, imported.name) for component in ("towers", "dit", "tae")}
    assert found == dict(imported.versions)
    assert {manifest.family for manifest in found.values()} == {"wan"}
    assert found["dit"].spaces.latent == found["tae"].digest
    assert found["dit"].spaces.text == {"umt5": found["towers"].digest}
    assert set(found["dit"].digests) == {
        "card.md",
        "license.md",
        "scheduler/scheduler_config.json",
        *(f"{part}/{name}" for part in ("transformer", "transformer_2")
          for name in ("config.json", "diffusion_pytorch_model.safetensors")),
    }  # fmt: skip
    path = "transformer_2/diffusion_pytorch_model.safetensors"
    assert registry.file(found["dit"], path).read_bytes() == (folder / path).read_bytes()
    assert registry.file(found["tae"], "license.md").read_text() == "Apache License\n"


def test_settings_tell_what_a_service_needs(folder: Path, registry: Registry) -> None:
    settings = Settings.of(import_pipeline(folder, registry).versions["dit"])
    assert (settings.dtype, settings.texts) == ("float32", {"umt5": (512, 16)})
    assert settings.pipeline == {"boundary_ratio": 0.875, "expand_timesteps": False}
    assert settings.clips is not None
    assert settings.clips.grid(81, 480, 832) == Grid(21, 60, 104)
    assert settings.sampling is not None
    assert (settings.sampling.steps, settings.sampling.guidance) == (40, 4.0)


def test_parameters_and_memory_are_counted(folder: Path, registry: Registry) -> None:
    imported = import_pipeline(folder, registry)
    pipeline = pipelines.make(pipelines.wan_experts)
    count = sum(
        parameter.numel()
        for part in ("transformer", "transformer_2")
        for parameter in getattr(pipeline, part).parameters()
    )
    assert imported.parameters["dit"] == count
    assert imported.weights_bytes("dit", "bfloat16") == 2 * count


def test_what_is_there_already_is_not_copied(folder: Path, registry: Registry) -> None:
    first = import_pipeline(folder, registry, "a14b")
    again = import_pipeline(folder, registry, "a14b")
    other = import_pipeline(folder, registry, "same")
    assert list(first.is_new.values()) == [True, True, True]
    assert list(again.is_new.values()) == list(other.is_new.values()) == [False, False, False]
    assert registry.versions("tae") == ["a14b"]
    assert registry.resolve("tae", "same") == registry.resolve("tae", "a14b")


def test_another_type_of_numbers_is_another_version(folder: Path, registry: Registry) -> None:
    import_pipeline(folder, registry, "a14b")
    half = import_pipeline(folder, registry, "a14b-half", dtype="bfloat16")
    assert Settings.of(half.versions["dit"]).dtype == "bfloat16"
    assert half.versions["dit"].digest != registry.resolve("dit", "a14b").digest
    with pytest.raises(VersionExistsError, match="towers/a14b exists with other content"):
        import_pipeline(folder, registry, "a14b", dtype="bfloat16")


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_tells_its_clips_and_texts(name: str, tmp_path: Path, registry: Registry) -> None:
    imported = import_pipeline(pipelines.save(CASES[name].build, tmp_path / name), registry)
    settings = Settings.of(imported.versions["dit"])
    assert imported.pipeline.family == name
    assert set(settings.texts) == {
        tower for tower, row in FAMILIES[name].towers.items() if row.part in imported.pipeline.parts
    }
    assert settings.clips is not None
    clips = settings.clips
    grid = clips.grid(min(clips.max_frames, 17), clips.multiple, clips.multiple)
    fewest, most = clips.video_frames(grid.t)
    assert fewest <= min(clips.max_frames, 17) <= most
    assert json.loads(json.dumps(settings.as_config())) == imported.versions["dit"].config


@pytest.mark.parametrize(
    ("build", "abilities", "texts"),
    [
        (pipelines.wan, ("text to video", "images"), {"umt5": (512, 16)}),
        (pipelines.wan_5b, ("text to video", "image to video", "images"), {"umt5": (512, 16)}),
        (picture_pipelines.wan, ("image to video",), {"umt5": (512, 16), "vision": (5, 16)}),
        (picture_pipelines.wan_experts, ("image to video",), {"umt5": (512, 16)}),
        (pipelines.ltx, ("text to video", "image to video"), {"t5": (128, 16)}),
        (picture_pipelines.hunyuan, ("image to video",), {"llava": (396, 16), "clip": (1, 16)}),
        *(
            (build, ("text to video", "image to video", "sound"), {"gemma": (1024, 16), "gemma-sound": (1024, 16)})
            for build in (sound_pipelines.shallow_ltx2, sound_pipelines.ltx2_of_pictures)
        ),
    ],
)
def test_what_a_pipeline_can_do_follows_from_its_settings(
    build: Callable[[], Any],
    abilities: tuple[str, ...],
    texts: dict[str, tuple[int, int]],
    tmp_path: Path,
    registry: Registry,
) -> None:
    imported = import_pipeline(pipelines.save(build, tmp_path / "pipeline"), registry)
    settings = Settings.of(imported.versions["dit"])
    assert (settings.abilities, settings.texts) == (abilities, texts)
    read = "image_processor/preprocessor_config.json" in imported.versions["towers"].digests
    assert read == ("vision" in texts or "llava" in texts)


def test_a_variant_that_is_not_served_is_refused(tmp_path: Path, registry: Registry) -> None:
    folder = pipelines.save(picture_pipelines.hunyuan, tmp_path / "pipeline")
    config = folder / "transformer" / "config.json"
    config.write_text(config.read_text().replace("token_replace", "latent_concat"))
    with pytest.raises(ValueError, match=r"image_condition_type of transformer/config.json is 'latent_concat'"):
        import_pipeline(folder, registry)
    seen = pipelines.save(picture_pipelines.wan, tmp_path / "wan")
    index = json.loads((seen / "model_index.json").read_text())
    (seen / "model_index.json").write_text(json.dumps(index | {"image_encoder": [None, None]}))
    with pytest.raises(ValueError, match=r"image_encoder of model_index.json is missing, must be there"):
        import_pipeline(seen, registry)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"start": 0.25}, r"start of guider/guider_config.json is 0.25, must be 0.0"),
        ({"depth": 10**6}, r"depth of guider/guider_config.json is 1000000, must be at most 1000"),
    ],
)
def test_guidance_of_another_kind_is_refused(
    values: dict[str, object], reason: str, tmp_path: Path, registry: Registry
) -> None:
    folder = pipelines.save(pipelines.hunyuan15, tmp_path / "pipeline")
    path = folder / "guider" / "guider_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    with pytest.raises(ValueError, match=reason):
        import_pipeline(folder, registry)


def test_steps_of_two_times_are_refused(tmp_path: Path, registry: Registry) -> None:
    folder = pipelines.save(partial(pipelines.hunyuan15, use_meanflow=True), tmp_path / "pipeline")
    with pytest.raises(ValueError, match=r"use_meanflow of transformer/config.json is true, must be false"):
        import_pipeline(folder, registry)


def test_the_template_of_a_talk_stays_in_its_folder(tmp_path: Path, registry: Registry) -> None:
    folder = pipelines.save(pipelines.hunyuan15, tmp_path / "pipeline")
    assert (folder / "tokenizer" / "chat_template.jinja").exists()
    imported = import_pipeline(folder, registry)
    assert "tokenizer/chat_template.jinja" not in imported.versions["towers"].digests
    sampling = Settings.of(imported.versions["dit"]).sampling
    assert sampling is not None
    assert sampling.guidance == 4.0
