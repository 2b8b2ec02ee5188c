import numpy as np
import pytest

from training.world.damage import damage
from training.world.looks import person_pixels, read_looks
from training.world.motion import View
from training.world.people import face, sample_person
from training.world.render import empty_place, render


@pytest.mark.parametrize("blur", [0.0, 0.7])
def test_skin_and_hair_are_read_from_true_films(blur: float) -> None:
    for index in range(12):
        scene = sample_person(3, index, "held_out")
        assert scene.identity is not None
        spins = scene.motion == "spins"
        frames = render(scene, 3, 96, 96) if spins else render(scene, 8, 96, 96, fps=4)  # a spin begins upright
        frames = damage(frames, np.random.default_rng(index), blur, 0.0)
        assert read_looks(frames) == (scene.identity.skin, scene.identity.hair)


def test_an_empty_place_shows_nobody() -> None:
    frames = empty_place("snow", 1, View(), 96, 96)[None]
    assert read_looks(frames) is None
    assert person_pixels(frames) is None


def test_the_person_is_covered_and_the_rest_of_the_place_is_not() -> None:
    scene = sample_person(3, 0, "held_out")
    frames = render(scene, 4, 96, 96)
    covered = person_pixels(frames)
    assert covered is not None
    for index, mask in enumerate(covered):
        middle = face(scene, index / 16, 96, 96)
        assert mask[int(middle.y), int(np.clip(middle.x, 0, 95))] == 1.0
        assert 0.05 < mask.mean() < 0.6
