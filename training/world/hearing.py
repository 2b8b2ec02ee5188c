"""Hears what happens in a sound, without anything learned; `python -m training.world.hearing` tests it.

An onset is a sudden rise of energy. Its kind is that of the nearest among sounds that the world makes of the same
materials; what is nearest to a bird, a gust or a note of music is no event. A motor is a deep, lasting pitch.
"""

import argparse
import json
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from kino.loudness import loudness
from kino.shapes import SAMPLE_RATE
from training.world.events import ENGINE, events, intervals
from training.world.hearing_tally import TOLERANCE_SECONDS, Tally
from training.world.music import MOODS, drawn_mood
from training.world.scene import PLACES, Scene, sample
from training.world.sound import mix, render_sound
from training.world.spectrum import HOP, Floats, band_energies, imprint, motor, peaks, rises

LEAST_RISE_DB = 5.0
REACH = 20
"""Frames to either side of an onset in which there is no other: 100 ms."""
LEAST_PERIODIC = 0.55
LEAST_DEEP = 0.2
MOTOR_SHARE = 0.5
"""Share of a clip's windows that a motor is heard in."""
SILENCE_LUFS = -60.0

_NOTHING = ("", "")
_BED_PERCENTILES = (25, 90)
"""Over time: what lasts, and animals, which sound a tenth of the time."""
_REFERENCE_SEED = 1 << 40
_REFERENCE_SECONDS = {"falls": 3.0, "spins": 4.2}
"""Long enough for a star to land and a cube to turn; for all others `_SHORT_SECONDS`."""
_SHORT_SECONDS = 2.2
_REFERENCE_RISE_DB = 2.5
"""Lower than `LEAST_RISE_DB`, so that much of what is no event is known."""
_CAST = (
    ("ball", "bounces"), ("boat", "bounces"), ("star", "falls"), ("heart", "rises"), ("cube", "spins"),
    ("robot", "moves left"), ("cat", "stays still"), ("car", "moves left"), ("boat", "moves left"),
    ("rocket", "moves left"),
)  # fmt: skip
"""Objects and motions that make every kind of event once in every place."""


@dataclass(frozen=True)
class Heard:
    """An event that was heard; `material` is "" for a motor."""

    seconds: float
    kind: str
    material: str


@dataclass(frozen=True)
class Hearing:
    """Everything heard in a clip: events in order of time, and the place, "" in silence."""

    events: list[Heard]
    place: str


def hear(samples: NDArray[np.floating]) -> Hearing:
    """The events and the place of a mono sound [n] at 48 kHz, at any level above `SILENCE_LUFS`.

    Raises:
        ValueError: the samples are not finite [n] with at least one sample.
    """
    if np.ndim(samples) != 1:
        raise ValueError(f"samples are {list(np.shape(samples))}; must be mono, [n]")
    if loudness(samples) < SILENCE_LUFS:
        return Hearing([], "")
    energies = band_energies(samples)
    heard = []
    for onset in peaks(rises(energies), LEAST_RISE_DB, REACH):
        kind, material = _nearest(imprint(energies, onset))
        if (kind, material) != _NOTHING:
            heard.append(Heard(float(onset * HOP / SAMPLE_RATE), kind, material))
    start = motor_start(samples)
    if start is not None:
        heard.append(Heard(start, ENGINE, ""))
    return Hearing(sorted(heard, key=lambda event: event.seconds), _nearest_place(_bed(energies)))


def motor_start(samples: NDArray[np.floating]) -> float | None:
    """From when on a motor is heard, in seconds; none where it does not last for `MOTOR_SHARE` of the clip."""
    periodic, deep = motor(samples)
    turning = (periodic >= LEAST_PERIODIC) & (deep >= LEAST_DEEP)
    if len(turning) == 0 or turning.mean() < MOTOR_SHARE:
        return None
    hop_seconds = len(samples) / SAMPLE_RATE / (len(turning) + 1)
    return float(turning.argmax() * hop_seconds)


def _nearest(found: Floats) -> tuple[str, str]:
    """Kind and material of the reference whose imprint differs least where both are known."""
    imprints, labels, _, _ = _references()
    distances = np.nanmean((imprints - found) ** 2, axis=(1, 2))
    return labels[int(distances.argmin())]


def _nearest_place(bed: Floats) -> str:
    _, _, beds, places = _references()
    return places[int(np.abs(beds - bed).mean(axis=(1, 2)).argmin())]


def _bed(energies: Floats) -> Floats:
    """The spectrum of a clip at rest and not: two percentiles in dB about the mean of the first, [2 20]."""
    levels = 10 * np.log10(np.percentile(energies, _BED_PERCENTILES, axis=0) + 1e-12)
    return np.asarray(levels - levels[0].mean())


@cache
def _references() -> tuple[Floats, list[tuple[str, str]], Floats, list[str]]:
    """Imprints of the world's own sounds [n 5 20] with kind and material of each, and beds [m 2 20] with their places.

    Their seeds are outside what any scene is sampled with.
    """
    imprints, labels, beds, places = [], [], [], []
    for number, (place, (name, motion), variant) in enumerate(
        (place, role, variant) for place in PLACES for role in _CAST for variant in range(2)
    ):
        scene = Scene(name, "red", motion, place, seed=_REFERENCE_SEED + number)
        mood = MOODS[number % len(MOODS)] if variant else None
        seconds = _REFERENCE_SECONDS.get(motion, _SHORT_SECONDS)
        energies = band_energies(mix(scene, round(seconds * SAMPLE_RATE), mood))
        beds.append(_bed(energies))
        places.append(place)
        truth = events(scene, seconds)
        for onset in peaks(rises(energies), _REFERENCE_RISE_DB, REACH):
            near = [e for e in truth if abs(e.seconds - onset * HOP / SAMPLE_RATE) <= TOLERANCE_SECONDS]
            imprints.append(imprint(energies, onset))
            labels.append((near[0].kind, near[0].material) if near else _NOTHING)
    return np.stack(imprints), labels, np.stack(beds), places


def measure(count: int, frames: int, fps: int, seed: int = 0, sound: str = "true", with_music: bool = False) -> Tally:
    """How often the judge is right on held-out scenes.

    Args:
        sound: what it is given to hear: "true", or one of the beats: "silence", or "other", the sound of another clip.
        with_music: scenes have the music that they draw; otherwise there is none.
    """
    tally = Tally()
    for index in range(count):
        scene = sample(seed, index, "held_out")
        given = sample(seed, count + index, "held_out") if sound == "other" else scene
        track = render_sound(given, frames, fps, mood=drawn_mood(given.seed) if with_music else None)
        hearing = hear(np.zeros_like(track) if sound == "silence" else track)
        seconds = frames / fps
        truth = [(event.seconds, event.kind, event.material) for event in events(scene, seconds)]
        truth += [(lasting.start_seconds, lasting.kind, "") for lasting in intervals(scene, seconds)]
        found = [(event.seconds, event.kind, event.material) for event in hearing.events]
        tally.add(truth, found, seconds, scene.place == hearing.place)
    return tally


def main() -> None:
    """Prints what the judge hears of true sound, of silence and of another clip's sound, with 95 % intervals."""
    parser = argparse.ArgumentParser(description="accuracy of the judge of sound on held-out scenes")
    parser.add_argument("--count", type=int, default=200, help="number of clips; multiples of 80 are balanced")
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("--fps", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--music", action="store_true", help="with the music that the scenes draw")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    tallies = {
        sound: measure(given.count, given.frames, given.fps, given.seed, sound, given.music)
        for sound in ("true", "silence", "other")
    }
    if given.json:
        print(json.dumps({sound: tally.as_dict() for sound, tally in tallies.items()}, indent=2))
    else:
        print("\n\n".join(f"{sound}\n{tally}" for sound, tally in tallies.items()))


if __name__ == "__main__":
    main()
