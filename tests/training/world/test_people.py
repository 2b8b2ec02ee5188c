from collections import Counter
from itertools import combinations

import numpy as np
import pytest

from kino.shapes import Grid
from training.world.people import (
    face,
    face_share,
    held_out_actions,
    held_out_identities,
    identities,
    nameless,
    sample_person,
    told,
    train_identities,
)
from training.world.render import render
from training.world.scene import COLOURS, HAIR_COLOURS, HAIR_CUTS, MOTIONS, SKINS, Identity, Scene


def looks(identity: Identity) -> tuple[str, str, str]:
    return identity.skin, identity.hair, identity.cut


def test_twenty_people_are_held_out_and_every_look_and_pair_of_looks_is_trained() -> None:
    held_out = held_out_identities()
    assert len(set(held_out)) == 20
    assert len(identities()) == 64
    assert set(train_identities()) == set(identities()) - set(held_out)
    for first, second in combinations(range(3), 2):
        pairs = Counter((looks(who)[first], looks(who)[second]) for who in train_identities())
        assert len(pairs) == 16, "every pair of looks is seen"
    apart = [sum(a != b for a, b in zip(looks(x), looks(y), strict=True)) for x, y in combinations(held_out[:16], 2)]
    assert min(apart) == 2
    for values, index in ((SKINS, 0), (HAIR_COLOURS, 1), (HAIR_CUTS, 2)):
        assert {looks(who)[index] for who in held_out} == set(values)


def test_held_out_actions_have_every_colour_and_moving_motion_once() -> None:
    colours, motions = zip(*held_out_actions(), strict=True)
    assert sorted(colours) == sorted(COLOURS)
    assert set(motions) == set(MOTIONS) - {"stays still"}


def test_training_shows_neither_held_out_people_nor_their_actions() -> None:
    scenes = [sample_person(0, index) for index in range(600)]
    assert {scene.identity for scene in scenes} == set(train_identities())
    assert not {(scene.colour, scene.motion) for scene in scenes} & set(held_out_actions())
    assert scenes[17] == sample_person(0, 17)


def test_the_held_out_list_shows_each_person_as_often() -> None:
    scenes = [sample_person(1, index, "held_out") for index in range(40)]
    assert Counter(scene.identity for scene in scenes) == dict.fromkeys(held_out_identities(), 2)
    assert {(scene.colour, scene.motion) for scene in scenes} <= set(held_out_actions())


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="split is 'test'; must be train or held_out"):
        sample_person(0, 0, "test")  # type: ignore[arg-type]


def test_sentences_tell_everything_but_who_it_is() -> None:
    scene = Scene("person", "orange", "spins", "snow", "zooms in", identity=Identity("tan", "blond", "curly"))
    assert nameless(scene) == "a person in an orange dress spins in the snow, the camera zooms in"
    for seed in range(60):
        sentence = told(scene, np.random.default_rng(seed))
        assert not {"tan", "blond", "curly", "skin", "hair"} & set(sentence.replace(",", "").split())
        assert "zoom" in sentence


@pytest.mark.parametrize("motion", ["moves left", "spins", "grows", "falls"])
def test_the_face_is_where_it_is_drawn(motion: str) -> None:
    """A person of dark skin differs from one of pale skin most at the face, whatever the motion."""
    pale, dark = (
        Scene("person", "red", motion, "snow", "zooms in", identity=Identity(skin, "black", "short"), seed=5)
        for skin in ("pale", "dark")
    )
    seconds = 0.7
    frames = [render(scene, 1, 96, 96, 16, seconds)[0].astype(int) for scene in (pale, dark)]
    changed = np.abs(frames[0] - frames[1]).sum(-1) > 30
    where = face(pale, seconds, 96, 96)
    y, x = np.mgrid[:96, :96] + 0.5
    inside = (np.abs(x - where.x) < where.reach) & (np.abs(y - where.y) < where.reach)
    assert changed[inside].sum() > 0.5 * changed.sum()
    middle = (np.abs(x - where.x) < 0.3 * where.reach) & (np.abs(y - where.y) < 0.3 * where.reach)
    assert changed[middle].mean() > 0.6


def test_the_share_of_a_face_lies_about_its_middle() -> None:
    scene = Scene("person", "red", "stays still", "room", identity=Identity("tan", "black", "bun"), seed=1)
    share = face_share(scene, 0.0, 16, 32, Grid(4, 12, 12), 96)
    where = face(scene, 0.0, 96, 96)
    assert share.shape == (4, 12, 12)
    assert share[0, int(where.y / 8), int(where.x / 8)] == 1.0
    assert share.max() == 1.0
    area = np.pi * (0.85 * where.reach / 8) ** 2
    assert share[0].sum() == pytest.approx(area, rel=0.2)
