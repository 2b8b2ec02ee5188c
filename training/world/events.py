"""What could be heard in a scene, and when: computed from the same motion that is drawn."""

from dataclasses import dataclass
from math import ceil

from training.world.motion import CYCLE_SECONDS, STEP_SECONDS, hop_seconds, turn_seconds
from training.world.scene import Scene

MATERIALS = {
    "meadow": "grass",
    "snow": "snow",
    "desert": "sand",
    "beach": "sand",
    "forest": "earth",
    "city": "stone",
    "night": "earth",
    "room": "wood",
}
KINDS = ("bounce", "splash", "thud", "bell", "whoosh", "step")
ENGINE = "engine"
WALKERS = ("person", "robot")
VEHICLES = ("car", "boat", "rocket")


@dataclass(frozen=True)
class Event:
    """A sound with a cause: when, of which kind, and on which material."""

    seconds: float
    kind: str
    material: str


@dataclass(frozen=True)
class Interval:
    """A sound that lasts: from when to when, and of which kind."""

    start_seconds: float
    end_seconds: float
    kind: str


def events(scene: Scene, duration_seconds: float) -> list[Event]:
    """The events of the first `duration_seconds` (the end excluded), in order of time.

    "bounce": a bouncing object touches the ground, from the first instant on; "splash": the same for what belongs in
    water, by the sea; "thud": a falling object lands; "whoosh": a rising one sets off; "bell": a spinning one completes
    a turn; "step": a person or robot that moves sets a foot down.
    """
    material = MATERIALS[scene.place]
    match scene.motion:
        case "bounces":
            wet = scene.place == "beach" and scene.object in ("boat", "fish")
            kind, material = ("splash", "water") if wet else ("bounce", material)
            return _every(hop_seconds(scene), 0.0, duration_seconds, kind, material)
        case "falls":
            return _every(2 * CYCLE_SECONDS, CYCLE_SECONDS, duration_seconds, "thud", material)
        case "rises":
            return _every(2 * CYCLE_SECONDS, 0.0, duration_seconds, "whoosh", "air")
        case "spins":
            turn = turn_seconds(scene)
            return _every(turn, turn, duration_seconds, "bell", "metal")
        case "moves left" | "moves right" if scene.object in WALKERS:
            return _every(STEP_SECONDS, STEP_SECONDS / 2, duration_seconds, "step", material)
    return []


def intervals(scene: Scene, duration_seconds: float) -> list[Interval]:
    """What sounds without a break during the first `duration_seconds`: the "engine" of a vehicle that moves."""
    if scene.object in VEHICLES and scene.motion in ("moves left", "moves right"):
        return [Interval(0.0, duration_seconds, ENGINE)]
    return []


def _every(period: float, first: float, end: float, kind: str, material: str) -> list[Event]:
    count = max(0, ceil((end - first) / period))
    return [Event(first + period * index, kind, material) for index in range(count)]
