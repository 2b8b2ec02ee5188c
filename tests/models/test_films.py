"""Films and sounds of the shipped weights, by free sentences through every service, as untaught judges read them."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest

from kino.client import Kino
from kino.footage import read_video
from kino.images import decode_image, encode_png
from kino.media import write_video
from kino.sound import read_sound
from training.world.captions import caption
from training.world.events import events
from training.world.hearing import hear
from training.world.hearing_tally import matched
from training.world.judge import judge
from training.world.render import render
from training.world.scene import Scene, sample
from training.world.verdict import Tally

SCENES = [sample(3, index, "held_out") for index in range(16)]


def told(scene: Scene, seed: int) -> str:
    """A free sentence about a scene."""
    return caption(scene, np.random.default_rng(seed), "sentence")


@pytest.fixture(scope="module")
def films(kino: Kino, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("films")
    paths = [folder / f"{index}.mp4" for index in range(len(SCENES))]
    for index, (scene, path) in enumerate(zip(SCENES, paths, strict=True)):
        path.write_bytes(kino.film(told(scene, index), seed=index).video)
    return paths


def test_films_show_what_sentences_said(films: list[Path]) -> None:
    tally = Tally()
    for scene, path in zip(SCENES, films, strict=True):
        frames, fps = read_video(path)
        assert frames.shape == (32, 96, 96, 3)
        tally.add(scene, judge(frames, float(fps)))
    right = {name: rate.right for name, rate in tally.rates().items()}
    assert right["colour"] >= 15
    assert right["place"] >= 15
    assert right["object"] >= 13
    assert right["motion"] >= 13
    assert right["camera"] >= 11


def test_bounces_of_a_clip_are_heard_when_they_are_seen(kino: Kino, tmp_path: Path) -> None:
    heard, happened = 0, 0
    for seed, name in enumerate(("ball", "fish", "cat", "heart")):
        scene = Scene(name, "blue", "bounces", "meadow", seed=seed)
        clip, film = tmp_path / f"{name}.mkv", tmp_path / f"{name}.mp4"
        write_video(clip, render(scene, 64, 96, 96, 16), 16, "ffv1")
        film.write_bytes(kino.add_sound(clip, "video/matroska", seed=seed).data)
        sound = read_sound(film)
        assert sound.shape == (2, 192_000)
        truth = [(event.seconds, event.kind, event.material) for event in events(scene, 4.0)]
        found = [(event.seconds, event.kind, event.material) for event in hear(sound.mean(axis=0)).events]
        happened += len(truth)
        heard += sum(event[1] == other[1] for event, other in matched(truth, found))
    assert happened >= 16
    assert heard >= 0.8 * happened


def test_a_silent_film_has_no_track_and_the_same_pictures(kino: Kino, films: list[Path], tmp_path: Path) -> None:
    silent = tmp_path / "silent.mp4"
    silent.write_bytes(kino.film(told(SCENES[0], 0), seed=0, silent=True).video)
    assert np.array_equal(read_video(silent)[0], read_video(films[0])[0])
    with pytest.raises(ValueError, match="sound is a file without sound"):
        read_sound(silent)


def test_a_picture_shows_its_colour_and_place(kino: Kino) -> None:
    picture = decode_image(kino.image("a red cube in the snow", seed=1).png)
    assert picture.shape == (96, 96, 3)
    shown = judge(np.repeat(picture[None], 16, axis=0), 16.0)
    assert (shown.object, shown.colour, shown.place) == ("cube", "red", "snow")


def test_films_of_pictures_show_what_sentences_leave_out(kino: Kino) -> None:
    tally = Tally()
    for index, scene in enumerate(SCENES):
        picture = encode_png(render(scene, 1, 96, 96, 16)[0])
        film = kino.animate(picture, f"it {scene.motion}", seed=index, silent=True)
        frames, fps = read_video(BytesIO(film.video))
        tally.add(scene, judge(frames, float(fps)))
    right = {name: rate.right for name, rate in tally.rates().items()}
    assert right["colour"] >= 14
    assert right["place"] >= 15
    assert right["object"] >= 9
    assert right["motion"] >= 14
