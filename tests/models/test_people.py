"""Films of people of the shipped weights, by portraits and free sentences through every service."""

from pathlib import Path

import numpy as np
import pytest

from kino.client import Kino
from kino.errors import InvalidArgumentError
from kino.footage import read_video
from kino.images import encode_png
from kino.registry import Registry
from training.likeness import Eye
from training.people import open_identity
from training.published import MODELS
from training.world.judge import judge
from training.world.people import held_out_identities, identities
from training.world.portraits import portrait

SENTENCES = (
    ("she walks to the right through the snow in a red dress", "moves right", "snow", "red"),
    ("a woman in a blue outfit jumps again and again in the city", "bounces", "city", "blue"),
    ("he floats up in a green dress on the beach", "rises", "beach", "green"),
    ("the person stands still in a forest in a purple dress", "stays still", "forest", "purple"),
)


def picture(*people: int) -> bytes:
    """A portrait of these people, by their numbers among the held-out ones."""
    shown = tuple(held_out_identities()[number] for number in people)
    return encode_png(portrait(shown, np.random.default_rng(sum(people)), 160, 160)[0])


def test_films_show_the_person_and_what_was_said(kino: Kino, tmp_path: Path) -> None:
    eye = Eye(open_identity("mini", Registry(MODELS))[0])
    likeness, said = 0, 0
    for number in range(20):
        sentence, motion, place, colour = SENTENCES[number % len(SENTENCES)]
        made = kino.personalize(picture(number), sentence, seed=number, silent=True)
        path = tmp_path / "film.mp4"
        path.write_bytes(made.video)
        frames, fps = read_video(path)
        likeness += eye.nearest(frames) == number
        verdict = judge(frames, float(fps), person=True)
        said += (verdict.motion, verdict.place, verdict.colour) == (motion, place, colour)
    assert likeness >= 14
    assert said >= 16


def test_pictures_of_nobody_and_of_two_are_refused(kino: Kino) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 96, 3)).astype(np.uint8)
    for image, told in ((encode_png(noise), "of nobody"), (picture(1, 6), "of 2 people")):
        with pytest.raises(InvalidArgumentError, match=f"image is a picture {told}") as refused:
            kino.personalizer.identify(image)
        assert refused.value.field == "image"


def test_everybody_is_found_in_portraits(kino: Kino) -> None:
    found = 0
    for number, who in enumerate(identities()):
        drawn, faces = portrait((who,), np.random.default_rng(number), 160, 160)
        try:
            answer = kino.personalizer.identify(encode_png(drawn))
        except InvalidArgumentError:
            continue
        found += abs(answer.face.x - faces[0].x) < 0.3 * faces[0].reach
    assert found >= 58
