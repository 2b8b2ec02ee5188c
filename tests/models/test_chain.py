"""One pipeline of a client's own through every service of the shipped weights: made, edited, heard, in full HD."""

import runpy
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from kino.client import Kino
from kino.footage import probe, read_video
from kino.loudness import TARGET_LUFS, loudness
from kino.media import VideoInfo
from kino.sound import read_sound
from kino.v1.graph_pb2 import Generation
from training.world.judge import judge

CHAIN = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "chain.py"))["chain"]


@pytest.fixture(scope="module")
def made(kino: Kino) -> Generation:
    limits = kino.generator.describe().limits
    order = CHAIN("a green cat moves left in the snow", "make the cat orange", limits)
    return kino.generations.run(order.spec())


@pytest.fixture(scope="module")
def film(kino: Kino, made: Generation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chain") / "film.mp4"
    path.write_bytes(kino.artifacts.of(made, "film"))
    return path


def test_length_size_rate_and_sound_are_exact(film: Path) -> None:
    assert probe(film) == VideoInfo(32, Fraction(16), 1080, 1080, "h264", 1)
    sound = read_sound(film)
    assert sound.shape == (2, 96_000)
    assert abs(loudness(sound.mean(axis=0)) - TARGET_LUFS) < 1


def test_the_edit_is_seen_in_full_hd_and_the_rest_stays(film: Path) -> None:
    frames, fps = read_video(film)
    small = frames.reshape(32, 90, 12, 90, 12, 3).mean(axis=(2, 4)).round().astype(np.uint8)
    shown = judge(small, float(fps))
    assert (shown.object, shown.colour, shown.motion, shown.place) == ("cat", "orange", "moves left", "snow")
