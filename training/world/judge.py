"""Reads from the pixels of a film what it shows, without anything learned; `python -m training.world.judge` tests it.

The judge knows only how the world is drawn. It is fixed on true renders, sharp, blurred and noisy, and its accuracy on
those is the ceiling of every adherence figure. It reads the plain style and the ten objects, and in a film of two
objects the larger one; of a person, by the dress.
"""

import argparse
import json

import numpy as np
from numpy.typing import NDArray

from training.world.backdrop import camera_gains, place_distances, scenery_pixels, small
from training.world.damage import damage
from training.world.looks import person_pixels, turned_about
from training.world.motion import CYCLE_SECONDS
from training.world.render import render
from training.world.scene import CHARACTERS, COLOURS, OBJECTS, PLACES, sample
from training.world.segment import Figure, Floats, find_figure, resample
from training.world.silhouettes import centres, recognise, turns_of_person
from training.world.tracks import motion_strengths
from training.world.verdict import Tally, Verdict

NOTHING = "nothing"
"""The verdict on an object, colour or motion where no object is seen."""


def judge(frames: NDArray[np.uint8], fps: float = 16.0, others: Floats | None = None, person: bool = False) -> Verdict:
    """Object, colour, motion, place and camera of a film of frames uint8 [t h w 3], by its first two seconds.

    Args:
        others: how much of each pixel, at the judge's working size, shows what is neither the object nor scenery.
        person: the film is of a person, whose dress is the coloured thing, and of no object.

    Raises:
        ValueError: the frames are not uint8 [t h w 3] with sides of at least 64 pixels, or fps is not positive.
    """
    _check(frames, fps)
    frames = resample(frames[: max(1, round(CYCLE_SECONDS * fps))])
    figure = find_figure(frames)
    confidence: dict[str, float] = {}
    object_name = colour = motion = NOTHING
    if figure is not None:
        colour = COLOURS[figure.colour]
        confidence["colour"] = figure.share
        object_name, motion = _read_figure(frames, figure, fps, confidence, person)
    little = small(frames)
    mask = figure.mask if figure is not None else np.zeros(frames.shape[:3], np.float32)
    if person:
        others = person_pixels(frames)
    clear = scenery_pixels(mask if others is None else np.maximum(mask, others[: len(mask)]))
    distances = place_distances(little, clear)
    nearest = np.sort(distances)
    confidence["place"] = float(nearest[1] - nearest[0])
    camera, confidence["camera"] = _largest(camera_gains(little, clear, fps))
    return Verdict(object_name, colour, motion, PLACES[int(distances.argmin())], camera, confidence)


def _read_figure(
    frames: NDArray[np.uint8], figure: Figure, fps: float, confidence: dict[str, float], person: bool
) -> tuple[str, str]:
    """Object and motion of a figure; adds their confidence."""
    _, height, width, _ = frames.shape
    track = centres(figure.mask)
    if person:
        name, turns = CHARACTERS[0], turns_of_person(frames, figure, track)
        track = turned_about(track, figure.mask, turns)
    else:
        likeness = recognise(frames, figure, track)
        name, turns, confidence["object"] = OBJECTS[likeness.object], likeness.turns, likeness.margin
    motion, confidence["motion"] = _largest(motion_strengths(track, turns, height, width, fps))
    return name, motion


def _largest(scores: dict[str, float]) -> tuple[str, float]:
    """The name with the largest score, and its lead over the next."""
    ranked = sorted(scores, key=lambda name: scores[name], reverse=True)
    return ranked[0], scores[ranked[0]] - scores[ranked[1]]


def _check(frames: NDArray[np.uint8], fps: float) -> None:
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
        raise ValueError(f"frames are {frames.dtype} {list(frames.shape)}; must be uint8 [t h w 3]")
    if len(frames) < 1 or min(frames.shape[1:3]) < 64:
        raise ValueError(f"frames are {list(frames.shape)}; must be at least one, with sides of at least 64 pixels")
    if not fps > 0:
        raise ValueError(f"fps is {fps}; must be positive")


def measure(
    count: int, size: int, seed: int = 0, blur: float = 0.0, noise: float = 0.0, jpeg: int | None = None
) -> Tally:
    """How often the judge is right on true held-out renders of two seconds at 16 fps, damaged as asked."""
    tally = Tally()
    for index in range(count):
        scene = sample(seed, index, "held_out")
        frames = render(scene, 32, size, size)
        tally.add(scene, judge(damage(frames, np.random.default_rng([seed, index]), blur, noise, jpeg)))
    return tally


def main() -> None:
    """Prints the judge's accuracy per attribute and per class, with 95 % intervals."""
    parser = argparse.ArgumentParser(description="accuracy of the judge on true held-out renders")
    parser.add_argument("--count", type=int, default=200, help="number of films; multiples of 80 are balanced")
    parser.add_argument("--size", type=int, default=96, help="height and width in pixels")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--blur", type=float, default=0.0, help="standard deviation in pixels at 96")
    parser.add_argument("--noise", type=float, default=0.0, help="standard deviation in grey levels")
    parser.add_argument("--jpeg", type=int, default=None, help="quality, 1 to 100")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    tally = measure(given.count, given.size, given.seed, given.blur, given.noise, given.jpeg)
    print(json.dumps(tally.as_dict(), indent=2) if given.json else tally)


if __name__ == "__main__":
    main()
