import argparse
import json
from pathlib import Path
from typing import Any

import pytest

from kino import cli, cli_film, cli_upscale
from kino.client import upscale_video
from kino.client_async import AsyncKino, Film
from kino.client_specs import text_to_video
from kino.errors import InvalidArgumentError
from kino.media import write_video
from kino.v1 import graph_pb2
from kino.v1.graph_pb2 import Artifact, Generation, Stage
from tests.kino.clips import noise

GENERATION = Generation(id="g1", seed=9, artifacts=[Artifact(name="film")], stages=[Stage(name="upsample", of=6)])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "clip.mov", noise(4, 36, 64), 16, "h264")
    write_video(tmp_path / "tiny.mkv", noise(1, 1, 1), 16, "ffv1")
    write_video(tmp_path / "large.mp4", noise(1, 1080, 1440), 16, "h264")
    (tmp_path / "text.mp4").write_text("no film")
    return tmp_path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What the graph is asked for; it answers at once."""
    orders: list[dict[str, Any]] = []

    async def answer(self: AsyncKino, *given: Any, fresh: bool, on_change: Any, **options: Any) -> Film:
        orders.append({"given": given, **options})
        return Film(GENERATION, b"the film", b"the sheet")

    monkeypatch.setattr(AsyncKino, "upscale", answer)
    monkeypatch.setattr(AsyncKino, "film", answer)
    return orders


def test_a_video_is_brought_to_full_hd(
    asked: list[dict[str, Any]], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["upscale", "clip.mov", "--steps", "2", "--address", "a:1"]) == 0
    assert asked == [{"given": (Path("clip.mov"), "video/quicktime"), "steps": 2}]
    assert (folder / "clip-hd.mp4").read_bytes() == b"the film"
    assert (folder / "clip-hd.png").read_bytes() == b"the sheet"
    shown = capsys.readouterr().out
    assert "1920x1080" in shown
    assert "none, as before" in shown
    assert "upscale clip.mov --seed 9 --steps 2 --address a:1" in shown


def test_scripts_get_json(asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["upscale", "clip.mov", "--json", "--address", "a:1", "-o", "b.mp4"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["film"], told["contact_sheet"], told["size"], told["seed"]) == ("b.mp4", "b.png", [1920, 1080], 9)


def test_a_film_is_asked_for_in_full_hd(asked: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["film", "a ball", "--quality", "hd", "--no-sound", "--address", "a:1"]) == 0
    assert asked == [{"given": ("a ball",), "silent": True, "quality": "hd"}]
    assert "--quality hd" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["upscale", "none.mp4"], "VIDEO is 'none.mp4', must be a file that exists"),
        (["upscale", "text.mp4"], "VIDEO is 'text.mp4': video is unreadable"),
        (["upscale", "tiny.mkv"], "VIDEO is 1x1, must be a video of at least 16 pixels a side"),
        (["upscale", "large.mp4"], "VIDEO is 1440x1080, must be smaller than full HD, 1440x1080"),
        (["upscale", "clip.mov", "--steps", "51"], "--steps is 51, must be from 1 to 50"),
        (["upscale", "clip.mov", "-o", "clip.mov"], "--out is 'clip.mov', must be another name: clip.mov is given"),
        (["film", "a ball", "--quality", "best"], "--quality is 'best', must be one of standard, hd"),
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
        (["upscale", "clip.mov"], cli_upscale, ("upsampler", "graph")),
        (
            ["film", "a ball", "--no-sound", "--quality", "hd"],
            cli_film,
            ("rewriter", "encoder", "generator", "tae", "graph", "upsampler"),
        ),
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


def test_orders_say_what_was_asked() -> None:
    spec = upscale_video("store://a", "video/mp4", seed=3, steps=2).upscale_video
    assert (spec.video.uri, spec.seed, spec.steps) == ("store://a", 3, 2)
    assert text_to_video("a ball", quality="hd").text_to_video.quality == graph_pb2.QUALITY_HD
    with pytest.raises(InvalidArgumentError, match="quality is 'full'"):
        text_to_video("a ball", quality="full")
