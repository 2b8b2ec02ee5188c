"""Colours and brush strokes that everything in the world is drawn with."""

from collections.abc import Sequence

import skia

Rgb = tuple[int, int, int]
Point = tuple[float, float]

PALETTE: dict[str, Rgb] = {
    "red": (222, 38, 44),
    "orange": (247, 131, 20),
    "yellow": (250, 214, 28),
    "green": (46, 168, 62),
    "teal": (16, 168, 172),
    "blue": (42, 84, 224),
    "purple": (134, 56, 196),
    "pink": (248, 104, 182),
}
INK: Rgb = (44, 36, 52)
PAPER: Rgb = (252, 250, 246)
RGBA = skia.kRGBA_8888_ColorType
OUTLINE = 0.028
"""Width of outlines as a fraction of an object's size."""


def mix(first: Rgb, second: Rgb, share: float) -> Rgb:
    """`first` with `share` of it (0 to 1) replaced by `second`."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(first, second, strict=True))
    return red, green, blue


def colour(rgb: Rgb, alpha: float = 1.0) -> int:
    """Skia's number for an opaque or translucent colour."""
    return int(skia.ColorSetARGB(round(255 * alpha), *rgb))


def paint(rgb: Rgb, alpha: float = 1.0, stroke: float = 0.0) -> skia.Paint:
    """A plain paint: a fill, or a rounded stroke of the given width."""
    if not stroke:
        return skia.Paint(Color=colour(rgb, alpha), AntiAlias=True)
    return skia.Paint(
        Color=colour(rgb, alpha),
        AntiAlias=True,
        Style=skia.Paint.kStroke_Style,
        StrokeWidth=stroke,
        StrokeCap=skia.Paint.kRound_Cap,
        StrokeJoin=skia.Paint.kRound_Join,
    )


def polygon(*points: Point) -> skia.Path:
    """A closed path through points."""
    path = skia.Path()
    path.addPoly([skia.Point(*point) for point in points], True)
    return path


def line(*points: Point) -> skia.Path:
    """An open path through points."""
    path = skia.Path()
    path.addPoly([skia.Point(*point) for point in points], False)
    return path


def ellipse(x: float, y: float, rx: float, ry: float) -> skia.Path:
    """An ellipse about a centre."""
    path = skia.Path()
    path.addOval(skia.Rect(x - rx, y - ry, x + rx, y + ry))
    return path


def box(left: float, top: float, right: float, bottom: float, radius: float = 0.0) -> skia.Path:
    """A rectangle with rounded corners."""
    path = skia.Path()
    path.addRoundRect(skia.Rect(left, top, right, bottom), radius, radius)
    return path


def curve(start: Point, *steps: Sequence[float], closed: bool = True) -> skia.Path:
    """A path of straight steps (x, y), quadratic steps (4 numbers) and cubic steps (6 numbers), all absolute."""
    path = skia.Path()
    path.moveTo(*start)
    for step in steps:
        {2: path.lineTo, 4: path.quadTo, 6: path.cubicTo}[len(step)](*step)
    if closed:
        path.close()
    return path


class Brush:
    """Draws solid, shaded, outlined parts of one colour on a canvas."""

    def __init__(self, canvas: skia.Canvas, rgb: Rgb) -> None:
        self.canvas = canvas
        self.rgb = rgb
        self.light = mix(rgb, (255, 255, 255), 0.3)
        self.dark = mix(rgb, (20, 10, 40), 0.34)

    def solid(self, path: skia.Path, rgb: Rgb | None = None, outline: bool = True) -> None:
        """A part lit from the upper left, with a thin dark outline."""
        base = rgb or self.rgb
        bounds = path.getBounds()
        shaded = paint(base)
        shaded.setShader(
            skia.GradientShader.MakeLinear(
                points=[skia.Point(bounds.left(), bounds.top()), skia.Point(bounds.right(), bounds.bottom())],
                colors=[colour(mix(base, (255, 255, 255), 0.16)), colour(base), colour(mix(base, (20, 10, 40), 0.2))],
                positions=[0.0, 0.5, 1.0],
            )
        )
        self.canvas.drawPath(path, shaded)
        if outline:
            self.canvas.drawPath(path, paint(INK, 0.85, OUTLINE))

    def flat(self, path: skia.Path, rgb: Rgb, alpha: float = 1.0) -> None:
        """A part without shading or outline."""
        self.canvas.drawPath(path, paint(rgb, alpha))

    def stroke(self, path: skia.Path, width: float, rgb: Rgb = INK, alpha: float = 1.0) -> None:
        """A line with round ends."""
        self.canvas.drawPath(path, paint(rgb, alpha, width))

    def rope(self, path: skia.Path, width: float) -> None:
        """An outlined line in the object's colour: tails and arms."""
        self.stroke(path, width + 2 * OUTLINE, INK, 0.85)
        self.stroke(path, width, self.rgb)

    def clipped(self, clip: skia.Path, part: skia.Path, rgb: Rgb, alpha: float = 1.0) -> None:
        """The piece of `part` that lies inside `clip`."""
        self.canvas.save()
        self.canvas.clipPath(clip, True)
        self.flat(part, rgb, alpha)
        self.canvas.restore()
