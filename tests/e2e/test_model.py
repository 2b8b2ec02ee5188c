"""A published model from its folder to a film, by the command line alone."""

import json
from collections.abc import Callable
from pathlib import Path

import av
import pytest
from PIL import Image

from tests import picture_pipelines, pipelines, sound_pipelines
from tests.e2e.conftest import Finished

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]  # two processes import large libraries one after the other


def test_an_imported_model_makes_a_film(kino: Callable[..., Finished], tmp_path: Path) -> None:
    pipelines.save(pipelines.wan, tmp_path / "wan")
    imported = kino("models", "import", "wan", "--models", "models")
    assert imported.code == 0, imported.err
    given = ("--model", "wan", "--models", "models", "--data", "data", "--no-sound")
    sized = ("--size", "64x32", "--seconds", "0.5", "--steps", "2", "--seed", "1")
    made = kino("film", "a red ball bounces", *given, *sized, "--json")
    assert made.code == 0, made.err
    told = made.json
    assert [(stage["name"], stage["steps"]) for stage in told["stages"]] == [
        ("encode", 1),
        ("generate", 2),
        ("decode", 8),
        ("export", 8),
    ]
    assert told["rewritten_prompt"] == ""
    assert json.dumps(told["command"]).count("--model wan") == 1
    with av.open(str(tmp_path / "film.mp4")) as film:
        stream = film.streams.video[0]
        assert (stream.width, stream.height, stream.frames) == (64, 32, 8)
        assert stream.average_rate == 16


def test_an_imported_model_begins_a_film_with_a_picture(kino: Callable[..., Finished], tmp_path: Path) -> None:
    pipelines.save(picture_pipelines.wan, tmp_path / "wan-i2v")
    Image.new("RGB", (100, 40), (200, 30, 30)).save(tmp_path / "first.png")
    imported = kino("models", "import", "wan-i2v", "--models", "models")
    assert imported.code == 0, imported.err
    assert "--model wan-i2v --image PICTURE PROMPT" in imported.out
    given = ("--model", "wan-i2v", "--models", "models", "--data", "data", "--no-sound", "--size", "64x32")
    sized = ("--seconds", "0.5", "--steps", "2", "--seed", "1", "--json")
    made = kino("film", "a red ball bounces", "--image", "first.png", *given, *sized)
    assert made.code == 0, made.err
    steps = {stage["name"]: stage["steps"] for stage in made.json["stages"]}
    assert steps == {"picture": 1, "encode": 1, "look": 8, "animate": 2, "decode": 8, "export": 8}
    with av.open(str(tmp_path / "film.mp4")) as film:
        stream = film.streams.video[0]
        assert (stream.width, stream.height, stream.frames) == (64, 32, 8)


def test_an_imported_model_makes_a_film_with_its_own_sound(kino: Callable[..., Finished], tmp_path: Path) -> None:
    pipelines.save(sound_pipelines.ltx2, tmp_path / "ltx2")
    imported = kino("models", "import", "ltx2", "--models", "models")
    assert imported.code == 0, imported.err
    assert "text to video, image to video, sound" in imported.out
    given = ("--model", "ltx2", "--models", "models", "--data", "data", "--size", "64x32")
    made = kino("film", "a red ball bounces", *given, "--seconds", "0.5", "--steps", "2", "--seed", "1", "--json")
    assert made.code == 0, made.err
    steps = {stage["name"]: stage["steps"] for stage in made.json["stages"]}
    assert steps == {"encode": 1, "generate": 2, "decode": 12, "sound": 2, "export": 12}
    assert made.json["figures"]["samples"] == "24000"
    with av.open(str(tmp_path / "film.mp4")) as film:
        pictures, sound = film.streams.video[0], film.streams.audio[0]
        assert (pictures.frames, sound.rate, sound.channels) == (12, 48_000, 2)
