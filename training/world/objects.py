"""How each object looks: vector drawings in a unit box, x to the right, y down, looking right."""

from collections.abc import Callable
from functools import lru_cache
from math import cos, pi, sin

import skia

from training.world.characters import draw_person
from training.world.paint import INK, PALETTE, PAPER, Brush, box, curve, ellipse, line, mix, polygon
from training.world.scene import Identity

GLASS = (214, 230, 240)
METAL = (226, 226, 232)
TYRE = (52, 48, 60)
BOUNDS = skia.Rect(-1, -1, 1, 1)


@lru_cache(maxsize=256)
def picture(name: str, colour: str, identity: Identity | None = None) -> skia.Picture:
    """The drawing of an object in a palette colour, to be replayed under any transform."""
    recorder = skia.PictureRecorder()
    brush = Brush(recorder.beginRecording(BOUNDS), PALETTE[colour])
    if identity is not None:
        draw_person(brush, identity)
    else:
        _DRAWINGS[name](brush)
    return recorder.finishRecordingAsPicture()


def _ball(brush: Brush) -> None:
    disc = ellipse(0, 0, 0.46, 0.46)
    brush.solid(disc)
    brush.clipped(disc, curve((-0.5, -0.14), (0, -0.34, 0.5, -0.14), (0.5, 0.08), (0, -0.12, -0.5, 0.08)), PAPER)
    brush.clipped(disc, ellipse(0.06, 0.27, 0.11, 0.11), PAPER)
    brush.flat(ellipse(-0.18, -0.32, 0.1, 0.05), PAPER, 0.7)
    brush.stroke(disc, 0.028, INK, 0.85)


def _cube(brush: Brush) -> None:
    top, left, right = (
        polygon((0, -0.5), (0.44, -0.27), (0, -0.04), (-0.44, -0.27)),
        polygon((-0.44, -0.27), (0, -0.04), (0, 0.5), (-0.44, 0.25)),
        polygon((0.44, -0.27), (0, -0.04), (0, 0.5), (0.44, 0.25)),
    )
    brush.solid(left)
    brush.solid(right, brush.dark)
    brush.solid(top, mix(brush.rgb, (255, 255, 255), 0.42))


def _star(brush: Brush) -> None:
    points = []
    for corner in range(10):
        radius = 0.54 if corner % 2 == 0 else 0.25
        angle = -pi / 2 + corner * pi / 5
        points.append((radius * cos(angle), radius * sin(angle) + 0.04))
    brush.solid(polygon(*points))
    for side in (-1, 1):
        brush.flat(ellipse(0.1 * side, -0.03, 0.038, 0.065), INK)
    brush.stroke(curve((-0.1, 0.11), (0, 0.2, 0.1, 0.11), closed=False), 0.035)


def _heart(brush: Brush) -> None:
    brush.solid(
        curve(
            (0, 0.46),
            (-0.2, 0.28, -0.52, 0.1, -0.5, -0.18),
            (-0.48, -0.5, -0.1, -0.52, 0, -0.2),
            (0.1, -0.52, 0.48, -0.5, 0.5, -0.18),
            (0.52, 0.1, 0.2, 0.28, 0, 0.46),
        )
    )
    brush.stroke(curve((-0.36, -0.12), (-0.37, -0.3, -0.22, -0.32), closed=False), 0.06, PAPER, 0.85)


def _cat(brush: Brush) -> None:
    brush.rope(curve((0.16, 0.4), (0.52, 0.44, 0.5, 0.16), (0.47, 0.02, 0.4, 0.0), closed=False), 0.085)
    body = curve((-0.2, 0.5), (-0.32, 0.1, -0.12, -0.06), (0.12, -0.06), (0.32, 0.1, 0.2, 0.5))
    brush.solid(body)
    brush.clipped(body, ellipse(0, 0.36, 0.11, 0.22), PAPER, 0.9)
    for side in (-1, 1):
        brush.solid(polygon((0.06 * side, -0.36), (0.27 * side, -0.54), (0.3 * side, -0.16)))
        brush.flat(polygon((0.15 * side, -0.36), (0.24 * side, -0.45), (0.25 * side, -0.28)), (250, 214, 214))
    head = ellipse(0, -0.17, 0.3, 0.24)
    brush.solid(head)
    for side in (-1, 1):
        brush.flat(ellipse(0.12 * side, -0.2, 0.065, 0.075), PAPER)
        brush.flat(ellipse(0.12 * side + 0.012, -0.2, 0.034, 0.058), INK)
        brush.stroke(line((0.14 * side, -0.06), (0.33 * side, -0.08)), 0.018, INK, 0.7)
    brush.flat(ellipse(0, -0.05, 0.1, 0.065), PAPER)
    brush.flat(polygon((-0.04, -0.09), (0.04, -0.09), (0, -0.045)), INK)


def _fish(brush: Brush) -> None:
    brush.solid(
        curve((-0.24, 0), (-0.4, -0.14, -0.54, -0.3), (-0.44, 0, -0.54, 0.3), (-0.4, 0.14, -0.24, 0)), brush.dark
    )
    brush.solid(curve((-0.12, -0.2), (0.0, -0.42, 0.2, -0.38), (0.14, -0.3, 0.16, -0.18)), brush.dark)
    body = curve((0.52, -0.01), (0.36, -0.32, -0.1, -0.36, -0.32, 0), (-0.1, 0.36, 0.36, 0.3, 0.52, -0.01))
    brush.solid(body)
    for x in (-0.12, 0.06):
        stripe = curve((x, -0.4), (x + 0.1, 0, x, 0.4), (x + 0.075, 0.4), (x + 0.175, 0, x + 0.075, -0.4))
        brush.clipped(body, stripe, PAPER, 0.85)
    brush.solid(curve((0.04, 0.1), (-0.1, 0.16, -0.12, 0.3), (0.06, 0.28, 0.14, 0.14)), brush.dark)
    brush.stroke(body, 0.028, INK, 0.85)
    brush.flat(ellipse(0.32, -0.08, 0.075, 0.075), PAPER)
    brush.flat(ellipse(0.335, -0.075, 0.04, 0.04), INK)


def _car(brush: Brush) -> None:
    brush.solid(curve((-0.34, -0.02), (-0.24, -0.32), (0.1, -0.32), (0.28, -0.02)))
    brush.flat(polygon((-0.24, -0.03), (-0.18, -0.25), (-0.06, -0.25), (-0.06, -0.03)), GLASS)
    brush.flat(polygon((0.0, -0.03), (0.0, -0.25), (0.07, -0.25), (0.19, -0.03)), GLASS)
    brush.solid(curve((-0.54, 0.18), (-0.56, -0.06, -0.42, -0.06), (0.32, -0.06), (0.56, -0.03, 0.55, 0.18)))
    brush.flat(ellipse(0.48, 0.05, 0.05, 0.045), PAPER)
    brush.stroke(line((-0.03, 0.0), (-0.03, 0.14)), 0.022, INK, 0.5)
    for x in (-0.29, 0.29):
        brush.flat(ellipse(x, 0.17, 0.155, 0.155), TYRE)
        brush.flat(ellipse(x, 0.17, 0.075, 0.075), METAL)


def _boat(brush: Brush) -> None:
    brush.stroke(line((-0.02, 0.2), (-0.02, -0.48)), 0.045)
    brush.solid(curve((0.03, -0.46), (0.42, -0.2, 0.44, 0.12), (0.03, 0.12)))
    brush.solid(curve((-0.07, -0.34), (-0.3, -0.1, -0.34, 0.12), (-0.07, 0.12)), PAPER)
    hull = curve((-0.52, 0.18), (0.54, 0.18), (0.46, 0.46, 0.3, 0.48), (-0.3, 0.48), (-0.44, 0.44, -0.52, 0.18))
    brush.solid(hull, mix(brush.rgb, (20, 10, 40), 0.16))
    brush.clipped(hull, box(-0.6, 0.28, 0.6, 0.34), PAPER)
    brush.stroke(hull, 0.028, INK, 0.85)


def _rocket(brush: Brush) -> None:
    brush.flat(curve((-0.13, 0.34), (-0.1, 0.5, 0, 0.58), (0.1, 0.5, 0.13, 0.34)), (255, 240, 206))
    for side in (-1, 1):
        brush.solid(curve((0.16 * side, 0.04), (0.36 * side, 0.14, 0.36 * side, 0.42), (0.14 * side, 0.32)), brush.dark)
    body = curve(
        (0, -0.56), (0.2, -0.36, 0.24, -0.06, 0.14, 0.36), (-0.14, 0.36), (-0.24, -0.06, -0.2, -0.36, 0, -0.56)
    )
    brush.solid(body)
    brush.clipped(body, box(-0.3, 0.22, 0.3, 0.29), PAPER)
    brush.flat(ellipse(0, -0.14, 0.115, 0.115), PAPER)
    brush.flat(ellipse(0, -0.14, 0.08, 0.08), (120, 132, 160))
    brush.stroke(body, 0.028, INK, 0.85)


def _robot(brush: Brush) -> None:
    brush.stroke(line((0, -0.36), (0, -0.47)), 0.035)
    brush.solid(ellipse(0, -0.49, 0.055, 0.055))
    for side in (-1, 1):
        brush.solid(box(0.35 * side - 0.07, -0.02, 0.35 * side + 0.07, 0.3, 0.04))
        brush.solid(box(0.14 * side - 0.075, 0.34, 0.14 * side + 0.075, 0.52, 0.02), brush.dark)
    brush.solid(box(-0.27, -0.06, 0.27, 0.38, 0.04))
    brush.solid(box(-0.15, 0.06, 0.15, 0.25, 0.02), METAL)
    brush.flat(ellipse(-0.06, 0.155, 0.036, 0.036), INK)
    brush.flat(ellipse(0.06, 0.155, 0.036, 0.036), INK)
    brush.solid(box(-0.23, -0.38, 0.23, -0.07, 0.05))
    for side in (-1, 1):
        brush.flat(ellipse(0.1 * side, -0.25, 0.068, 0.068), PAPER)
        brush.flat(ellipse(0.1 * side, -0.25, 0.034, 0.034), INK)
    brush.stroke(line((-0.1, -0.13), (0.1, -0.13)), 0.035)


_DRAWINGS: dict[str, Callable[[Brush], None]] = {
    "ball": _ball,
    "cube": _cube,
    "star": _star,
    "heart": _heart,
    "cat": _cat,
    "fish": _fish,
    "car": _car,
    "boat": _boat,
    "rocket": _rocket,
    "robot": _robot,
}
