"""Films from the command line on random weights: the files play, and the same order gives the same bytes."""

import shlex
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from kino.footage import probe, read_video
from kino.images import decode_image
from kino.sound import read_sound
from tests.e2e.conftest import Finished, Served

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

ORDER = ("film", "a red ball bounces", "--seconds", "0.5", "--seed", "3", "--steps", "3", "--size", "48x32")
STAGES = ["rewrite", "encode", "generate", "decode", "sound", "export"]


def test_film_and_image_without_an_address(kino: Callable[..., Finished], tmp_path: Path, served: Served) -> None:
    """The command starts its own services; the film plays, and equals the one of services that run already."""
    done = kino(*ORDER, "--preset", "nano", "--data", "data", "--json")
    assert done.code == 0, done.err
    told = done.json
    assert (told["film"], told["contact_sheet"], told["seed"]) == ("film.mp4", "film.png", 3)
    assert [stage["name"] for stage in told["stages"]] == STAGES
    film = tmp_path / "film.mp4"
    info = probe(film)
    assert (info.num_frames, info.fps, info.height, info.width, info.codec) == (8, Fraction(16), 32, 48, "h264")
    assert read_sound(film).shape == (2, 24_000)
    assert told["figures"]["samples"] == "24000"
    frames, _ = read_video(film)
    assert frames.shape == (8, 32, 48, 3)
    assert frames.std() > 1  # random weights make noise, not one colour
    assert decode_image((tmp_path / "film.png").read_bytes()).shape[2] == 3
    assert [path.name for path in tmp_path.iterdir() if path.is_file() and path.name.startswith(".")] == []

    alone = film.read_bytes()
    again = shlex.split(str(told["command"]))
    assert again[0] == "kino"
    kept = [text for text in again[1:] if text not in ("--preset", "nano", "--data", "data")]
    repeated = kino(*kept, "--address", served.graph, "--fresh")
    assert repeated.code == 0, repeated.err
    assert film.read_bytes() == alone
    assert "again" in repeated.out
    assert repeated.err.splitlines()[0].startswith("rewrite")


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(
    kino: Callable[..., Finished], tmp_path: Path, served: Served
) -> None:
    films = []
    for seed in ("3", "3", "4"):
        order = [*ORDER, "--seed", seed, "--address", served.graph, "--fresh", "--out", "film.mp4"]
        done = kino(*order)
        assert done.code == 0, done.err
        films.append((tmp_path / "film.mp4").read_bytes())
    assert films[0] == films[1]
    assert films[0] != films[2]


def test_an_order_that_was_made_before_comes_from_the_store(kino: Callable[..., Finished], served: Served) -> None:
    own = ("film", "a green cone spins in the rain")  # no other test orders it of the services they share
    order = (*own, *ORDER[2:], "--seed", "5", "--address", served.graph, "--json")
    first, second = kino(*order), kino(*order)
    assert [stage["stored"] for stage in first.json["stages"]] == [False] * 6
    assert [stage["stored"] for stage in second.json["stages"]][2:5] == [True] * 3


def test_a_film_without_sound_has_no_track_and_says_so(
    kino: Callable[..., Finished], tmp_path: Path, served: Served
) -> None:
    done = kino(*ORDER, "--no-sound", "--address", served.graph)
    assert done.code == 0, done.err
    assert probe(tmp_path / "film.mp4").num_tracks == 0
    assert "left out, as --no-sound asks" in done.out
    assert "--no-sound" in done.out.splitlines()[-1]
    assert "sound" not in done.err


def test_image(kino: Callable[..., Finished], tmp_path: Path, served: Served) -> None:
    done = kino("image", "-", "--seed", "1", "--size", "48x32", "--address", served.graph, stdin=b"a blue star")
    assert done.code == 0, done.err
    assert decode_image((tmp_path / "image.png").read_bytes()).shape == (32, 48, 3)


def test_the_prompt_may_come_from_the_environment(kino: Callable[..., Finished], served: Served) -> None:
    done = kino("film", *ORDER[2:], "--address", served.graph, "--json", KINO_PROMPT="a green fish")
    assert done.code == 0, done.err
    assert done.json["prompt"] == "a green fish"


def test_a_folder_that_cannot_be_written_is_named(kino: Callable[..., Finished], tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    done = kino("film", "a ball", "--preset", "nano", "--data", "taken")
    assert done.code == 4
    assert "taken" in done.err
    assert "Traceback" not in done.err


def test_an_unknown_preset_is_refused_with_those_there_are(kino: Callable[..., Finished]) -> None:
    done = kino("film", "a ball", "--preset", "micro", "--data", "data")
    assert done.code == 2
    assert "'micro'" in done.err
    assert "nano" in done.err
