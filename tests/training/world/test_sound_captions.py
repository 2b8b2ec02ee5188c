import numpy as np

from kino.sound_prompts import sound_prompt
from training.world.events import MATERIALS, events, intervals
from training.world.music import MOODS
from training.world.scene import PLACES, RICH, Scene, sample
from training.world.sound_captions import (
    AMBIENCE_WORDS,
    ENGINE_WORDS,
    EVENT_WORDS,
    MATERIAL_WORDS,
    MUSIC_WORDS,
    description,
    sound_caption,
)


def test_plain_descriptions() -> None:
    assert description(Scene("ball", "red", "bounces", "room"), 2.0) == (
        "a ball bounces on wood, the quiet tone of a room"
    )
    assert description(Scene("boat", "red", "moves left", "beach"), 2.0) == "a boat engine runs, waves on a beach"
    assert description(Scene("cat", "red", "stays still", "night"), 2.0) == "crickets at night"


def test_only_what_is_heard_in_time_is_said() -> None:
    falling = Scene("star", "red", "falls", "snow")
    assert description(falling, 2.0) == "a whistling winter wind"
    assert description(falling, 2.5) == "a star lands on snow with a thud, a whistling winter wind"


def test_captions_use_the_shared_scheme() -> None:
    scene = Scene("heart", "red", "rises", "city")
    sound = "a whoosh as a heart takes off, city traffic far away"
    assert sound_caption(scene, 2.0) == sound_prompt(sound)
    assert sound_caption(scene, 2.0, mood="sad", quality=6.5) == sound_prompt(sound, "sad music", 6.5)


def test_every_draw_names_the_effect_and_the_place() -> None:
    rng = np.random.default_rng(0)
    for index in range(200):
        scene = sample(3, index, mixture=RICH)
        text = description(scene, 4.0, rng)
        assert any(text.endswith(words) for words in AMBIENCE_WORDS[scene.place])
        for event in events(scene, 4.0):
            ways = [words.split("{")[0].strip() for words in EVENT_WORDS[event.kind]]
            assert any(way in text for way in ways)
            if event.kind in ("bounce", "thud", "step"):
                assert any(words in text for words in MATERIAL_WORDS[event.material])
        if intervals(scene, 4.0):
            assert any(words in text for words in ENGINE_WORDS[scene.object])


def test_every_place_material_and_mood_has_words() -> None:
    assert set(AMBIENCE_WORDS) == set(PLACES)
    assert set(MATERIAL_WORDS) == set(MATERIALS.values())
    assert set(MUSIC_WORDS) == set(MOODS)
