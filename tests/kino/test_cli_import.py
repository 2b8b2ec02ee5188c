"""`kino models import`, in process; the film that such a model makes is in tests/e2e."""

import json
from pathlib import Path

import pytest

from kino.cli import main
from kino.registry import Registry
from tests import pipelines


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = pipelines.save(pipelines.flux, tmp_path_factory.mktemp("pipelines") / "FLUX.1-tiny")
    (made / "LICENSE.md").write_text("Nobody's licence\n")
    return made


@pytest.fixture
def models(tmp_path: Path) -> str:
    return str(tmp_path / "models")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    told = capsys.readouterr()
    return code, told.out, told.err


def test_an_import_tells_what_it_brings(folder: Path, models: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "models", "import", str(folder), "--models", models, "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["name"], told["family"], told["can"]) == ("flux.1-tiny", "flux", ["images"])
    assert told["licence"] == "LICENSE.md"
    assert [(part["service"], part["version"], part["stored"]) for part in told["parts"]] == [
        ("encoder", "towers/flux.1-tiny", "new"),
        ("tae", "tae/flux.1-tiny", "new"),
        ("generator", "dit/flux.1-tiny", "new"),
    ]
    for part in told["parts"]:
        assert part["float32_bytes"] == 2 * part["bfloat16_bytes"] == 4 * part["parameters"]
    again = json.loads(run(capsys, "models", "import", str(folder), "--models", models, "--name", "same", "--json")[1])
    assert {part["stored"] for part in again["parts"]} == {"there already"}
    assert Registry(models).aliases("dit") == {"same": "flux.1-tiny"}
    code, out, _ = run(capsys, "models", "--models", models)
    assert code == 0
    assert "towers" in out
    code, out, _ = run(capsys, "models", "show", "dit", "same", "--models", models)
    facts = dict(line.split("  ", 1) for line in out.splitlines())
    shown = {name: facts[name].strip() for name in ("can", "computes in", "parts", "accepts")}
    assert shown["can"] == "images"
    assert shown["computes in"] == "float32"
    assert shown["parts"] == "scheduler (FlowMatchEulerDiscreteScheduler), transformer (FluxTransformer2DModel)"
    assert shown["accepts"].startswith("frames 1 to 1, height 4 to 2048, width 4 to 2048, ")
    assert "steps 1 to 1000, guidance 1 to 30" in shown["accepts"]


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--dtype", "int8"], "--dtype is 'int8', must be one of float32, bfloat16, float16"),
        (["--name", "A B"], "version is 'A B', must be 1 to 64 of a-z"),
    ],
)
def test_an_import_that_cannot_be_is_refused(
    folder: Path, models: str, capsys: pytest.CaptureFixture[str], arguments: list[str], reason: str
) -> None:
    code, _, err = run(capsys, "models", "import", str(folder), "--models", models, *arguments)
    assert code == 2
    assert reason in err


def test_a_folder_that_is_no_pipeline_is_refused(
    tmp_path: Path, models: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = run(capsys, "models", "import", str(tmp_path), "--models", models)
    assert code == 2
    assert "must hold model_index.json" in err


def test_orders_are_measured_against_the_model(folder: Path, models: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "models", "import", str(folder), "--models", models, "--name", "tiny")
    refused = {
        ("image", "a cat", "--model", "other"): "--model other: no imported model is called 'other'; known: tiny",
        ("image", "a cat", "--model", "mini"): "--model mini: no imported model is called 'mini'; known: tiny",
        ("image", "a cat", "--model", "tiny", "--size", "18x16"): "must be a multiple of 4",
        ("image", "a cat", "--model", "tiny", "--linear-steps", "9"): "--linear-steps is 9, must be left out",
        ("film", "a cat", "--model", "tiny", "--no-sound"): "the model makes no more than one frame",
        ("film", "a cat", "--model", "tiny", "--image", "first.png"): "must be a model that begins with a picture",
        ("film", "a cat", "--model", "tiny", "--address", "127.0.0.1:1"): "--model is 'tiny', must be left out",
    }
    for arguments, reason in refused.items():
        more = () if "--address" in arguments else ("--models", models)
        code, _, err = run(capsys, *arguments, *more)
        assert (code, reason in err) == (2, True), err
