from pathlib import Path

import numpy as np
import pytest
import torch

from kino.registry import Registry
from training.adherence import renders
from training.likeness import CLIP, Eye, measure, reference, save_pictures
from training.people import open_identity
from training.published import MODELS
from training.world.people import held_out_identities, sample_person
from training.world.render import render


@pytest.fixture(scope="module")
def eye() -> Eye:
    return Eye(open_identity("mini", Registry(MODELS))[0])


def test_true_films_are_of_their_person_and_those_of_others_are_not(eye: Eye) -> None:
    scenes = [sample_person(9, index, "held_out") for index in range(3)]
    rates = measure(scenes, renders(scenes, CLIP), eye)
    assert {name: rate.right for name, rate in rates.items()} == dict.fromkeys(rates, 3)
    others = measure(scenes, renders([*scenes[1:], scenes[0]], CLIP), eye)
    assert others["person"].right == 0
    assert others["face"].right == 3


def test_a_film_of_nobody_is_like_nobody(eye: Eye) -> None:
    assert eye.nearest(np.full((8, 96, 96, 3), 200, np.uint8)) is None


def test_the_reference_is_a_picture_that_the_finder_takes(eye: Eye) -> None:
    scene = sample_person(9, 5, "held_out")
    picture, tokens, refused = reference(scene, 5, eye)
    assert refused >= 0
    found = eye.tokens(picture)
    assert found is not None
    assert torch.equal(found, tokens)
    assert held_out_identities()[eye.nearest(picture[None].repeat(2, 0)) or 0] == scene.identity


def test_pictures_are_written_beside_four_frames(tmp_path: Path) -> None:
    scene = sample_person(9, 0, "held_out")
    frames = render(scene, 8, 96, 96)
    passed = list(save_pictures(tmp_path / "shown", [frames[0]], iter([frames])))
    np.testing.assert_array_equal(passed[0], frames)
    assert [path.name for path in (tmp_path / "shown").iterdir()] == ["000.png"]
