"""A scene turned into frames: scenery first, then shadows and objects, at any size and frame rate."""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, degrees

import numpy as np
import skia
from numpy.typing import NDArray

from training.world.motion import Pose, View, pose, second_pose, view
from training.world.objects import picture
from training.world.paint import colour
from training.world.places import layers
from training.world.scene import Scene
from training.world.scenery import PERIOD
from training.world.signs import draw_sign
from training.world.styles import stylise

OBJECT_ZOOM = 0.4
"""How much of a camera's zoom (as a power) reaches the objects, which the camera follows."""

_SMOOTH = skia.SamplingOptions(skia.FilterMode.kLinear)
_RGBA = skia.kRGBA_8888_ColorType


def render(
    scene: Scene, frames: int, height: int, width: int, fps: float = 16.0, start_seconds: float = 0.0
) -> NDArray[np.uint8]:
    """Frames of a scene as uint8 [t h w 3]; frame i shows the instant `start_seconds + i / fps`.

    Any single frame equals the same instant of a longer clip.

    Raises:
        ValueError: frames below 1, a side below 16 or above 4096 pixels, or a frame rate that is not positive.
    """
    _check(frames, height, width, fps)
    clip = np.zeros((frames, height, width, 4), np.uint8)
    scenery = _Scenery(scene, height, width)
    backdrop = scenery.still()
    for index in range(frames):
        seconds = start_seconds + index / fps
        surface = skia.Surface(clip[index], colorType=_RGBA)
        canvas = surface.getCanvas()
        camera = view(scene, seconds)
        if scene.camera == "still":
            clip[index] = backdrop
        else:
            scenery.draw(canvas, camera)
        if scene.sign is not None:
            draw_sign(canvas, scene.sign, height, width)
        _draw_objects(canvas, scene, seconds, camera, height, width)
        surface.flushAndSubmit()
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
            surface = skia.Surface(sheet, colorType=_RGBA)
            _draw_thing(surface.getCanvas(), thing, grown, height, width)
            surface.flushAndSubmit()
            out[index][sheet[..., 3] >= 128] = thing.number
    return out


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


class _Scenery:
    """The layers of a place, painted once and then moved with the camera."""

    def __init__(self, scene: Scene, height: int, width: int) -> None:
        self.height, self.width = height, width
        self.scale = (1.5 if scene.camera.startswith("zooms") else 1.0) * height
        self.sheets = [
            (_paint(layer.draw, self.scale, width / height), layer.rate) for layer in layers(scene.place, scene.seed)
        ]

    def draw(self, canvas: skia.Canvas, camera: View) -> None:
        zoom = camera.zoom
        for sheet, rate in self.sheets:
            left = (-camera.x * rate * self.width / self.height) % PERIOD
            matrix = skia.Matrix()
            matrix.setScaleTranslate(
                zoom * self.height / self.scale,
                zoom * self.height / self.scale,
                0.5 * self.width * (1 - zoom) - left * self.height,
                0.5 * self.height * (1 - zoom) + camera.y * rate * self.height,
            )
            shader = sheet.makeShader(skia.TileMode.kClamp, skia.TileMode.kClamp, _SMOOTH, matrix)
            canvas.drawPaint(skia.Paint(Shader=shader))

    def still(self) -> NDArray[np.uint8]:
        """The whole scenery as the resting camera sees it, RGBA."""
        image = np.zeros((self.height, self.width, 4), np.uint8)
        self.draw(skia.Surface(image, colorType=_RGBA).getCanvas(), View())
        return image


def _paint(draw: Callable[[skia.Canvas], None], scale: float, aspect: float) -> skia.Image:
    """A layer at `scale` pixels a unit, one period and one frame wide, so that any stretch of it is in one piece."""
    recorder = skia.PictureRecorder()
    draw(recorder.beginRecording(skia.Rect(-PERIOD, -1, 2 * PERIOD, 2)))
    picture_of_layer = recorder.finishRecordingAsPicture()
    surface = skia.Surface(ceil((PERIOD + aspect) * scale), round(scale))
    canvas = surface.getCanvas()
    canvas.scale(scale, scale)
    for copy in range(1 + ceil(aspect / PERIOD)):
        canvas.save()
        canvas.translate(copy * PERIOD, 0)
        canvas.clipRect(skia.Rect(0, 0, PERIOD, 1))
        canvas.drawPicture(picture_of_layer)
        canvas.restore()
    return surface.makeImageSnapshot()


def _draw_objects(canvas: skia.Canvas, scene: Scene, seconds: float, camera: View, height: int, width: int) -> None:
    grown = camera.zoom**OBJECT_ZOOM
    things = _things(scene, seconds, width / height)
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
