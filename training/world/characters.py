"""How people look: a figure in a dress of the scene's colour, with the face, hair and skin of an identity."""

from training.world.paint import INK, Brush, Rgb, curve, ellipse, line
from training.world.scene import Identity

SKIN_COLOURS: dict[str, Rgb] = {
    "pale": (250, 226, 208),
    "tan": (226, 186, 152),
    "brown": (164, 116, 86),
    "dark": (104, 74, 60),
}
HAIR_COLOURS: dict[str, Rgb] = {
    "black": (40, 36, 44),
    "brown": (110, 76, 56),
    "blond": (236, 212, 150),
    "grey": (178, 178, 186),
}


def draw_person(brush: Brush, identity: Identity) -> None:
    """A standing person seen from the front, in the unit box."""
    skin, hair = SKIN_COLOURS[identity.skin], HAIR_COLOURS[identity.hair]
    if identity.cut == "long":
        brush.solid(curve((-0.2, -0.34), (-0.28, 0.02, -0.24, 0.1), (0.24, 0.1), (0.28, 0.02, 0.2, -0.34)), hair)
    for side in (-1, 1):
        brush.stroke(line((0.08 * side, 0.34), (0.08 * side, 0.5)), 0.085, skin)
        brush.stroke(line((0.07 * side, 0.51), (0.12 * side, 0.51)), 0.06, INK)
        brush.stroke(line((0.14 * side, -0.02), (0.31 * side, 0.2)), 0.075, skin)
    brush.solid(
        curve((-0.13, -0.08), (0.13, -0.08), (0.2, 0.2, 0.29, 0.38), (0, 0.44, -0.29, 0.38), (-0.2, 0.2, -0.13, -0.08))
    )
    _head(brush, identity.cut, skin, hair)


def _head(brush: Brush, cut: str, skin: Rgb, hair: Rgb) -> None:
    if cut == "bun":
        brush.solid(ellipse(0, -0.5, 0.085, 0.075), hair)
    if cut == "curly":
        for x, y in ((-0.2, -0.28), (-0.19, -0.4), (-0.08, -0.48), (0.08, -0.48), (0.19, -0.4), (0.2, -0.28)):
            brush.solid(ellipse(x, y, 0.095, 0.09), hair)
    brush.solid(ellipse(0, -0.27, 0.19, 0.2), skin)
    brush.flat(
        curve(
            (-0.2, -0.27),
            (-0.22, -0.5, 0, -0.49),
            (0.22, -0.5, 0.2, -0.27),
            (0.12, -0.38, -0.04, -0.38),
            (-0.16, -0.36, -0.2, -0.27),
        ),
        hair,
    )
    for side in (-1, 1):
        brush.flat(ellipse(0.075 * side, -0.25, 0.026, 0.036), INK)
    brush.stroke(curve((-0.06, -0.16), (0, -0.11, 0.06, -0.16), closed=False), 0.025)
