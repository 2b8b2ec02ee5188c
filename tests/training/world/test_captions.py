import re

import numpy as np
import pytest

from training.world.captions import CaptionStyle, canonical, caption, moving
from training.world.scene import RICH, Identity, Scene, Second, sample
from training.world.words import CAMERA_WORDS, COLOUR_WORDS, NOUNS, SETTINGS, VERBS, WHERE


def test_canonical_captions() -> None:
    scene = Scene("ball", "red", "bounces", "meadow", "pans left")
    assert canonical(scene) == "a red ball bounces in a meadow, the camera pans left"
    assert canonical(Scene("cat", "orange", "stays still", "night")) == "an orange cat stays still at night"
    rich = Scene(
        "person", "blue", "spins", "beach", sign="GO", style="sketch", identity=Identity("tan", "blond", "long"),
        second=Second("cube", "red", "left of"),
    )  # fmt: skip
    assert canonical(rich) == (
        "a person in a blue dress with tan skin and long blond hair spins left of a red cube on a beach, "
        'a sign says "GO", in sketch style'
    )


@pytest.mark.parametrize("style", ["any", "canonical", "sentence", "tags", "paragraph", "short"])
def test_captions_name_what_the_scene_shows(style: CaptionStyle) -> None:
    rng = np.random.default_rng(0)
    for index in range(200):
        scene = sample(2, index)
        text = caption(scene, rng, style).lower()
        assert any(noun in text for noun in NOUNS[scene.object])
        assert any(word in text for word in COLOUR_WORDS[scene.colour])
        assert any(verb in text for forms in VERBS[scene.motion] for verb in forms)
        if style in ("sentence", "tags", "paragraph"):
            ways = (*WHERE[scene.place], *SETTINGS[scene.place], scene.place)
            assert any(way in text for way in ways)
            if scene.camera != "still":
                assert any(words in text for forms in CAMERA_WORDS[scene.camera] for words in forms)


def test_rich_captions_name_the_rest() -> None:
    rng = np.random.default_rng(0)
    for index in range(200):
        scene = sample(2, index, mixture=RICH)
        text = caption(scene, rng, "sentence")
        if scene.sign is not None:
            assert f'"{scene.sign}"' in text
        if scene.second is not None:
            assert any(noun in text for noun in NOUNS[scene.second.object])
        if scene.identity is not None:
            assert f"{scene.identity.skin} skin" in text
            assert f"{scene.identity.hair} hair" in text


def test_captions_vary_in_words_and_length() -> None:
    rng = np.random.default_rng(0)
    texts = [caption(sample(0, index), rng) for index in range(2000)]
    lengths = [len(text.split()) for text in texts]
    assert min(lengths) <= 5
    assert max(lengths) >= 30
    words = {word for text in texts for word in re.findall(r"[a-z]+", text.lower())}
    assert 180 < len(words) < 400
    scene = sample(0, 0)
    assert len({caption(scene, rng) for _ in range(100)}) > 60


def test_a_caption_depends_on_the_generator_only() -> None:
    scene = sample(0, 1)
    assert caption(scene, np.random.default_rng(7)) == caption(scene, np.random.default_rng(7))


def test_articles_fit() -> None:
    rng = np.random.default_rng(0)
    for index in range(500):
        assert not re.search(r"\b(a [aeiou]|an [^aeiou])", caption(sample(4, index), rng).lower())


def test_an_unknown_style_is_refused() -> None:
    with pytest.raises(ValueError, match="style is 'haiku'; must be any, canonical"):
        caption(sample(0, 0), np.random.default_rng(0), "haiku")  # type: ignore[arg-type]


def test_of_a_picture_sentences_tell_what_happens_and_little_else() -> None:
    scene = next(scene for scene in (sample(0, index) for index in range(99)) if scene.camera == "pans left")
    rng = np.random.default_rng(0)
    told = [moving(scene, rng) for _ in range(200)]
    verbs = [scene.motion, *(verb for verb, _ in VERBS[scene.motion])]
    assert all(any(f" {verb}" in text for verb in verbs) for text in told)
    assert all(text.endswith(", the camera pans left") for text in told)
    assert 0.3 < np.mean([text.startswith("it ") for text in told]) < 0.5
    assert 0.2 < np.mean([scene.colour in text for text in told]) < 0.4
