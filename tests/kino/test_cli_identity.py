import argparse
from pathlib import Path
from typing import Any

import pytest

from kino import cli, cli_film
from kino.client_async import AsyncKino, Film
from kino.images import encode_png
from kino.v1.audio_pb2 import SoundFigures
from kino.v1.graph_pb2 import Artifact, Generation
from tests.kino.clips import noise

FIGURES = SoundFigures(samples=96_000, loudness_lufs=-23, true_peak_dbtp=-4.06)
GENERATION = Generation(id="g1", seed=9, artifacts=[Artifact(name="film", sound=FIGURES)])
WALK = "she walks through the snow"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "face.png").write_bytes(encode_png(noise(1, 20, 30)[0]))
    (tmp_path / "text.png").write_text("no picture")
    return tmp_path


def test_a_film_is_of_the_person_of_a_picture(
    monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[dict[str, Any]] = []

    async def answer(self: AsyncKino, *given: Any, fresh: bool, on_change: Any, **options: Any) -> Film:
        asked.append({"given": given, **options})
        return Film(GENERATION, b"the film", b"the sheet")

    monkeypatch.setattr(AsyncKino, "personalize", answer)
    assert cli.main(["film", "--identity", "face.png", WALK, "--aspect", "16:9", "--address", "a:1"]) == 0
    assert asked == [{"given": (Path("face.png"), WALK, "image/png"), "aspect": "16:9"}]
    assert (folder / "film.mp4").read_bytes() == b"the film"
    assert (folder / "film.png").read_bytes() == b"the sheet"
    shown = capsys.readouterr().out
    assert f"film --aspect 16:9 --seed 9 --identity face.png --address a:1 --out film.mp4 '{WALK}'" in shown


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--identity", "none.png"], "--identity is 'none.png', must be a file that exists"),
        (["--identity", "text.png"], "--identity is 'text.png': image is unreadable"),
        (["--identity", "face.png", "--image", "face.png"], "--identity is 'face.png', must be left out where"),
        (["--identity", "face.png", "--out", "face.mp4"], "face.png is given, and would be written over"),
        (["--identity", "face.png", "--seconds", "99"], "--seconds is 99.0, must be from"),
        (["--identity", "face.png", "--aspect", "5:4"], "--aspect is '5:4', must be one of"),
        (["--identity", "face.png", "--steps", "0"], "--steps is 0, must be from 1 to 1000"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_starts(
    flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["film", WALK, *flags]) == cli.EXIT_BAD_INPUT
    assert message in capsys.readouterr().err


def test_only_what_is_needed_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []

    async def make(given: argparse.Namespace, order: Any, files: Any, names: Any) -> None:
        started.append(names)
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_film, "make", make)
    assert cli.main(["film", WALK, "--identity", "face.png"]) == cli.EXIT_CANCELLED
    assert cli.main(["film", WALK, "--identity", "face.png", "--no-sound"]) == cli.EXIT_CANCELLED
    silent = ("rewriter", "encoder", "personalizer", "tae", "graph")
    assert started == [(*silent, "audio"), silent]
