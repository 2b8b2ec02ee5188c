"""Scenes of one person, who is in them, and where a face is: what an identity is learned from, and judged on."""

from functools import cache
from itertools import product
from math import cos, sin
from typing import NamedTuple

import numpy as np

from kino.shapes import TEMPORAL_COMPRESSION, Grid
from training.world.captions import pick, with_article
from training.world.motion import Pose, pose, view
from training.world.render import OBJECT_ZOOM
from training.world.scene import (
    COLOURS,
    HAIR_COLOURS,
    HAIR_CUTS,
    MOTIONS,
    PLACES,
    PLAIN,
    SKINS,
    Identity,
    Scene,
    Split,
    draw_camera,
)
from training.world.segment import Floats
from training.world.words import CAMERA_WORDS, COLOUR_WORDS, PLACE_PHRASES, VERBS, WHERE

FACE_HEIGHT, FACE_REACH = 0.25, 0.36
"""How far the middle of a face lies above that of the person's unit box, and half the side of the square about it."""

WHO = ("a person", "a person", "the person", "she", "he", "a woman", "a man", "a figure", "someone")
"""What sentences call the one who is seen."""


class Face(NamedTuple):
    """The square that holds a face and its hair, in pixels: its centre, and half its side."""

    x: float
    y: float
    reach: float


@cache
def identities() -> tuple[Identity, ...]:
    """Everybody: the 64 combinations of skin, colour of hair and cut."""
    return tuple(Identity(*looks) for looks in product(SKINS, HAIR_COLOURS, HAIR_CUTS))


@cache
def held_out_identities() -> tuple[Identity, ...]:
    """The 20 people whom training never shows.

    Sixteen whose class numbers sum to a multiple of four, so that any two of them differ in two looks at least and
    every pair of looks is seen in training, and four more of equal skin and hair numbers.
    """
    chosen = [(skin, hair, (-skin - hair) % 4) for skin, hair in product(range(4), repeat=2)]
    chosen += [(number, number, (2 - 2 * number) % 4) for number in range(4)]
    return tuple(Identity(SKINS[skin], HAIR_COLOURS[hair], HAIR_CUTS[cut]) for skin, hair, cut in chosen)


@cache
def train_identities() -> tuple[Identity, ...]:
    """The 44 people whom training shows."""
    return tuple(identity for identity in identities() if identity not in held_out_identities())


@cache
def held_out_actions() -> tuple[tuple[str, str], ...]:
    """The 8 pairs of colour and motion that no person is seen with in training: each colour and motion once."""
    moving = [motion for motion in MOTIONS if motion != "stays still"]
    return tuple((colour, moving[(3 * c + 5) % len(moving)]) for c, colour in enumerate(COLOURS))


@cache
def _train_actions() -> tuple[tuple[str, str], ...]:
    return tuple(action for action in product(COLOURS, MOTIONS) if action not in held_out_actions())


def sample_person(seed: int, index: int, split: Split = "train") -> Scene:
    """The scene number `index` of the endless list of people named by `seed`, always the same.

    Of the held-out list, each run of 20 consecutive indices shows each held-out person once, in held-out actions.

    Raises:
        ValueError: the split is neither train nor held_out.
    """
    if split not in ("train", "held_out"):
        raise ValueError(f"split is {split!r}; must be train or held_out")
    rng = np.random.default_rng([seed, index, split == "held_out", 1])
    people, actions = (
        (train_identities(), _train_actions()) if split == "train" else (held_out_identities(), held_out_actions())
    )
    identity = people[int(rng.integers(len(people))) if split == "train" else index % len(people)]
    colour, motion = actions[int(rng.integers(len(actions)))]
    place = PLACES[int(rng.integers(len(PLACES)))]
    camera = draw_camera(rng, motion, PLAIN)
    return Scene("person", colour, motion, place, camera, identity=identity, seed=int(rng.integers(2**31)))


def nameless(scene: Scene) -> str:
    """The canonical sentence of a person without the looks, as in "a person in a red dress spins in the snow"."""
    dress = with_article(scene.colour, "dress")
    sentence = f"a person in {dress} {scene.motion} {PLACE_PHRASES[scene.place]}"
    return sentence if scene.camera == "still" else f"{sentence}, the camera {scene.camera}"


def face(scene: Scene, seconds: float, height: int, width: int) -> Face:
    """Where `render` draws the face of a scene's person at an instant."""
    grown = view(scene, seconds).zoom ** OBJECT_ZOOM
    return face_of(pose(scene, seconds, width / height), grown, height, width)


def face_of(place: Pose, grown: float, height: int, width: int) -> Face:
    """Where the face of a person in a pose is drawn, `grown` times as large."""
    side = place.size * grown * min(height, width)
    above = FACE_HEIGHT * side * place.stretch
    return Face(
        place.x * width + sin(place.angle) * above, place.y * height - cos(place.angle) * above, FACE_REACH * side
    )


def told(scene: Scene, rng: np.random.Generator) -> str:
    """A sentence of a person as people type it, without the looks; one time of four without the dress."""
    subject = pick(rng, WHO)
    if rng.random() < 0.75:
        subject += f" in {with_article(pick(rng, COLOUR_WORDS[scene.colour]), pick(rng, ('dress', 'outfit')))}"
    where, (verb, doing) = pick(rng, WHERE[scene.place]), pick(rng, VERBS[scene.motion])
    sentence = pick(rng, (f"{subject} {verb} {where}", f"{where}, {subject} {verb}", f"{subject} is {doing} {where}"))
    if scene.camera == "still":
        return sentence
    clause, participle = pick(rng, CAMERA_WORDS[scene.camera])
    return pick(rng, (f"{sentence}, {clause}", f"{sentence} while {clause}", f"{sentence}, {participle}"))


def face_share(scene: Scene, start_seconds: float, fps: float, frames: int, grid: Grid, pixels: int) -> Floats:
    """Share of time that each latent position [t h w] of a square clip lies within a face and its hair."""
    x, y = (np.arange(grid.w) + 0.5) * pixels / grid.w, (np.arange(grid.h) + 0.5) * pixels / grid.h
    share = np.zeros((grid.t, grid.h, grid.w), np.float32)
    for t in range(grid.t):
        instants = range(t * TEMPORAL_COMPRESSION, min((t + 1) * TEMPORAL_COMPRESSION, frames), 2)
        for index in instants:
            middle = face(scene, start_seconds + index / fps, pixels, pixels)
            near = (x[None] - middle.x) ** 2 + (y[:, None] - middle.y) ** 2 < (0.85 * middle.reach) ** 2
            share[t] += near / len(instants)
    return share
