"""How each place looks: a few wide layers that move at their own rate.

Colours are pale or dull, so that the hue of an object always stands out, and details are few and large.
"""

from collections.abc import Callable

import numpy as np
import skia

from training.world.paint import box, curve, ellipse, paint, polygon
from training.world.scenery import PERIOD, Layer, clouds, everywhere, gradient, ridge, spread


def layers(place: str, seed: int) -> list[Layer]:
    """The sheets of a place from far to near; `seed` decides the small variations."""
    return _PLACES[place](np.random.default_rng([seed, 3]))


def _meadow(rng: np.random.Generator) -> list[Layer]:
    def sky(canvas: skia.Canvas) -> None:
        gradient(canvas, (196, 222, 244), (230, 240, 244))
        clouds(canvas, rng, (250, 251, 252))

    def hills(canvas: skia.Canvas) -> None:
        ridge(canvas, rng, 0.52, 0.09, (190, 214, 180))
        for x in spread(rng, 3):
            everywhere(canvas, box(x - 0.015, 0.5, x + 0.015, 0.6), (150, 136, 122))
            everywhere(canvas, ellipse(x, 0.44, 0.085, 0.1), (156, 186, 148))

    def grass(canvas: skia.Canvas) -> None:
        ridge(canvas, rng, 0.74, 0.035, (170, 202, 156), (1, 2))
        for x in spread(rng, 5):
            y = float(rng.uniform(0.84, 0.95))
            blade = curve(
                (x - 0.05, y),
                (x - 0.045, y - 0.07),
                (x - 0.015, y - 0.02),
                (x, y - 0.09),
                (x + 0.015, y - 0.02),
                (x + 0.045, y - 0.07),
                (x + 0.05, y),
            )
            everywhere(canvas, blade, (140, 178, 128))

    return [Layer(sky, 0.3), Layer(hills, 0.6), Layer(grass, 1.0)]


def _snow(rng: np.random.Generator) -> list[Layer]:
    def sky(canvas: skia.Canvas) -> None:
        gradient(canvas, (206, 214, 232), (236, 238, 246))

    def mountains(canvas: skia.Canvas) -> None:
        for x in spread(rng, 3):
            top = float(rng.uniform(0.2, 0.3))
            everywhere(canvas, polygon((x - 0.46, 0.7), (x, top), (x + 0.46, 0.7)), (192, 202, 222))
            everywhere(
                canvas,
                polygon((x - 0.13, top + 0.13), (x, top), (x + 0.13, top + 0.13), (x, top + 0.09)),
                (250, 251, 254),
            )

    def pines(canvas: skia.Canvas) -> None:
        for x in spread(rng, 5):
            size = float(rng.uniform(0.85, 1.15))
            for level in (0.0, 0.1, 0.2):
                half, base = (0.06 + level * 0.3) * size, 0.44 + level + 0.02
                everywhere(
                    canvas, polygon((x - half, base), (x, base - 0.15 * size), (x + half, base)), (136, 160, 158)
                )
        ridge(canvas, rng, 0.66, 0.025, (246, 248, 252), (1, 2))

    def drift(canvas: skia.Canvas) -> None:
        ridge(canvas, rng, 0.84, 0.04, (232, 237, 247), (1, 3))

    return [Layer(sky, 0.3), Layer(mountains, 0.5), Layer(pines, 0.85), Layer(drift, 1.0)]


def _desert(rng: np.random.Generator) -> list[Layer]:
    def sky(canvas: skia.Canvas) -> None:
        gradient(canvas, (246, 228, 212), (250, 240, 222), to_y=0.7)
        x = float(rng.uniform(0, PERIOD))
        everywhere(canvas, ellipse(x, 0.2, 0.1, 0.1), (255, 250, 236))

    def far(canvas: skia.Canvas) -> None:
        ridge(canvas, rng, 0.54, 0.1, (236, 212, 180), (2, 3))

    def near(canvas: skia.Canvas) -> None:
        for x in spread(rng, 4):
            height = float(rng.uniform(0.9, 1.15))
            green = (158, 176, 150)
            everywhere(canvas, box(x - 0.035, 0.7 - 0.32 * height, x + 0.035, 0.8, 0.035), green)
            everywhere(canvas, box(x - 0.12, 0.58, x + 0.12, 0.63, 0.025), green)
            everywhere(canvas, box(x - 0.12, 0.48, x - 0.07, 0.63, 0.025), green)
            everywhere(canvas, box(x + 0.07, 0.44, x + 0.12, 0.63, 0.025), green)
        ridge(canvas, rng, 0.75, 0.05, (226, 196, 158), (1, 2))
        ridge(canvas, rng, 0.9, 0.05, (212, 182, 146), (2, 3))

    return [Layer(sky, 0.3), Layer(far, 0.6), Layer(near, 1.0)]


def _beach(rng: np.random.Generator) -> list[Layer]:
    def sky(canvas: skia.Canvas) -> None:
        gradient(canvas, (214, 234, 246), (240, 244, 244))
        clouds(canvas, rng, (252, 252, 252), 2)

    def sea(canvas: skia.Canvas) -> None:
        canvas.drawRect(skia.Rect(0, 0.46, PERIOD, 1), paint((160, 200, 214)))
        for x in spread(rng, 3):
            everywhere(canvas, polygon((x - 0.11, 0.46), (x + 0.02, 0.38), (x + 0.15, 0.46)), (176, 190, 190))
        for x in spread(rng, 4):
            everywhere(canvas, ellipse(x, float(rng.uniform(0.54, 0.62)), 0.14, 0.012), (222, 238, 242))

    def sand(canvas: skia.Canvas) -> None:
        ridge(canvas, rng, 0.7, 0.03, (240, 242, 238), (1, 2))
        ridge(canvas, rng, 0.74, 0.03, (238, 224, 192), (1, 2))
        for x in spread(rng, 2):
            everywhere(
                canvas,
                curve((x, 0.82), (x + 0.03, 0.5, x + 0.1, 0.36), (x + 0.13, 0.36), (x + 0.08, 0.5, x + 0.05, 0.82)),
                (170, 146, 124),
            )
            for end_x, end_y in ((-0.08, 0.42), (0.0, 0.28), (0.22, 0.26), (0.32, 0.4)):
                leaf = curve(
                    (x + 0.11, 0.38),
                    (x + 0.06 + end_x / 2, 0.28, x + end_x, end_y),
                    (x + 0.08 + end_x / 2, 0.36, x + 0.11, 0.38),
                )
                everywhere(canvas, leaf, (142, 176, 146))

    return [Layer(sky, 0.3), Layer(sea, 0.6), Layer(sand, 1.0)]


def _forest(rng: np.random.Generator) -> list[Layer]:
    def back(canvas: skia.Canvas) -> None:
        gradient(canvas, (198, 214, 188), (176, 198, 170))
        for x in spread(rng, 6):
            everywhere(canvas, box(x - 0.04, -0.1, x + 0.04, 0.8), (168, 180, 152))

    def trunks(canvas: skia.Canvas) -> None:
        for x in spread(rng, 4):
            half = float(rng.uniform(0.06, 0.08))
            everywhere(
                canvas,
                curve(
                    (x - half, -0.1),
                    (x + half, -0.1),
                    (x + half, 0.62),
                    (x + half, 0.72, x + half * 1.8, 0.76),
                    (x - half * 1.8, 0.76),
                    (x - half, 0.72, x - half, 0.62),
                ),
                (132, 114, 102),
            )
        ridge(canvas, rng, 0.75, 0.02, (154, 164, 126), (2, 3))
        for x in spread(rng, 5):
            everywhere(canvas, ellipse(x, 0.06, 0.3, 0.14), (134, 160, 126))

    def floor(canvas: skia.Canvas) -> None:
        ridge(canvas, rng, 0.87, 0.02, (140, 150, 114), (1, 2))

    return [Layer(back, 0.5), Layer(trunks, 0.85), Layer(floor, 1.0)]


def _city(rng: np.random.Generator) -> list[Layer]:
    def sky(canvas: skia.Canvas) -> None:
        gradient(canvas, (226, 218, 226), (244, 234, 228))

    def skyline(canvas: skia.Canvas) -> None:
        for x in spread(rng, 7):
            top = float(rng.uniform(0.2, 0.45))
            everywhere(canvas, box(x - 0.12, top, x + 0.12, 0.8), (204, 202, 214))

    def street(canvas: skia.Canvas) -> None:
        for x in spread(rng, 5):
            top, half = float(rng.uniform(0.14, 0.42)), float(rng.uniform(0.12, 0.15))
            everywhere(canvas, box(x - half, top, x + half, 0.8), (164, 166, 184))
            for row in range(4):
                for column in (-1, 1):
                    middle, y = x + 0.5 * half * column, top + 0.05 + 0.12 * row
                    everywhere(canvas, box(middle - 0.035, y, middle + 0.035, y + 0.06), (226, 224, 214))
        canvas.drawRect(skia.Rect(0, 0.72, PERIOD, 1), paint((196, 194, 198)))
        canvas.drawRect(skia.Rect(0, 0.78, PERIOD, 1), paint((144, 144, 154)))
        for index in range(4):
            x = PERIOD * index / 4
            everywhere(canvas, box(x, 0.9, x + 0.22, 0.925), (226, 224, 220))

    return [Layer(sky, 0.3), Layer(skyline, 0.5), Layer(street, 1.0)]


def _night(rng: np.random.Generator) -> list[Layer]:
    def sky(canvas: skia.Canvas) -> None:
        gradient(canvas, (44, 48, 74), (84, 86, 112), to_y=0.8)
        for x in spread(rng, 6):
            everywhere(canvas, ellipse(x, float(rng.uniform(0.06, 0.4)), 0.014, 0.014), (206, 208, 220))
        for x in spread(rng, 1):
            everywhere(canvas, ellipse(x, 0.2, 0.11, 0.11), (238, 236, 218))
            everywhere(canvas, ellipse(x - 0.03, 0.18, 0.025, 0.025), (216, 214, 200))
            everywhere(canvas, ellipse(x + 0.03, 0.23, 0.03, 0.03), (216, 214, 200))

    def far(canvas: skia.Canvas) -> None:
        ridge(canvas, rng, 0.58, 0.1, (62, 66, 92), (2, 3))

    def near(canvas: skia.Canvas) -> None:
        ridge(canvas, rng, 0.76, 0.05, (42, 46, 62), (1, 2))

    return [Layer(sky, 0.4), Layer(far, 0.65), Layer(near, 1.0)]


def _room(rng: np.random.Generator) -> list[Layer]:
    def wall(canvas: skia.Canvas) -> None:
        gradient(canvas, (236, 224, 222), (228, 214, 212))
        for x in spread(rng, 2):
            everywhere(canvas, box(x - 0.24, 0.08, x + 0.24, 0.5), (250, 248, 244))
            for left in (-0.205, 0.015):
                everywhere(canvas, box(x + left, 0.115, x + left + 0.19, 0.465), (200, 220, 234))
            everywhere(canvas, box(x + 0.42, 0.18, x + 0.64, 0.4), (164, 140, 126))
            everywhere(canvas, box(x + 0.45, 0.21, x + 0.61, 0.37), (222, 222, 206))

    def floor(canvas: skia.Canvas) -> None:
        canvas.drawRect(skia.Rect(0, 0.7, PERIOD, 0.74), paint((250, 246, 242)))
        canvas.drawRect(skia.Rect(0, 0.74, PERIOD, 1), paint((202, 174, 150)))
        for index in range(8):
            x = PERIOD * index / 8
            everywhere(canvas, polygon((x, 0.74), (x + 0.012, 0.74), (x + 0.012, 1.01), (x, 1.01)), (182, 154, 132))

    return [Layer(wall, 0.8), Layer(floor, 1.0)]


_PLACES: dict[str, Callable[[np.random.Generator], list[Layer]]] = {
    "meadow": _meadow,
    "snow": _snow,
    "desert": _desert,
    "beach": _beach,
    "forest": _forest,
    "city": _city,
    "night": _night,
    "room": _room,
}
