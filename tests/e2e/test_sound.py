"""Sound from the command line on random weights: of a video, of words, with services of its own and with a graph's."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kino.footage import probe
from kino.media import write_video
from kino.sound import read_sound
from tests.e2e.conftest import Finished, Served
from tests.kino.clips import noise

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

ORDER = ("sound", "--prompt", "a bell rings", "--seconds", "0.5", "--seed", "3", "--steps", "2")


def test_sound_without_an_address(kino: Callable[..., Finished], tmp_path: Path, served: Served) -> None:
    """The command starts what it needs and no more; what it makes equals the sound of services that run already."""
    done = kino(*ORDER, "--preset", "nano", "--data", "data", "--json", "-o", "alone.wav")
    assert done.code == 0, done.err
    told = done.json
    assert (told["sound"], told["seed"], told["figures"]["samples"]) == ("alone.wav", 3, "24000")
    assert [stage["name"] for stage in told["stages"]] == ["sound", "export"]
    assert read_sound(tmp_path / "alone.wav").shape == (2, 24_000)
    again = kino(*ORDER, "--address", served.graph, "--fresh", "-o", "again.wav")
    assert again.code == 0, again.err
    assert (tmp_path / "again.wav").read_bytes() == (tmp_path / "alone.wav").read_bytes()
    assert "LUFS" in again.out


def test_a_video_gets_its_sound_and_keeps_its_length(
    kino: Callable[..., Finished], tmp_path: Path, served: Served
) -> None:
    write_video(tmp_path / "clip.mp4", noise(33, 18, 22), 16, "h264")
    done = kino("sound", "clip.mp4", "--steps", "2", "--address", served.graph)
    assert done.code == 0, done.err
    film = tmp_path / "clip-sound.mp4"
    assert (probe(film).num_frames, probe(film).num_tracks) == (33, 1)
    assert read_sound(film).shape == (2, 99_000)


@pytest.mark.parametrize("what", ["text", "one frame"])
def test_a_file_that_gives_no_sound_is_bad_input(
    kino: Callable[..., Finished], tmp_path: Path, served: Served, what: str
) -> None:
    path = tmp_path / "clip.mp4"
    path.write_text("no video at all")
    if what == "one frame":
        write_video(path, noise(1, 16, 16), 16, "h264")
    done = kino("sound", "clip.mp4", "--address", served.graph)
    assert (done.code, "must be" in done.err) == (2, True)
    assert not (tmp_path / "clip-sound.mp4").exists()
