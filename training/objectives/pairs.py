"""Pairs of what a person may type and the draft of what the world can show of it, made by rules."""

from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from kino.grammar import MAX_ASKED, Choice, words
from training.objectives.wishes import lists, plain_grammar, wordings
from training.world.captions import caption
from training.world.scene import sample

T = TypeVar("T")

SHARES = {
    "colour": (0.62, 0.1, 0.0, 0.0),
    "object": (0.68, 0.2, 0.08, 0.0),
    "motion": (0.5, 0.16, 0.02, 0.12),
    "place": (0.55, 0.16, 0.03, 0.0),
    "camera": (0.3, 0.08, 0.0, 0.0),
}
"""How often a slot is named, stood in for, named by a word that means nothing to us, or moves; else it is left open."""

NATURAL_MOTIONS: dict[str, tuple[str, ...]] = {
    "ball": ("bounces", "falls", "moves left", "moves right"),
    "cube": ("spins", "falls", "grows"),
    "star": ("spins", "falls", "rises", "grows"),
    "heart": ("grows", "rises", "bounces", "shrinks"),
    "cat": ("moves left", "moves right", "bounces", "stays still"),
    "fish": ("moves left", "moves right"),
    "car": ("moves left", "moves right"),
    "boat": ("moves left", "moves right"),
    "rocket": ("rises",),
    "robot": ("moves left", "moves right", "spins", "stays still"),
}
NATURAL_PLACES: dict[str, tuple[str, ...]] = {
    "boat": ("beach",),
    "fish": ("beach",),
    "star": ("night",),
    "rocket": ("night",),
    "car": ("city",),
}
NATURAL = {"motion": NATURAL_MOTIONS, "place": NATURAL_PLACES}
"""Which motions and places go with an object that is named alone."""

OPENINGS = (
    *("" for _ in range(12)),
    *("please make a video of", "can you show me", "i want to see", "make me a clip of", "hey, draw", "a film about"),
    *("video of", "generate", "show me", "i would like", "pls do", "create an animation with"),
)
CLOSINGS = (
    *("" for _ in range(14)),
    "!!",
    "!",
    "...",
    " please",
    " pls",
    " lol",
    " thanks",
    "?",
    " :)",
    " in 4k",
    " omg",
)
EXTRAS = (
    *(
        "with a hat",
        "wearing sunglasses",
        "with wings",
        "made of glass",
        "with a long tail",
        "on a sunny day",
        "in the rain",
    ),
    *(
        "at sunset",
        "with fireworks",
        "holding an umbrella",
        "and everyone cheers",
        "like in the movies",
        "very dramatic",
    ),
    *("with music", "in slow motion", "photorealistic", "cinematic lighting", "with green eyes", "under a blue sky"),
)
SYLLABLES = (
    "ba",
    "zo",
    "ki",
    "tru",
    "mel",
    "gor",
    "pli",
    "nax",
    "hip",
    "po",
    "ta",
    "mus",
    "ver",
    "lo",
    "ran",
    "sti",
    "quo",
    "fle",
)


@dataclass
class Wish:
    """A prompt in the making: a phrase for each slot that is named, and the choice that answers it."""

    phrases: dict[str, str] = field(default_factory=dict)
    choices: dict[str, Choice] = field(default_factory=dict)


def draw_pair(rng: np.random.Generator) -> tuple[str, str]:
    """A prompt and its draft, which keeps to the grammar's limits for the prompt."""
    while True:
        prompt, choices = _from_caption(rng) if rng.random() < 0.2 else _from_wish(rng)
        if plain_grammar().limits(prompt).admit(choices):
            return prompt, plain_grammar().draft(choices)


def _from_caption(rng: np.random.Generator) -> tuple[str, dict[str, Choice]]:
    """A caption of the world, which must come out as the scene that it tells of."""
    scene = sample(int(rng.integers(2**31)), 0)
    prompt = caption(scene, rng)
    named = {mention.slot for mention in plain_grammar().find(prompt)}
    slots = ("colour", "object", "motion", "place", "camera")
    choices = {name: Choice(getattr(scene, name), name not in named and name != "camera") for name in slots}
    if "camera" not in named:
        choices["camera"] = Choice("still")
    return prompt, choices


def _from_wish(rng: np.random.Generator) -> tuple[str, dict[str, Choice]]:
    wish = Wish()
    for slot in ("object", "colour", "motion", "place", "camera"):
        _decide(wish, slot, rng)
    order = [slot.name for slot in plain_grammar().slots]
    return _say(wish.phrases, rng), {name: wish.choices[name] for name in order}


def _decide(wish: Wish, slot: str, rng: np.random.Generator) -> None:
    """Name the slot by a phrase that means a value, by one that the nearest value stands in for, or leave it open."""
    values = wordings()[slot]
    value = _pick(rng, tuple(values))
    draw, shares = rng.random(), np.cumsum(SHARES[slot])
    if draw < shares[0]:
        _name(wish, slot, value, _pick(rng, values[value].own), rng)
    elif draw < shares[1]:
        _stand_in(wish, slot, value, _pick(rng, values[value].foreign))
    elif draw < shares[2]:
        _stand_in(
            wish, slot, _pick(rng, ("cat", "cat", "robot", "ball")) if slot == "object" else value, _nonsense(rng)
        )
    elif draw < shares[3]:
        wish.phrases[slot] = _pick(rng, tuple(lists()["movers"]))
        wish.choices[slot] = Choice(_pick(rng, ("moves left", "moves right")), is_open=True)
    elif slot == "camera":
        wish.choices[slot] = Choice("still")
    else:
        drawn = wish.choices["object"].value if slot != "object" else ""
        natural = NATURAL.get(slot, {}).get(drawn, ())
        wish.choices[slot] = Choice(_pick(rng, natural) if natural and rng.random() < 0.8 else value, is_open=True)


def _name(wish: Wish, slot: str, value: str, phrase: str, rng: np.random.Generator) -> None:
    """Name a value by a phrase of its own, one time of ten misspelt; a misspelt word is quoted in the draft."""
    wish.phrases[slot], wish.choices[slot] = phrase, Choice(value)
    if rng.random() < 0.1 and phrase.isalpha() and len(phrase) > 3:
        misspelt = _misspell(phrase, rng)
        if [mention.slot for mention in plain_grammar().find(misspelt)] == [""]:
            _stand_in(wish, slot, value, misspelt)


def _stand_in(wish: Wish, slot: str, value: str, phrase: str) -> None:
    """Ask by a phrase that means no value; the draft quotes it."""
    asked = " ".join(words(phrase))
    assert 0 < len(asked) <= MAX_ASKED, phrase
    wish.phrases[slot], wish.choices[slot] = phrase, Choice(value, asked=asked)


def _say(phrases: dict[str, str], rng: np.random.Generator) -> str:
    """The phrases as one prompt, in one of many orders and more or less tidy."""
    colour, thing = phrases.get("colour", ""), phrases.get("object", "")
    filler = _pick(rng, tuple(lists()["fillers"])) if rng.random() < 0.2 else ""
    article = _pick(rng, ("a", "a", "a", "the", "my", "some", ""))
    subject = _join(article, filler, colour, thing or _pick(rng, ("thing", "something")))
    motion = _join(
        _pick(rng, ("", "", "", "is", "that", "which is")) if "motion" in phrases else "", phrases.get("motion", "")
    )
    place = phrases.get("place", "")
    if place and place.split()[0] not in (
        "in",
        "on",
        "at",
        "by",
        "among",
        "across",
        "between",
        "under",
        "inside",
        "the",
    ):
        place = _join(_pick(rng, ("in", "in the", "on the", "at the", "in a", "on", "at", "near the")), place)
    extra = _pick(rng, EXTRAS) if rng.random() < 0.12 else ""
    if rng.random() < 0.06:
        extra = f"next to a {_word(rng, 'colour')} {_word(rng, 'object')}"
    parts = _pick(
        rng,
        (
            (subject, motion, place, extra),
            (subject, motion, extra, place),
            (place + ",", subject, motion, extra),
            (subject, place, motion, extra),
            (thing, colour, extra, place, motion),
            (f"{subject},", f"{motion},", f"{place},", extra),
        ),
    )
    text = _join(_pick(rng, OPENINGS), *(part for part in parts if part.strip(", ")))
    if "camera" in phrases:
        text = _with_camera(text.rstrip(", "), phrases["camera"], rng)
    text = text.strip(", ") + _pick(rng, CLOSINGS)
    return text.capitalize() if rng.random() < 0.3 else text.upper() if rng.random() < 0.04 else text


def _with_camera(text: str, camera: str, rng: np.random.Generator) -> str:
    return _pick(
        rng,
        (
            f"{text}, {camera}",
            f"{text} while {camera}",
            f"{camera}: {text}",
            f"{text}. {camera}",
            f"{text} and {camera}",
            f"{camera} {text}",
        ),
    )


def _word(rng: np.random.Generator, slot: str) -> str:
    return _pick(rng, tuple(wordings()[slot]))


def _nonsense(rng: np.random.Generator) -> str:
    """A word that nobody has heard of."""
    return "".join(_pick(rng, SYLLABLES) for _ in range(int(rng.integers(2, 5))))


def _misspell(word: str, rng: np.random.Generator) -> str:
    """The word with a letter dropped, doubled, or swapped with the next."""
    i = int(rng.integers(1, len(word) - 1))
    return _pick(
        rng, (word[:i] + word[i + 1 :], word[:i] + word[i] + word[i:], word[:i] + word[i + 1] + word[i] + word[i + 2 :])
    )


def _join(*words: str) -> str:
    return " ".join(word for word in words if word)


def _pick(rng: np.random.Generator, options: tuple[T, ...]) -> T:
    return options[int(rng.integers(len(options)))]
