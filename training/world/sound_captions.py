"""Sentences that say what is heard in a scene: effects, ambience and music in the scheme of audio captions."""

import numpy as np

from kino.sound_prompts import sound_prompt
from training.world.events import Event, events, intervals
from training.world.scene import Scene

MATERIAL_WORDS: dict[str, tuple[str, ...]] = {
    "grass": ("grass", "soft grass"),
    "snow": ("snow", "crunchy snow"),
    "sand": ("sand", "dry sand"),
    "earth": ("earth", "soft earth"),
    "stone": ("stone", "hard stone", "pavement"),
    "wood": ("wood", "a wooden floor"),
}
EVENT_WORDS: dict[str, tuple[str, ...]] = {
    "bounce": ("a {object} bounces on {material}", "bounces of a {object} on {material}", "rubbery hits on {material}"),
    "splash": ("a {object} splashes in water", "splashes of water", "something plunges into water"),
    "thud": ("a {object} lands on {material} with a thud", "a heavy thud on {material}", "a dull impact on {material}"),
    "bell": ("a bell rings", "a bell tolls", "the ring of a bell"),
    "whoosh": ("a whoosh as a {object} takes off", "a whoosh of air", "air rushes upward"),
    "step": ("footsteps on {material}", "steps on {material}", "a {object} walks on {material}"),
}
ENGINE_WORDS: dict[str, tuple[str, ...]] = {
    "car": ("a car engine runs", "the hum of a car engine", "a car drives by"),
    "boat": ("a boat engine runs", "the putter of a boat engine", "a motor boat goes by"),
    "rocket": ("a rocket engine roars", "the roar of a rocket", "a rocket flies by"),
}
AMBIENCE_WORDS: dict[str, tuple[str, ...]] = {
    "meadow": ("a breeze and larks", "birds twitter in a light breeze", "birdsong over a meadow"),
    "snow": ("a whistling winter wind", "cold wind whistles", "wind over snow"),
    "desert": ("a dry desert wind", "wind hisses over sand", "moaning wind and blowing sand"),
    "beach": ("waves on a beach", "the surf of the sea", "sea waves roll in"),
    "forest": ("rustling leaves and forest birds", "leaves rustle, a bird calls", "the sound of the woods"),
    "city": ("city traffic far away", "the hum of a city", "distant traffic"),
    "night": ("crickets at night", "chirping crickets", "crickets in the quiet of the night"),
    "room": ("the quiet tone of a room", "a quiet room", "faint room tone"),
}
MUSIC_WORDS: dict[str, tuple[str, ...]] = {
    "happy": ("happy music", "cheerful bright music with quick notes", "a joyful tune in major"),
    "calm": ("calm music", "slow peaceful chords", "gentle relaxing music"),
    "sad": ("sad music", "slow melancholy chords in minor", "sorrowful music"),
    "tense": ("tense music", "dark dissonant chords", "suspenseful music"),
}


def sound_caption(
    scene: Scene,
    seconds: float,
    rng: np.random.Generator | None = None,
    mood: str | None = None,
    quality: float | None = None,
) -> str:
    """What is heard in the first `seconds` of a scene, as the four fields of `kino.sound_prompts.sound_prompt`.

    Args:
        rng: draws one of several ways to say it; without it the plainest is taken.
        mood: of the music, one of music.MOODS; none for no music.
        quality: stated quality; by default as `sound_prompt`.
    """
    return sound_prompt(description(scene, seconds, rng), music_words(mood, rng), quality)


def music_words(mood: str | None, rng: np.random.Generator | None = None) -> str:
    """The music of a mood in words, "" for no music."""
    return _pick(MUSIC_WORDS[mood], rng) if mood else ""


def description(scene: Scene, seconds: float, rng: np.random.Generator | None = None) -> str:
    """The effects and then the ambience of a scene, for example "a ball bounces on wood, the quiet tone of a room"."""
    parts = [_pick(ENGINE_WORDS[scene.object], rng) for _ in intervals(scene, seconds)]
    heard: dict[str, Event] = {}
    for event in events(scene, seconds):
        heard.setdefault(event.kind, event)
    for kind, event in heard.items():
        material = _pick(MATERIAL_WORDS[event.material], rng) if event.material in MATERIAL_WORDS else ""
        parts.append(_pick(EVENT_WORDS[kind], rng).format(object=scene.object, material=material))
    return ", ".join([*parts, _pick(AMBIENCE_WORDS[scene.place], rng)])


def _pick(options: tuple[str, ...], rng: np.random.Generator | None) -> str:
    return options[int(rng.integers(len(options)))] if rng is not None else options[0]
