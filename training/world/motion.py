"""Where things are at a given second: the trajectory of each object and of the camera.

Every motion is plain for the first two seconds (`CYCLE_SECONDS`); in longer clips it goes back and forth or repeats, so
that clips of any length and frame rate show the same film.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import cos, exp, log, pi, sin

import numpy as np

from training.world.scene import Scene

CYCLE_SECONDS = 2.0
STEP_SECONDS = CYCLE_SECONDS / 4
"""Time from one step of a walker to the next: four to a crossing, so that where it is tells when it steps."""
GROUND = 0.9
"""Height of the line on which things stand, as a fraction of the frame, measured from the top."""

SECOND_SIZE = 0.3

# Lowest point of each drawing in its unit box, and how much larger than a ball it is drawn to look as large.
FEET = {
    "ball": 0.46, "cube": 0.5, "star": 0.48, "heart": 0.46, "cat": 0.5, "fish": 0.34, "car": 0.33, "boat": 0.48,
    "rocket": 0.56, "robot": 0.52, "person": 0.54,
}  # fmt: skip
BULKS = {
    "ball": 1.04, "cube": 1.04, "star": 1.1, "heart": 1.08, "cat": 1.12, "fish": 1.16, "car": 1.16, "boat": 1.06,
    "rocket": 1.1, "robot": 1.12, "person": 1.15,
}  # fmt: skip


@dataclass(frozen=True)
class Pose:
    """Where an object is drawn.

    Attributes:
        x: centre, as a fraction of the frame's width.
        y: centre, as a fraction of the frame's height.
        size: side of the object's unit box, as a fraction of the frame's short side.
        angle: clockwise turn in radians.
        stretch: height over resting height; the width shrinks to keep the area.
        facing: 1 looks right, -1 looks left.
        lift: height above the ground, as a fraction of the frame's height.
        ground: height of the ground below it, as a fraction of the frame's height from the top.
    """

    x: float
    y: float
    size: float
    angle: float = 0.0
    stretch: float = 1.0
    facing: int = 1
    lift: float = 0.0
    ground: float = GROUND


@dataclass(frozen=True)
class View:
    """Where the camera looks: shift of the nearest background layer in frame widths and heights, and its scale."""

    x: float = 0.0
    y: float = 0.0
    zoom: float = 1.0


def to_and_fro(seconds: float) -> float:
    """0 to 1 during the first cycle, back to 0 during the second, and so on, at constant speed."""
    phase = (seconds / CYCLE_SECONDS) % 2.0
    return phase if phase <= 1.0 else 2.0 - phase


def hop_seconds(scene: Scene) -> float:
    """Time from one touch of the ground to the next of a scene that bounces."""
    return 0.95 + 0.05 * _traits(scene.seed)[3]


def turn_seconds(scene: Scene) -> float:
    """Time of one full turn of a scene that spins: it makes 0.55 to 0.95 of a turn in one cycle."""
    return CYCLE_SECONDS / (0.75 + 0.2 * _traits(scene.seed)[1])


def pose(scene: Scene, seconds: float, aspect: float = 1.0) -> Pose:
    """Where the first object is `seconds` after the start; `aspect` is the frame's width over its height."""
    u, v, w, _, _ = _traits(scene.seed)
    size = (0.54 + 0.03 * w) * BULKS[scene.object] * (0.85 if scene.second is not None else 1.0)
    short = min(aspect, 1.0)
    rest = GROUND - FEET[scene.object] * size * short
    x = 0.5 + 0.05 * u + _offset(scene)
    progress = to_and_fro(seconds)
    signed = 2 * progress - 1
    match scene.motion:
        case "moves left" | "moves right":
            facing = 1 if scene.motion == "moves right" else -1
            return Pose(0.5 + facing * signed * (0.26 + 0.02 * v), rest, size, facing=facing)
        case "bounces":
            drift = 0.08 * signed * (1 if v > 0 else -1)
            return _bounce(Pose(x, rest, size), (seconds / hop_seconds(scene)) % 1.0, drift, short)
        case "spins":
            return Pose(x, 0.54, size, angle=2 * pi * seconds / turn_seconds(scene), lift=0.08)
        case "grows" | "shrinks":
            spread = log(1.85 + 0.1 * v) * (signed if scene.motion == "grows" else -signed) / 2
            grown = 0.84 * size * exp(spread)
            return Pose(x, 0.54, grown, lift=0.54 - 0.5 * grown * short)
        case "rises" | "falls":
            lift = 0.44 * (progress if scene.motion == "rises" else 1 - progress)
            lowered = rest + 0.12 * FEET[scene.object] * size * short
            return Pose(x, lowered - lift, 0.88 * size, lift=lift)
        case "stays still":
            return Pose(x, rest, size, stretch=1.0 + 0.01 * sin(2 * pi * seconds / CYCLE_SECONDS))
    raise AssertionError(scene.motion)


def second_pose(scene: Scene, aspect: float = 1.0) -> Pose:
    """Where the second object stands, for the whole clip."""
    assert scene.second is not None
    side = {"left of": 0.3, "right of": -0.3, "behind": 0.22, "in front of": 0.24}[scene.second.relation]
    ground = {"behind": GROUND + 0.06, "in front of": GROUND - 0.16}.get(scene.second.relation, GROUND)
    short = min(aspect, 1.0)
    return Pose(0.5 + side, ground - FEET[scene.second.object] * SECOND_SIZE * short, SECOND_SIZE, ground=ground)


def view(scene: Scene, seconds: float) -> View:
    """Where the camera looks `seconds` after the start: pans go on for ever, zooms and tilts go to and fro."""
    pan = (0.4 + 0.05 * _traits(scene.seed)[4]) * seconds
    progress = to_and_fro(seconds)
    match scene.camera:
        case "pans left":
            return View(x=pan)
        case "pans right":
            return View(x=-pan)
        case "tilts up":
            return View(y=0.36 * progress)
        case "tilts down":
            return View(y=0.36 * (1 - progress))
        case "zooms in":
            return View(zoom=1.55**progress)
        case "zooms out":
            return View(zoom=1.55 ** (1 - progress))
    return View()


def _bounce(rest: Pose, phase: float, drift: float, short: float) -> Pose:
    """A parabola from the ground and back, squashed for a moment at either end."""
    height = 0.29 * 4 * phase * (1 - phase)
    contact = max(0.0, cos(2 * pi * phase)) ** 4
    stretch = 1.0 - 0.22 * contact
    sink = 0.5 * rest.size * short * (1 - stretch)
    return Pose(rest.x + drift, rest.y - height + sink, rest.size, stretch=stretch, lift=height)


def _offset(scene: Scene) -> float:
    if scene.second is None:
        return 0.0
    return {"left of": -0.18, "right of": 0.18, "behind": -0.08, "in front of": -0.08}[scene.second.relation]


@lru_cache(maxsize=4096)
def _traits(seed: int) -> tuple[float, ...]:
    """Five numbers from -1 to 1 that make scenes with the same words differ a little."""
    return tuple(float(value) for value in np.random.default_rng([seed, 0]).uniform(-1, 1, 5))
