"""How each event of the world sounds: bodies that ring, splashes of noise, a motor that turns.

Each kind differs from every other by spectrum and envelope together, so that a kind can be told by measuring. The
levels are relative: the loudest 50 ms of a bounce have a root mean square of one.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from kino.shapes import SAMPLE_RATE
from training.world.events import Event
from training.world.motion import to_and_fro
from training.world.synthesis import Mode, Signal, clock, levelled, noise, ring, samples, strike, swept_noise, tone


@dataclass(frozen=True)
class Ground:
    """What is heard of a material when something touches it.

    Attributes:
        band: edges of its noise in Hz.
        noise_seconds: decay time of that noise.
        grains: share of the noise that breaks up into grains, as snow does.
        modes: how the ground itself rings.
    """

    band: tuple[float, float]
    noise_seconds: float
    grains: float = 0.0
    modes: tuple[Mode, ...] = ()


GROUNDS = {
    "grass": Ground((700, 2600), 0.05),
    "snow": Ground((2500, 7000), 0.09, grains=0.9),
    "sand": Ground((5000, 13000), 0.06),
    "earth": Ground((140, 650), 0.045),
    "stone": Ground((2500, 9000), 0.006, modes=((1930, 0.7, 0.03), (3170, 0.8, 0.025), (4810, 0.6, 0.02))),
    "wood": Ground((900, 3000), 0.008, modes=((410, 0.7, 0.045), (870, 0.9, 0.04), (1510, 0.6, 0.03))),
}
ENGINE_HZ = {"car": 82.0, "boat": 54.0, "rocket": 98.0}
"""Pitch of each motor at the speed at which things cross the frame."""
ROAR = {"car": 0.15, "boat": 0.2, "rocket": 0.7}
"""Noise of each motor, as a share of its tones."""

BELL = (
    (0.5, 0.5, 1.6), (1.0, 0.8, 1.1), (1.19, 0.55, 0.8), (1.5, 0.35, 0.6), (2.0, 0.9, 0.7), (2.66, 0.4, 0.4),
    (3.01, 0.35, 0.32), (4.17, 0.3, 0.22), (5.43, 0.2, 0.15),
)  # fmt: skip
"""Partials of a church bell: ratio to the strike note (hum, prime, tierce, quint, nominal, ...), gain, decay time."""


def sound_of(event: Event, rng: np.random.Generator) -> Signal:
    """The sound of an event from its first sample on; `rng` makes each a little different."""
    return _VOICES[event.kind](event.material, rng)


def engine(name: str, count: int, rng: np.random.Generator) -> Signal:
    """A motor that carries an object to and fro from time zero on, of power about one.

    It turns slower where the way reverses, and is heard higher while it comes nearer than while it goes away.
    """
    times = clock(count)
    grid = np.arange(0, count + 480, 480) / SAMPLE_RATE
    progress = np.interp(times, grid, [to_and_fro(second) for second in grid])
    turning = np.minimum(progress, 1 - progress)
    speed = np.where((times < 1) & (progress < 0.5), 1.0, 1 - np.exp(-turning / 0.06))
    leaving = np.where((times % 4) < 2, progress, 1 - progress) - 0.5
    hz = ENGINE_HZ[name] * float(rng.uniform(0.95, 1.05)) * (0.72 + 0.28 * speed) * (1 - 0.12 * leaving)
    harmonics = sum(tone(k * hz, float(rng.uniform(0, 6.28))) / k**0.7 for k in range(1, 13))
    roar = noise(rng, count, 250, 2200) * (0.8 + 0.2 * tone(hz / 2)) * ROAR[name]
    near = 1 - 0.35 * np.abs(2 * progress - 1)
    return np.asarray((0.6 * harmonics + roar) * near * (0.7 + 0.3 * speed))


def _bounce(material: str, rng: np.random.Generator) -> Signal:
    """Rubber: one note that sags as it is released, and the ground it leaves."""
    count = samples(0.6)
    hz = 235 * float(rng.uniform(0.9, 1.1)) * (1 + 0.4 * np.exp(-clock(count) / 0.03))
    body = strike(count, 0.002, 0.1) * tone(hz) + 0.3 * strike(count, 0.002, 0.05) * tone(2 * hz)
    return levelled(levelled(body) + 0.5 * levelled(_contact(material, count, rng)))


def _thud(material: str, rng: np.random.Generator) -> Signal:
    """A heavy body that stops dead: deep, with a dull crush of the ground."""
    count = samples(0.8)
    pitch = float(rng.uniform(0.93, 1.07))
    deep = ring(count, ((52 * pitch, 1.0, 0.17), (88 * pitch, 0.8, 0.14), (127 * pitch, 0.5, 0.09)))
    crush = noise(rng, count, 60, 260) * strike(count, 0.003, 0.09)
    body = strike(count, 0.002, 10.0) * deep + 0.5 * crush
    return 1.3 * levelled(levelled(body) + 0.3 * levelled(_contact(material, count, rng)))


def _step(material: str, rng: np.random.Generator) -> Signal:
    """A heel and then a toe on the ground, dry and short."""
    count = samples(0.4)
    heel = levelled(_contact(material, count, rng)) + 0.35 * levelled(ring(count, ((125, 1.0, 0.018),)))
    toe = 0.45 * levelled(_contact(material, count - samples(0.09), rng))
    heel[samples(0.09) :] += toe
    return 0.7 * levelled(heel)


def _contact(material: str, count: int, rng: np.random.Generator) -> Signal:
    """What the ground adds to a touch."""
    ground = GROUNDS[material]
    crush = noise(rng, count, *ground.band) * strike(count, 0.002, ground.noise_seconds)
    if ground.grains:
        held = np.repeat(rng.exponential(1.0, count // 240 + 1), 240)[:count]
        crush *= 1 - ground.grains + ground.grains * held
    return crush + ring(count, ground.modes) * strike(count, 0.0005, 10.0)


def _splash(_: str, rng: np.random.Generator) -> Signal:
    """A sheet of spray, and bubbles that ring a little higher as they shrink."""
    count = samples(1.2)
    spray = noise(rng, count, 900, 9000) * strike(count, 0.006, 0.16)
    slosh = noise(rng, count, 300, 1100) * strike(count, 0.03, 0.25)
    total = levelled(spray) + 0.6 * levelled(slosh)
    for _bubble in range(10):
        length = samples(0.09)
        start = samples(float(rng.uniform(0.05, 0.6)))
        hz = float(rng.uniform(500, 1400)) * (1 + 2.5 * clock(length))
        bubble = strike(length, 0.004, 0.02) * tone(hz)
        total[start : start + length] += 0.5 * float(rng.uniform(0.3, 1.0)) * bubble
    return levelled(total)


def _bell(_: str, rng: np.random.Generator) -> Signal:
    """A struck bell."""
    count = samples(3.0)
    strike_note = 560 * float(rng.uniform(0.92, 1.08))
    modes = tuple((ratio * strike_note, gain, seconds) for ratio, gain, seconds in BELL)
    return levelled(ring(count, modes) * strike(count, 0.001, 10.0))


def _whoosh(_: str, rng: np.random.Generator) -> Signal:
    """Air that is pushed aside: a band of noise that climbs and fades."""
    count = samples(1.3)
    climb = 420 * float(rng.uniform(0.9, 1.1)) * 6.0 ** np.clip(clock(count) / 0.8, 0, 1)
    wide = swept_noise(rng, climb, 500) + 0.5 * swept_noise(rng, 1.6 * climb, 900)
    return 0.8 * levelled(wide * strike(count, 0.04, 0.32))


_VOICES: dict[str, Callable[[str, np.random.Generator], Signal]] = {
    "bounce": _bounce,
    "thud": _thud,
    "step": _step,
    "splash": _splash,
    "bell": _bell,
    "whoosh": _whoosh,
}
