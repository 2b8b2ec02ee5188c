"""`--adapter` on the command line, in process."""

import json
from pathlib import Path

import pytest

from kino.cli import main
from kino.cli_adapters import weights_of
from kino.client_specs import personalize_video, text_to_image
from kino.errors import InvalidArgumentError
from kino.importing import import_pipeline
from kino.registry import Registry
from kino.v1.generator_pb2 import Adapter
from tests import adapters, pipelines


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(list(arguments))
    told = capsys.readouterr()
    return code, told.out, told.err


def test_weights_are_read_in_order() -> None:
    assert list(weights_of(["slow:-0.5", "ink", "old:2"]).items()) == [("slow", -0.5), ("ink", 1.0), ("old", 2.0)]
    with pytest.raises(InvalidArgumentError, match="--adapter is 'ink:much', must be of the form NAME or NAME:WEIGHT"):
        weights_of(["ink:much"])
    with pytest.raises(InvalidArgumentError, match="--adapter is 'ink', must be there once"):
        weights_of(["ink:1", "ink:2"])


def test_orders_hold_adapters_in_order_where_their_product_takes_any() -> None:
    made = text_to_image("a cat", adapters={"slow": -0.5, "ink": 1.0}).text_to_image.adapters
    assert list(made) == [Adapter(name="slow", weight=-0.5), Adapter(name="ink", weight=1)]
    with pytest.raises(InvalidArgumentError, match="adapters is 'ink', must be left out: PersonalizeVideo takes none"):
        personalize_video("", "image/png", "a cat", adapters={"ink": 1.0})


def test_an_adapter_is_imported_for_its_model_and_orders_are_measured_against_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    models = tmp_path / "models"
    registry, wider = Registry(models), pipelines.wan_transformer(ffn_dim=48)
    import_pipeline(pipelines.save(pipelines.wan, tmp_path / "wan"), registry, "tiny")
    import_pipeline(pipelines.save(lambda: pipelines.wan(transformer=wider), tmp_path / "other"), registry, "other")
    folder = adapters.save(pipelines.make(pipelines.wan), tmp_path / "ink")
    given = ("models", "import", "--adapter", str(folder), "--models", str(models))
    code, out, _ = run(capsys, *given, "--base", "tiny", "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["name"], told["model"], told["rank"], told["layers"], told["stored"]) == ("ink", "tiny", 4, 16, "new")
    refused = {
        (*given,): "--base is '', must be given",
        (*given, "--base", "none"): "dit has no version 'none'; known: other, tiny",
        (*given, "--base", "tiny", "--dtype", "bfloat16"): "--dtype is 'bfloat16', must be left out",
        ("models", "import", str(folder), "--base", "tiny"): "--base is 'tiny', must be left out without --adapter",
    }
    film = ("film", "a cat", "--no-sound", "--models", str(models), "--model")
    refused |= {
        (*film, "tiny", "--adapter", "oil"): "--adapter is 'oil', must be one of ink",
        (*film, "tiny", "--adapter", "ink:5"): "--adapter is 5.0, must be from -4 to 4",
        (*film, "other", "--adapter", "ink"): "is 'ink', which was made for the version",
    }
    for arguments, reason in refused.items():
        code, _, err = run(capsys, *arguments)
        assert (code, reason in err) == (2, True), err
