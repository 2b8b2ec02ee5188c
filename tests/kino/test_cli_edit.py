import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from kino import cli, cli_edit, cli_film
from kino.client_async import AsyncKino, Film
from kino.images import encode_png
from kino.media import write_video
from kino.v1.audio_pb2 import SoundFigures
from kino.v1.editor_pb2 import EDIT_TASK_RECOLOUR
from kino.v1.graph_pb2 import Artifact, Generation, Stage
from tests.kino.clips import noise

FIGURES = SoundFigures(samples=96_000, loudness_lufs=-23, true_peak_dbtp=-4.06)
GENERATION = Generation(
    id="g1",
    seed=9,
    task=EDIT_TASK_RECOLOUR,
    rewritten_prompt="make the ball blue",
    artifacts=[Artifact(name="film", sound=FIGURES)],
    stages=[Stage(name="edit", of=6)],
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "clip.mov", noise(4, 16, 16), 16, "h264")
    write_video(tmp_path / "long.mp4", noise(17, 16, 16), 1, "ffv1")
    (tmp_path / "text.mp4").write_text("no film")
    (tmp_path / "face.png").write_bytes(encode_png(noise(1, 20, 30)[0]))
    (tmp_path / "text.png").write_text("no picture")
    return tmp_path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the graph is asked for; it answers at once."""
    orders: list[dict[str, Any]] = []

    async def answer(self: AsyncKino, *given: Any, fresh: bool, on_change: Any, **options: Any) -> Film:
        orders.append({"given": given, **options})
        return Film(GENERATION, b"the film", b"the sheet")

    monkeypatch.setattr(AsyncKino, "edit", answer)
    monkeypatch.setattr(AsyncKino, "animate", answer)
    return orders


def test_a_video_is_edited_and_what_was_understood_is_said(
    asked: list[dict[str, Any]], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["edit", "clip.mov", "Paint the ball blue!", "--source-guidance", "1.5", "--address", "a:1"]) == 0
    assert asked == [{"given": (Path("clip.mov"), "Paint the ball blue!", "video/quicktime"), "source_guidance": 1.5}]
    assert (folder / "clip-edited.mp4").read_bytes() == b"the film"
    assert (folder / "clip-edited.png").read_bytes() == b"the sheet"
    shown = capsys.readouterr().out
    assert "recolour: make the ball blue" in shown
    assert "none, as before" in shown
    assert "edit clip.mov 'Paint the ball blue!' --seed 9 --source-guidance 1.5 --address a:1" in shown


def test_scripts_get_json(asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--new-sound", "--json", "--address", "a:1", "-o", "b.mp4"]
    assert cli.main(["edit", "clip.mov", "remove the ball", *flags]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["film"], told["contact_sheet"], told["task"], told["seed"]) == ("b.mp4", "b.png", "recolour", 9)
    assert told["understood"] == "make the ball blue"
    assert told["figures"]["samples"] == "96000"
    assert asked[0]["new_sound"] is True


def test_a_film_begins_with_a_picture(
    asked: list[dict[str, Any]], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order = ["film", "a ball bounces", "--image", "face.png", "--seconds", "1", "--no-sound", "--address", "a:1"]
    assert cli.main([*order, "--source-guidance", "2"]) == 0
    assert asked == [
        {
            "given": (Path("face.png"), "a ball bounces", "image/png"),
            "seconds": 1.0,
            "silent": True,
            "source_guidance": 2.0,
        }
    ]
    assert (folder / "film.mp4").read_bytes() == b"the film"
    assert "--image face.png --source-guidance 2.0" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["edit", "clip.mov", "the ball"], "instruction is 'the ball', must be a change, in English, such as"),
        (["edit", "clip.mov", ""], "instruction is ''"),
        (["edit", "none.mp4", "remove the ball"], "VIDEO is 'none.mp4', must be a file that exists"),
        (["edit", "text.mp4", "remove the ball"], "VIDEO is 'text.mp4': video is unreadable"),
        (["edit", "long.mp4", "remove the ball"], "VIDEO is 17 s long, must be a video of at most 16 s"),
        (["edit", "clip.mov", "remove it", "-o", "a.avi"], "--out is 'a.avi', must be a name that ends in .mp4"),
        (["edit", "clip.mov", "remove it", "--source-guidance", "0"], "--source-guidance is 0.0, must be from 1 to 30"),
        (["edit", "clip.mov", "remove it", "--steps", "0"], "--steps is 0, must be from 1 to 1000"),
        (["film", "a ball", "--image", "none.png"], "--image is 'none.png', must be a file that exists"),
        (["film", "a ball", "--image", "text.png"], "--image is 'text.png': image is unreadable"),
        (["film", "a ball", "--image", "face.png", "--aspect", "1:1"], "--aspect is '1:1', must be left out where"),
        (
            ["film", "a ball", "--image", "face.png", "--quality", "hd"],
            "--quality is 'hd', must be left out: ImageToVideo",
        ),
        (
            ["film", "a ball", "--image", "face.png", "--out", "face.mp4"],
            "--out is 'face.mp4', must be another name: face.png is given, and would be written over",
        ),
        (["edit", "clip.mov", "remove it", "--out", "./clip.mov"], "clip.mov is given, and would be written over"),
        (["film", "a ball", "--image", "face.png", "--seconds", "99"], "--seconds is 99.0, must be from"),
        (["film", "a ball", "--source-guidance", "2"], "--source-guidance is 2.0, must be left out without --image"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_starts(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(arguments) == cli.EXIT_BAD_INPUT
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "module", "names"),
    [
        (["edit", "clip.mov", "remove it"], cli_edit, ("encoder", "tae", "editor", "graph")),
        (["edit", "clip.mov", "remove it", "--new-sound"], cli_edit, ("encoder", "tae", "editor", "graph", "audio")),
        (
            ["film", "a ball", "--image", "face.png"],
            cli_film,
            ("rewriter", "encoder", "tae", "editor", "graph", "audio"),
        ),
        (["film", "a ball", "--no-sound"], cli_film, ("rewriter", "encoder", "generator", "tae", "graph")),
    ],
)
def test_only_what_is_needed_is_started(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], module: Any, names: tuple[str, ...]
) -> None:
    started: list[Any] = []

    async def make(given: argparse.Namespace, order: Any, files: Any, names: Any) -> None:
        started.append(names)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "make", make)
    assert cli.main(arguments) == cli.EXIT_CANCELLED
    assert started == [names]
