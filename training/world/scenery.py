"""Sheets of scenery, and the strokes they are painted with.

A sheet is painted in a box `PERIOD` units wide and one unit high (one unit is the frame's height at rest) and repeats
sideways for ever, so that a camera can pan without end.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import ceil, pi

import numpy as np
import skia

from training.world.motion import View
from training.world.paint import Rgb, colour, ellipse, mix, paint, polygon

PERIOD = 2.0
_SMOOTH = skia.SamplingOptions(skia.FilterMode.kLinear)


@dataclass(frozen=True)
class Layer:
    """One sheet of scenery: a drawing, and how far it moves when the nearest sheet moves by one."""

    draw: Callable[[skia.Canvas], None]
    rate: float


def gradient(canvas: skia.Canvas, top: Rgb, bottom: Rgb, from_y: float = 0.0, to_y: float = 1.0) -> None:
    """Fills the layer from `from_y` down with one colour fading into another."""
    brush = paint(top)
    brush.setShader(
        skia.GradientShader.MakeLinear(
            points=[skia.Point(0, from_y), skia.Point(0, to_y)], colors=[colour(top), colour(bottom)]
        )
    )
    canvas.drawRect(skia.Rect(0, from_y, PERIOD, to_y), brush)


def everywhere(canvas: skia.Canvas, path: skia.Path, rgb: Rgb, alpha: float = 1.0) -> None:
    """A path, and its copies one period to either side, so that it may cross the seam."""
    for shift in (-PERIOD, 0.0, PERIOD):
        canvas.save()
        canvas.translate(shift, 0)
        canvas.drawPath(path, paint(rgb, alpha))
        canvas.restore()


def ridge(
    canvas: skia.Canvas,
    rng: np.random.Generator,
    level: float,
    height: float,
    rgb: Rgb,
    waves: tuple[int, ...] = (2, 3),
) -> None:
    """A rolling skyline filled down to the bottom of the frame, shaded darker below."""
    x = np.linspace(0, PERIOD, 97)
    y = np.full_like(x, level)
    for wave in waves:
        y = y + height / len(waves) * np.sin(2 * pi * (wave * x / PERIOD + rng.random()))
    path = polygon(*zip(x.tolist(), y.tolist(), strict=True), (PERIOD, 1.01), (0.0, 1.01))
    brush = paint(rgb)
    brush.setShader(
        skia.GradientShader.MakeLinear(
            points=[skia.Point(0, level - height), skia.Point(0, 1)],
            colors=[colour(rgb), colour(mix(rgb, (60, 60, 60), 0.12))],
        )
    )
    canvas.drawPath(path, brush)


def spread(rng: np.random.Generator, count: int) -> list[float]:
    """Places along the period, about evenly apart."""
    step = PERIOD / count
    start = rng.random() * step
    return [start + step * (index + float(rng.uniform(-0.2, 0.2))) for index in range(count)]


def clouds(canvas: skia.Canvas, rng: np.random.Generator, rgb: Rgb, count: int = 3) -> None:
    """A few soft clouds high in the sky."""
    for x in spread(rng, count):
        y, size = float(rng.uniform(0.1, 0.26)), float(rng.uniform(0.8, 1.2))
        for dx, dy, radius in ((-0.1, 0.015, 0.06), (0.0, -0.015, 0.085), (0.1, 0.015, 0.06)):
            everywhere(canvas, ellipse(x + dx * size, y + dy, radius * size * 1.3, radius * size * 0.8), rgb)


class Scenery:
    """The layers of a place, painted once and then moved with the camera."""

    def __init__(self, sheets: list[Layer], height: int, width: int, detail: float = 1.0) -> None:
        """Paints the layers at `detail` times the resolution of the frame."""
        self.height, self.width, self.scale = height, width, detail * height
        self.sheets = [(_paint(layer.draw, self.scale, width / height), layer.rate) for layer in sheets]

    def draw(self, canvas: skia.Canvas, camera: View) -> None:
        """Fills a canvas with what the camera sees."""
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
