import argparse
import json
from math import inf
from pathlib import Path
from typing import Any

import pytest

from kino import cli, cli_sound
from kino.cli_view import describe_sound
from kino.client_async import AsyncKino, Sound
from kino.media import write_video
from kino.v1.audio_pb2 import SoundFigures
from kino.v1.graph_pb2 import Artifact, Generation, Stage
from tests.kino.clips import noise

FIGURES = SoundFigures(samples=96_000, loudness_lufs=-23, true_peak_dbtp=-4.06)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "clip.mov", noise(4, 16, 16), 16, "h264")
    write_video(tmp_path / "still.mp4", noise(1, 16, 16), 16, "h264")
    (tmp_path / "text.mp4").write_text("no film")
    return tmp_path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the graph is asked for; it answers at once."""
    orders: list[dict[str, Any]] = []
    generation = Generation(id="g1", seed=9, artifacts=[Artifact(sound=FIGURES)], stages=[Stage(name="sound", of=6)])

    async def answer(self: AsyncKino, *given: Any, fresh: bool, on_change: Any, **options: Any) -> Sound:
        orders.append({"given": given, **options})
        return Sound(generation, b"the file")

    monkeypatch.setattr(AsyncKino, "sound", answer)
    monkeypatch.setattr(AsyncKino, "add_sound", answer)
    return orders


def test_a_video_gets_its_sound(asked: list[dict[str, Any]], folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["sound", "clip.mov", "--music", "piano", "--address", "a:1", "--json"]) == 0
    assert asked == [{"given": (Path("clip.mov"), "video/quicktime"), "music": "piano"}]
    assert (folder / "clip-sound.mp4").read_bytes() == b"the file"
    told = json.loads(capsys.readouterr().out)
    assert (told["film"], told["seed"], told["figures"]["samples"]) == ("clip-sound.mp4", 9, "96000")
    assert told["command"].endswith("sound clip.mov --music piano --seed 9 --address a:1 --out clip-sound.mp4")


@pytest.mark.parametrize(("out", "form"), [(None, "wav"), ("a.flac", "flac"), ("b.M4A", "m4a")])
def test_words_become_a_sound_of_the_form_that_the_name_says(
    asked: list[dict[str, Any]], folder: Path, capsys: pytest.CaptureFixture[str], out: str | None, form: str
) -> None:
    flags = ["-o", out] if out else []
    assert cli.main(["sound", "--prompt", "a bell", "--seconds", "3", "--steps", "5", "--address", "a:1", *flags]) == 0
    assert asked == [{"given": (), "description": "a bell", "seconds": 3.0, "steps": 5, "form": form}]
    assert (folder / (out or "sound.wav")).read_bytes() == b"the file"
    assert "heard   2.00 s, -23.0 LUFS, peak -4.1 dBTP" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "VIDEO is '', must be given, or --prompt or --music in its place"),
        (["none.mp4"], "VIDEO is 'none.mp4', must be a file that exists"),
        (["text.mp4"], "VIDEO is 'text.mp4': video is unreadable"),
        (["still.mp4"], "VIDEO is 'still.mp4', must be a video of at least 2 frames"),
        (["clip.mov", "--seconds", "2"], "--seconds is 2.0, must be left out where a video says how long it is"),
        (["clip.mov", "-o", "clip.mov"], "--out is 'clip.mov', must be another name: clip.mov is given"),
        (["clip.mov", "-o", "a.wav"], "--out is 'a.wav', must be a name that ends in .mp4"),
        (["--prompt", "a bell", "-o", "a.mp3"], "--out is 'a.mp3', must be a name that ends in .wav, .flac, .m4a"),
        (["--prompt", "a bell", "-o", "none/a.wav"], "--out is 'none/a.wav', must be in a folder that exists"),
        (["--prompt", " "], "--prompt is"),
        (["--prompt", "a bell", "--seconds", "601"], "--seconds is 601.0, must be from 0.1 to 600"),
        (["--music", "\x07"], "--music is"),
        (["clip.mov", "--guidance", "nan"], "--guidance is nan, must be from 1 to 30"),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_starts(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["sound", *arguments]) == cli.EXIT_BAD_INPUT
    assert message in capsys.readouterr().err


def test_silence_is_said() -> None:
    assert describe_sound(SoundFigures(samples=48_000, loudness_lufs=-inf, silent=True)).startswith("1.00 s of silence")


def test_only_what_the_sound_needs_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Any] = []

    async def make(given: argparse.Namespace, order: Any, files: Any, names: Any) -> None:
        started.append(names)
        raise KeyboardInterrupt

    monkeypatch.setattr(cli_sound, "make", make)
    assert cli.main(["sound", "--prompt", "a bell"]) == cli.EXIT_CANCELLED
    assert started == [("audio", "graph")]
