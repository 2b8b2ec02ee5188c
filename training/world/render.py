"""A scene turned into frames: scenery first, then shadows and objects, at any size and frame rate."""

from dataclasses import dataclass
from math import degrees

import numpy as np
import skia
from numpy.typing import NDArray

from training.world.motion import Pose, View, pose, second_pose, view
from training.world.objects import picture
from training.world.paint import RGBA, colour
from training.world.places import layers
from training.world.scene import Scene
from training.world.scenery import Scenery
from training.world.signs import draw_sign
from training.world.styles import stylise

OBJECT_ZOOM = 0.4
"""How much of a camera's zoom (as a power) reaches the objects, which the camera follows."""

EVERY_OBJECT = (1, 2)
"""Numbers of a scene's first and second object."""


def render(
    scene: Scene,
    frames: int,
    height: int,
    width: int,
    fps: float = 16.0,
    start_seconds: float = 0.0,
    shown: tuple[int, ...] = EVERY_OBJECT,
) -> NDArray[np.uint8]:
    """Frames of a scene as uint8 [t h w 3]; frame i shows the instant `start_seconds + i / fps`.

    Any single frame equals the same instant of a longer clip. Objects whose number is not in `shown` are left out, with
    their shadows; nothing else changes.

    Raises:
        ValueError: frames below 1, a side below 16 or above 4096 pixels, or a frame rate that is not positive.
    """
    _check(frames, height, width, fps)
    clip = np.zeros((frames, height, width, 4), np.uint8)
    scenery = Scenery(layers(scene.place, scene.seed), height, width, 1.5 if scene.camera.startswith("zooms") else 1.0)
    for index in range(frames):
        seconds = start_seconds + index / fps
        canvas = skia.Canvas(clip[index], colorType=RGBA)
        camera = view(scene, seconds)
        scenery.draw(canvas, camera)
        if scene.sign is not None:
            draw_sign(canvas, scene.sign, height, width)
        _draw_objects(canvas, scene, seconds, shown, height, width)
    return stylise(np.ascontiguousarray(clip[..., :3]), scene.style)


def masks(
    scene: Scene, frames: int, height: int, width: int, fps: float = 16.0, start_seconds: float = 0.0
) -> NDArray[np.uint8]:
    """Which object each pixel of `render` shows, as uint8 [t h w]: 0 scenery, 1 the first object, 2 the second.

    Shadows and signs count as scenery.

    Raises:
        ValueError: as `render`.
    """
    _check(frames, height, width, fps)
    out = np.zeros((frames, height, width), np.uint8)
    for index in range(frames):
        seconds = start_seconds + index / fps
        grown = view(scene, seconds).zoom ** OBJECT_ZOOM
        for thing in _things(scene, seconds, width / height):
            sheet = np.zeros((height, width, 4), np.uint8)
            _draw_thing(skia.Canvas(sheet, colorType=RGBA), thing, grown, height, width)
            out[index][sheet[..., 3] >= 128] = thing.number
    return out


def footprints(
    scene: Scene,
    frames: int,
    height: int,
    width: int,
    fps: float = 16.0,
    start_seconds: float = 0.0,
    shown: tuple[int, ...] = EVERY_OBJECT,
) -> NDArray[np.bool_]:
    """Every pixel of `render` that an object or its shadow reaches, however faintly, as bool [t h w].

    Raises:
        ValueError: as `render`.
    """
    _check(frames, height, width, fps)
    out = np.zeros((frames, height, width), np.bool_)
    for index in range(frames):
        sheet = np.zeros((height, width, 4), np.uint8)
        _draw_objects(skia.Canvas(sheet, colorType=RGBA), scene, start_seconds + index / fps, shown, height, width)
        out[index] = sheet[..., 3] > 0
    return out


def empty_place(place: str, seed: int, camera: View, height: int, width: int) -> NDArray[np.uint8]:
    """A place without objects, uint8 [h w 3]."""
    image = np.zeros((height, width, 4), np.uint8)
    Scenery(layers(place, seed), height, width).draw(skia.Canvas(image, colorType=RGBA), camera)
    return np.ascontiguousarray(image[..., :3])


def _check(frames: int, height: int, width: int, fps: float) -> None:
    if frames < 1:
        raise ValueError(f"frames is {frames}; must be at least 1")
    for name, side in (("height", height), ("width", width)):
        if not 16 <= side <= 4096:
            raise ValueError(f"{name} is {side}; must be from 16 to 4096")
    if not fps > 0:
        raise ValueError(f"fps is {fps}; must be positive")


@dataclass(frozen=True)
class _Thing:
    """An object at an instant; `number` is 1 for the first object of the scene, 2 for the second."""

    number: int
    picture: skia.Picture
    pose: Pose


def _draw_objects(
    canvas: skia.Canvas, scene: Scene, seconds: float, shown: tuple[int, ...], height: int, width: int
) -> None:
    grown = view(scene, seconds).zoom ** OBJECT_ZOOM
    things = [thing for thing in _things(scene, seconds, width / height) if thing.number in shown]
    for thing in things:
        _shadow(canvas, thing.pose, grown, height, width)
    for thing in things:
        _draw_thing(canvas, thing, grown, height, width)


def _things(scene: Scene, seconds: float, aspect: float) -> list[_Thing]:
    """The objects of a scene at an instant, the farthest first."""
    first = _Thing(1, picture(scene.object, scene.colour, scene.identity), pose(scene, seconds, aspect))
    if scene.second is None:
        return [first]
    second = _Thing(2, picture(scene.second.object, scene.second.colour), second_pose(scene, aspect))
    return [first, second] if scene.second.relation == "behind" else [second, first]


def _draw_thing(canvas: skia.Canvas, thing: _Thing, grown: float, height: int, width: int) -> None:
    canvas.save()
    _move(canvas, thing.pose, grown, height, width)
    canvas.drawPicture(thing.picture)
    canvas.restore()


def _move(canvas: skia.Canvas, place: Pose, grown: float, height: int, width: int) -> None:
    """Puts the unit box of an object where its pose says."""
    side = place.size * grown * min(height, width)
    canvas.translate(place.x * width, place.y * height)
    canvas.rotate(degrees(place.angle))
    canvas.scale(side * place.facing / place.stretch**0.5, side * place.stretch)


def _shadow(canvas: skia.Canvas, place: Pose, grown: float, height: int, width: int) -> None:
    """A soft dark ellipse on the ground below an object, fainter the higher it floats."""
    side = place.size * grown * min(height, width)
    fade = max(0.0, 1.0 - 2.0 * place.lift)
    black = colour((20, 16, 32), 0.36 * (0.35 + 0.65 * fade))
    shader = skia.GradientShader.MakeRadial(
        center=skia.Point(0, 0), radius=1.0, colors=[black, colour((20, 16, 32), 0.0)], positions=[0.35, 1.0]
    )
    canvas.save()
    canvas.translate(place.x * width, min(place.ground * height + 0.02 * side, 0.97 * height))
    canvas.scale(0.46 * side, 0.09 * side)
    canvas.drawCircle(0, 0, 1, skia.Paint(Shader=shader, AntiAlias=True))
    canvas.restore()
