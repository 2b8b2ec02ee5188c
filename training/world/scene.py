"""What a clip of the world shows: its nouns, its verbs, and a deterministic sampler over both."""

from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np

OBJECTS = ("ball", "cube", "star", "heart", "cat", "fish", "car", "boat", "rocket", "robot")
CHARACTERS = ("person",)
COLOURS = ("red", "orange", "yellow", "green", "teal", "blue", "purple", "pink")
MOTIONS = ("moves left", "moves right", "bounces", "spins", "grows", "shrinks", "rises", "falls", "stays still")
PLACES = ("meadow", "snow", "desert", "beach", "forest", "city", "night", "room")
CAMERAS = ("still", "pans left", "pans right", "zooms in", "zooms out")
TILTS = ("tilts up", "tilts down")
RELATIONS = ("left of", "right of", "behind", "in front of")
STYLES = ("plain", "sketch", "vintage", "dusk")
SKINS = ("pale", "tan", "brown", "dark")
HAIR_COLOURS = ("black", "brown", "blond", "grey")
HAIR_CUTS = ("short", "long", "curly", "bun")

Split = Literal["train", "held_out"]
Triple = tuple[str, str, str]


@dataclass(frozen=True)
class Identity:
    """The looks that make one person recognisable from clip to clip; the dress has the colour of the scene."""

    skin: str
    hair: str
    cut: str


@dataclass(frozen=True)
class Second:
    """A smaller object that stands still; the first object is `relation` it ("left of", "behind", ...)."""

    object: str
    colour: str
    relation: str


@dataclass(frozen=True)
class Scene:
    """One clip, whole: every word that a caption may use, and the seed of everything that no caption names."""

    object: str
    colour: str
    motion: str
    place: str
    camera: str = "still"
    second: Second | None = None
    sign: str | None = None
    style: str = "plain"
    identity: Identity | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse words that the world cannot draw.

        Raises:
            ValueError: a field is outside its vocabulary, a person lacks an identity, or a sign is not 1 to 8 letters.
        """
        for field, vocabulary in _VOCABULARIES.items():
            if getattr(self, field) not in vocabulary:
                raise ValueError(f"{field} is {getattr(self, field)!r}; must be one of {', '.join(vocabulary)}")
        if (self.object in CHARACTERS) != (self.identity is not None):
            raise ValueError(f"identity is {self.identity!r}; must be given for a person and for nothing else")
        if self.sign is not None and not (
            1 <= len(self.sign) <= 8 and self.sign.isascii() and self.sign.isalpha() and self.sign.isupper()
        ):
            raise ValueError(f"sign is {self.sign!r}; must be 1 to 8 letters A to Z")


_VOCABULARIES = {
    "object": OBJECTS + CHARACTERS,
    "colour": COLOURS,
    "motion": MOTIONS,
    "place": PLACES,
    "camera": CAMERAS + TILTS,
    "style": STYLES,
}


@dataclass(frozen=True)
class Mixture:
    """How often each kind of scene is sampled; the defaults are the plain world that `mini` learns.

    Every field is a probability in [0, 1]; what the cameras other than `still` and the tilts leave is the still camera.
    """

    pan: float = 0.33
    zoom: float = 0.22
    tilt: float = 0.0
    two_objects: float = 0.0
    sign: float = 0.0
    style: float = 0.0
    person: float = 0.0


PLAIN = Mixture()
RICH = Mixture(pan=0.25, zoom=0.2, tilt=0.1, two_objects=0.2, sign=0.15, style=0.15, person=0.15)


@cache
def held_out() -> tuple[Triple, ...]:
    """The 80 (object, colour, motion) triples that training never sees.

    `motion = 3 colour + object (mod 8)` gives each object every colour once and every motion once, so each object
    occurs 8 times, each colour 10 times and each motion 10 times. "stays still" is always in training.
    """
    moving = [motion for motion in MOTIONS if motion != "stays still"]
    return tuple(
        (name, colour, moving[(3 * c + o) % len(moving)])
        for o, name in enumerate(OBJECTS)
        for c, colour in enumerate(COLOURS)
    )


@cache
def _train() -> tuple[Triple, ...]:
    every = ((name, colour, motion) for name in OBJECTS for colour in COLOURS for motion in MOTIONS)
    excluded = set(held_out())
    return tuple(triple for triple in every if triple not in excluded)


def sample(seed: int, index: int, split: Split = "train", mixture: Mixture = PLAIN) -> Scene:
    """The scene number `index` of the endless list named by `seed`, always the same.

    Each run of 80 consecutive held-out indices, starting at a multiple of 80, visits every held-out triple once.
    """
    if split not in ("train", "held_out"):
        raise ValueError(f"split is {split!r}; must be train or held_out")
    rng = np.random.default_rng([seed, index, split == "held_out"])
    name, colour, motion = _triple(rng, seed, index, split)
    identity = None
    if rng.random() < mixture.person:
        name, identity = "person", _identity(rng)
    second, sign = None, None
    camera = draw_camera(rng, motion, mixture)
    if not motion.startswith("moves") and rng.random() < mixture.two_objects:
        second = _second(rng, name, colour)
    elif camera == "still" and rng.random() < mixture.sign:
        sign = _word(rng)
    style = _choice(rng, STYLES[1:]) if rng.random() < mixture.style else "plain"
    return Scene(
        name, colour, motion, _choice(rng, PLACES), camera, second, sign, style, identity, int(rng.integers(2**31))
    )


def facts(scene: Scene) -> dict[str, int]:
    """The class numbers of a scene, for auxiliary losses: object, colour, motion, place and camera."""
    return {
        "object": (OBJECTS + CHARACTERS).index(scene.object),
        "colour": COLOURS.index(scene.colour),
        "motion": MOTIONS.index(scene.motion),
        "place": PLACES.index(scene.place),
        "camera": (CAMERAS + TILTS).index(scene.camera),
    }


def _triple(rng: np.random.Generator, seed: int, index: int, split: Split) -> Triple:
    if split == "train":
        return _train()[int(rng.integers(len(_train())))]
    size = len(held_out())
    order = np.random.default_rng([seed, index // size]).permutation(size)
    return held_out()[int(order[index % size])]


def draw_camera(rng: np.random.Generator, motion: str, mixture: Mixture) -> str:
    """A camera move that cannot be mistaken for the object's motion, nor hide it."""
    draw = rng.random()
    if draw < mixture.pan:
        return _choice(rng, ("pans left", "pans right"))
    if draw < mixture.pan + mixture.zoom:
        return "still" if motion in ("grows", "shrinks") else _choice(rng, ("zooms in", "zooms out"))
    if draw < mixture.pan + mixture.zoom + mixture.tilt:
        return "still" if motion in ("rises", "falls") else _choice(rng, TILTS)
    return "still"


def _second(rng: np.random.Generator, name: str, colour: str) -> Second:
    others = [other for other in OBJECTS if other != name]
    colours = [other for other in COLOURS if other != colour]
    return Second(_choice(rng, others), _choice(rng, colours), _choice(rng, RELATIONS))


def _identity(rng: np.random.Generator) -> Identity:
    return Identity(_choice(rng, SKINS), _choice(rng, HAIR_COLOURS), _choice(rng, HAIR_CUTS))


_COMMON_WORDS = ("HELLO", "OPEN", "CAFE", "STOP", "GO", "LOVE", "KINO", "FILM", "PARK", "SALE", "HOME", "WOW")


def _word(rng: np.random.Generator) -> str:
    """A common word or, as often, two to six letters at random, so that spelling cannot be guessed."""
    if rng.random() < 0.5:
        return _choice(rng, _COMMON_WORDS)
    return "".join(chr(65 + int(letter)) for letter in rng.integers(26, size=int(rng.integers(2, 7))))


def _choice(rng: np.random.Generator, options: tuple[str, ...] | list[str]) -> str:
    return options[int(rng.integers(len(options)))]
