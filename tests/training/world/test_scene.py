from collections import Counter

import pytest

from training.world.scene import (
    CAMERAS,
    CHARACTERS,
    COLOURS,
    MOTIONS,
    OBJECTS,
    PLACES,
    RICH,
    TILTS,
    Identity,
    Mixture,
    Scene,
    facts,
    held_out,
    sample,
)


def test_held_out_triples_are_balanced() -> None:
    triples = held_out()
    assert len(set(triples)) == len(triples) == 80
    assert Counter(name for name, _, _ in triples) == dict.fromkeys(OBJECTS, 8)
    assert Counter(colour for _, colour, _ in triples) == dict.fromkeys(COLOURS, 10)
    assert Counter(motion for _, _, motion in triples) == dict.fromkeys(MOTIONS[:8], 10)


def test_training_never_shows_a_held_out_triple() -> None:
    excluded = set(held_out())
    scenes = [sample(0, index) for index in range(3000)]
    assert not excluded & {(scene.object, scene.colour, scene.motion) for scene in scenes}
    assert {scene.object for scene in scenes} == set(OBJECTS)
    assert {scene.motion for scene in scenes} == set(MOTIONS)
    assert {scene.place for scene in scenes} == set(PLACES)
    assert {scene.camera for scene in scenes} == set(CAMERAS)


@pytest.mark.parametrize("block", [0, 3])
def test_eighty_held_out_scenes_visit_every_triple_once(block: int) -> None:
    scenes = [sample(5, index, "held_out") for index in range(80 * block, 80 * block + 80)]
    assert sorted((scene.object, scene.colour, scene.motion) for scene in scenes) == sorted(held_out())


def test_a_scene_depends_on_seed_and_index_only() -> None:
    assert sample(1, 2) == sample(1, 2)
    assert sample(1, 2) != sample(1, 3)
    assert sample(1, 2) != sample(2, 2)


def test_ambiguous_cameras_are_never_sampled() -> None:
    mixture = Mixture(pan=0.0, zoom=0.5, tilt=0.5)
    for index in range(500):
        scene = sample(0, index, mixture=mixture)
        assert not (scene.camera.startswith("zooms") and scene.motion in ("grows", "shrinks"))
        assert not (scene.camera.startswith("tilts") and scene.motion in ("rises", "falls"))


def test_the_camera_rests_in_about_half_of_the_plain_scenes() -> None:
    rest = sum(sample(0, index).camera == "still" for index in range(2000)) / 2000
    assert 0.44 < rest < 0.54


def test_a_rich_world_has_everything() -> None:
    scenes = [sample(0, index, mixture=RICH) for index in range(600)]
    assert any(scene.second for scene in scenes)
    assert any(scene.sign for scene in scenes)
    assert any(scene.identity for scene in scenes)
    assert {scene.camera for scene in scenes} == set(CAMERAS + TILTS)
    assert {scene.style for scene in scenes} == {"plain", "sketch", "vintage", "dusk"}
    assert all((scene.object == "person") == (scene.identity is not None) for scene in scenes)


def test_facts_are_class_numbers() -> None:
    scene = Scene("fish", "pink", "stays still", "room", "tilts down")
    assert facts(scene) == {"object": 5, "colour": 7, "motion": 8, "place": 7, "camera": 6}


def test_a_person_has_its_own_class() -> None:
    scene = Scene("person", "red", "spins", "night", identity=Identity("tan", "black", "bun"))
    assert facts(scene)["object"] == len(OBJECTS) == (OBJECTS + CHARACTERS).index("person")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"object": "elephant"}, "object is 'elephant'; must be one of ball"),
        ({"colour": "mauve"}, "colour is 'mauve'"),
        ({"camera": "rolls"}, "camera is 'rolls'"),
        ({"sign": "TOO LONG!"}, "sign is 'TOO LONG!'; must be 1 to 8 letters"),
        ({"object": "person"}, "identity is None"),
    ],
)
def test_words_outside_the_world_are_refused(change: dict[str, str], message: str) -> None:
    words = {"object": "ball", "colour": "red", "motion": "spins", "place": "room"} | change
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        Scene(**words)  # type: ignore[arg-type]


def test_an_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="split is 'test'"):
        sample(0, 0, "test")  # type: ignore[arg-type]
