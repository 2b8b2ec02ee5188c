"""Written signs: a wooden board that hangs from the top of the frame, lettered with its own plain font.

The letters are strokes on a grid, so that a sign looks the same on every machine, whatever fonts it has.
"""

import skia

from training.world.paint import INK, box, line, paint

# Points "xy" on a grid 4 wide and 6 high, y down; a space joins points of one stroke, a slash starts the next stroke.
_STROKES = {
    "A": "06 20 46/14 34",
    "B": "03 33 44 45 36 06 00 30 41 42 33",
    "C": "41 30 10 01 05 16 36 45",
    "D": "00 06 26 45 41 20 00",
    "E": "40 00 06 46/03 33",
    "F": "40 00 06/03 33",
    "G": "41 30 10 01 05 16 36 45 43 23",
    "H": "00 06/40 46/03 43",
    "I": "20 26/10 30/16 36",
    "J": "40 45 36 16 05",
    "K": "00 06/40 03 46",
    "L": "00 06 46",
    "M": "06 00 23 40 46",
    "N": "06 00 46 40",
    "O": "10 30 41 45 36 16 05 01 10",
    "P": "06 00 30 41 42 33 03",
    "Q": "10 30 41 45 36 16 05 01 10/24 46",
    "R": "06 00 30 41 42 33 03/23 46",
    "S": "41 30 10 01 02 13 33 44 45 36 16 05",
    "T": "00 40/20 26",
    "U": "00 05 16 36 45 40",
    "V": "00 26 40",
    "W": "00 16 23 36 40",
    "X": "00 46/40 06",
    "Y": "00 23 40/23 26",
    "Z": "00 40 06 46",
}
_BOARD = (226, 200, 168)
_EDGE = (150, 120, 96)
_ADVANCE = 6.0
_TOP, _BOTTOM = 0.05, 0.25


def draw_sign(canvas: skia.Canvas, word: str, height: int, width: int) -> None:
    """Hangs a board with a word of letters A to Z at the top centre of a frame."""
    length = _ADVANCE * len(word) - 2.0
    unit = min(0.12 * min(height, width) / 6.0, 0.8 * width / length)
    middle, half, pad = 0.5 * width, 0.5 * length * unit, 0.03 * min(height, width)
    left, right = middle - half - 2 * pad, middle + half + 2 * pad
    for x in (left + pad, right - pad):
        canvas.drawPath(line((x, 0), (x, _TOP * height)), paint(_EDGE, stroke=0.4 * pad))
    board = box(left, _TOP * height, right, _BOTTOM * height, pad)
    canvas.drawPath(board, paint(_BOARD))
    canvas.drawPath(board, paint(_EDGE, stroke=0.5 * pad))
    canvas.save()
    canvas.translate(middle - half, 0.5 * (_TOP + _BOTTOM) * height - 3 * unit)
    canvas.scale(unit, unit)
    for place, letter in enumerate(word):
        for stroke in _STROKES[letter].split("/"):
            points = [(_ADVANCE * place + int(point[0]), float(point[1])) for point in stroke.split()]
            canvas.drawPath(line(*points), paint(INK, stroke=1.05))
    canvas.restore()
