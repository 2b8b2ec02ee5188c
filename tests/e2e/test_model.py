"""Published models and an adapter from their folders to films, by the command line alone."""

import json
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from PIL import Image

from kino.cli import main
from tests import adapters, picture_pipelines, pipelines, sound_pipelines
from tests.e2e.conftest import Finished, start

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]  # processes import large libraries one after the other

ORDER = ("film", "a red ball bounces", "--size", "64x32", "--seconds", "0.5", "--steps", "2", "--seed", "1", "--json")


@pytest.fixture
def imported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Imports into the folder `models` and returns what it said, in the process that loaded the libraries."""

    def run(*words: str) -> str:
        code = main(["models", "import", *words, "--models", str(tmp_path / "models")])
        told = capsys.readouterr()
        assert code == 0, told.err
        return told.out

    return run


def shape(film: Path) -> tuple[int, int, int]:
    """Width, height and frames."""
    with av.open(str(film)) as opened:
        stream = opened.streams.video[0]
        assert stream.average_rate == 16
        return stream.width, stream.height, stream.frames


def test_an_imported_model_makes_a_film(kino: Callable[..., Finished], tmp_path: Path) -> None:
    pipelines.save(pipelines.wan, tmp_path / "wan")
    told = kino("models", "import", "wan", "--models", "models")
    assert told.code == 0, told.err
    made = kino(*ORDER, "--model", "wan", "--models", "models", "--data", "data", "--no-sound")
    assert made.code == 0, made.err
    assert [(stage["name"], stage["steps"]) for stage in made.json["stages"]] == [
        ("encode", 1),
        ("generate", 2),
        ("decode", 8),
        ("export", 8),
    ]
    assert made.json["rewritten_prompt"] == ""
    assert json.dumps(made.json["command"]).count("--model wan") == 1
    assert shape(tmp_path / "film.mp4") == (64, 32, 8)


def test_an_imported_model_begins_a_film_with_a_picture(
    kino: Callable[..., Finished], tmp_path: Path, imported: Callable[..., str]
) -> None:
    folder = pipelines.save(picture_pipelines.wan, tmp_path / "wan-i2v")
    assert "--model wan-i2v --image PICTURE PROMPT" in imported(str(folder))
    Image.new("RGB", (100, 40), (200, 30, 30)).save(tmp_path / "first.png")
    given = ("--model", "wan-i2v", "--models", "models", "--data", "data", "--no-sound")
    made = kino(*ORDER, "--image", "first.png", *given)
    assert made.code == 0, made.err
    steps = {stage["name"]: stage["steps"] for stage in made.json["stages"]}
    assert steps == {"picture": 1, "encode": 1, "look": 8, "animate": 2, "decode": 8, "export": 8}
    assert shape(tmp_path / "film.mp4") == (64, 32, 8)


def test_an_imported_model_makes_a_film_with_its_own_sound(
    kino: Callable[..., Finished], tmp_path: Path, imported: Callable[..., str]
) -> None:
    folder = pipelines.save(sound_pipelines.ltx2, tmp_path / "ltx2")
    assert "text to video, image to video, sound" in imported(str(folder))
    made = kino(*ORDER, "--model", "ltx2", "--models", "models", "--data", "data")
    assert made.code == 0, made.err
    steps = {stage["name"]: stage["steps"] for stage in made.json["stages"]}
    assert steps == {"encode": 1, "generate": 2, "decode": 12, "sound": 2, "export": 12}
    assert made.json["figures"]["samples"] == "24000"
    with av.open(str(tmp_path / "film.mp4")) as film:
        pictures, sound = film.streams.video[0], film.streams.audio[0]
        assert (pictures.frames, sound.rate, sound.channels) == (12, 48_000, 2)


def test_an_imported_adapter_changes_the_film_of_its_order_alone(
    kino: Callable[..., Finished], tmp_path: Path, imported: Callable[..., str]
) -> None:
    folder = pipelines.save(pipelines.wan, tmp_path / "wan")
    adapters.save(pipelines.make(pipelines.wan), tmp_path / "ink")
    imported(str(folder))
    imported("--adapter", str(tmp_path / "ink"), "--base", "wan")
    services = ("encoder", "generator", "tae")
    versions = [flag for name in services for flag in ("--version", f"{name}=wan")]
    (tmp_path / "data").mkdir()
    served = start(tmp_path / "data", "--models", str(tmp_path / "models"), *versions, names=(*services, "graph"))
    order = (*ORDER, "--address", served.graph, "--no-sound", "--verbatim")
    films, inked = {}, ("--adapter", "ink:1.5")
    for name in ("plain", "inked", "again"):
        made = kino(*order, *(inked if name != "plain" else ()), "--out", f"{name}.mp4")
        assert made.code == 0, made.err
        films[name] = (tmp_path / f"{name}.mp4").read_bytes()
    assert films["plain"] != films["inked"] == films["again"]
    assert "--adapter ink:1.5" in made.json["command"]
    stored = {stage["name"]: stage["stored"] for stage in made.json["stages"]}
    assert stored["generate"]
    assert served.end() == 0
