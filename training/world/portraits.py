"""Pictures of faces, as people send them: near, before any background, turned a little and lit in many ways."""

import argparse
from dataclasses import dataclass, replace
from math import degrees
from pathlib import Path

import numpy as np
import skia
from numpy.typing import NDArray

from kino.images import encode_png
from training.world.motion import Pose, View
from training.world.objects import picture as drawing
from training.world.paint import PALETTE, RGBA, ellipse, mix, paint
from training.world.people import FACE_REACH, Face, face_of
from training.world.render import empty_place
from training.world.scene import COLOURS, HAIR_COLOURS, HAIR_CUTS, OBJECTS, PLACES, SKINS, Identity

_NEAREST, _FARTHEST = 2.0, 1.1
_TURN = 0.3
_LIGHT = 0.16


@dataclass(frozen=True)
class Sitter:
    """One person of a portrait: who it is, the colour of the dress, and where the unit box is drawn."""

    identity: Identity
    colour: str
    pose: Pose


def portrait(
    people: tuple[Identity, ...], rng: np.random.Generator, height: int = 96, width: int = 96
) -> tuple[NDArray[np.uint8], list[Face]]:
    """A picture uint8 [h w 3] of people side by side, or of nobody, and the square of each face.

    Everything that does not tell who they are is drawn by the generator: background, dress, distance, turn, light.
    """
    image = np.zeros((height, width, 4), np.uint8)
    image[..., :3], image[..., 3] = _background(rng, height, width), 255
    canvas = skia.Canvas(image, colorType=RGBA)
    if not people:
        _thing(canvas, rng, height, width)
    faces = []
    for number, identity in enumerate(people):
        sitter = _sitter(identity, (number + 0.5) / len(people), len(people), rng, width / height)
        _draw(canvas, sitter, height, width)
        faces.append(face_of(sitter.pose, 1.0, height, width))
    return _lit(np.ascontiguousarray(image[..., :3]), rng), faces


def _sitter(identity: Identity, x: float, among: int, rng: np.random.Generator, aspect: float) -> Sitter:
    """A person whose face is in the upper half of the picture and wholly seen."""
    size = float(np.exp(rng.uniform(np.log(_FARTHEST), np.log(_NEAREST)))) / (1.6 if among > 1 else 1.0) ** (among - 1)
    reach = FACE_REACH * size * min(aspect, 1.0)
    angle = float(rng.uniform(-_TURN, _TURN))
    facing = 1 if rng.random() < 0.5 else -1
    middle = float(np.clip(rng.normal(0.45, 0.08), min(0.9 * reach, 0.5), 0.6))
    drawn = Pose(x + float(rng.normal(0, 0.05 / among)), 0.0, size, angle, facing=facing)
    above = face_of(drawn, 1.0, 1000, round(1000 * aspect))
    drawn = replace(drawn, x=drawn.x - (above.x / round(1000 * aspect) - drawn.x), y=middle - above.y / 1000)
    return Sitter(identity, COLOURS[int(rng.integers(len(COLOURS)))], drawn)


def _draw(canvas: skia.Canvas, sitter: Sitter, height: int, width: int) -> None:
    side = sitter.pose.size * min(height, width)
    canvas.save()
    canvas.translate(sitter.pose.x * width, sitter.pose.y * height)
    canvas.rotate(degrees(sitter.pose.angle))
    canvas.scale(side * sitter.pose.facing, side)
    canvas.drawPicture(drawing("person", sitter.colour, sitter.identity))
    canvas.restore()


def _background(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    """A place of the world out of focus, or a wall of one colour with blots."""
    if rng.random() < 0.6:
        place = PLACES[int(rng.integers(len(PLACES)))]
        camera = View(float(rng.uniform(-1, 1)), 0.0, float(rng.uniform(1.0, 2.0)))
        return empty_place(place, int(rng.integers(2**31)), camera, height, width)
    image = np.zeros((height, width, 4), np.uint8)
    image[..., :3], image[..., 3] = rng.integers(30, 250, 3), 255
    canvas = skia.Canvas(image, colorType=RGBA)
    for _ in range(int(rng.integers(0, 6))):
        rgb = PALETTE[COLOURS[int(rng.integers(len(COLOURS)))]]
        red, green, blue = (int(value) for value in rng.integers(20, 250, 3))
        x, y, rx, ry = rng.uniform((0, 0, 0.03, 0.03), (width, height, 0.3 * width, 0.3 * height))
        canvas.drawPath(ellipse(x, y, rx, ry), paint(mix((red, green, blue), rgb, float(rng.uniform(0, 0.5)))))
    return np.ascontiguousarray(image[..., :3])


def _thing(canvas: skia.Canvas, rng: np.random.Generator, height: int, width: int) -> None:
    """One of the world's objects, near, in a picture of nobody; or none."""
    if rng.random() < 0.3:
        return
    side = float(rng.uniform(0.4, 1.4)) * min(height, width)
    canvas.save()
    canvas.translate(float(rng.uniform(0.2, 0.8)) * width, float(rng.uniform(0.2, 0.8)) * height)
    canvas.rotate(float(rng.uniform(-40, 40)))
    canvas.scale(side, side)
    canvas.drawPicture(drawing(OBJECTS[int(rng.integers(len(OBJECTS)))], COLOURS[int(rng.integers(len(COLOURS)))]))
    canvas.restore()


def _lit(image: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """A picture under a light of its own: brighter or darker, tinted, and uneven from one side to the other."""
    gain = np.exp(rng.normal(0, _LIGHT / 2) + rng.normal(0, _LIGHT / 4, 3))
    across = 1 + np.linspace(-1, 1, image.shape[1])[None, :, None] * rng.uniform(-_LIGHT, _LIGHT)
    return np.asarray(np.clip(image * gain * across, 0, 255).round().astype(np.uint8))


def main() -> None:
    """Draw a portrait: python -m training.world.portraits --skin tan --hair blond --cut curly --out face.png."""
    parser = argparse.ArgumentParser(description="draw a portrait of one of the world's people")
    parser.add_argument("--skin", choices=SKINS, default="tan")
    parser.add_argument("--hair", choices=HAIR_COLOURS, default="blond")
    parser.add_argument("--cut", choices=HAIR_CUTS, default="curly")
    parser.add_argument("--size", type=int, default=256, help="height and width in pixels (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of background, dress, pose and light (%(default)s)")
    parser.add_argument("--out", type=Path, default=Path("face.png"))
    given = parser.parse_args()
    who = Identity(given.skin, given.hair, given.cut)
    picture, _ = portrait((who,), np.random.default_rng(given.seed), given.size, given.size)
    given.out.write_bytes(encode_png(picture))


if __name__ == "__main__":
    main()
