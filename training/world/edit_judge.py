"""Reads from pixels whether an edit was done and the rest kept; `python -m training.world.edit_judge` tests it.

Nothing learned takes part: objects, colours, motions, places and cameras are read by `training.world.judge`, styles by
which of them, put over the source, comes nearest. Its figures on true renders are the ceiling of every editor.
"""

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import log10

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

from training.world.edits import KINDS, Edit, Kind, sample_edit, untouched
from training.world.instructions import SIDES
from training.world.judge import NOTHING, judge
from training.world.scene import COLOURS, OBJECTS, STYLES
from training.world.segment import Figure, Floats, colour_mask, find_figure, resample
from training.world.silhouettes import centres, recognise
from training.world.styles import stylise, unstylise
from training.world.verdict import Rate, Verdict

Frames = NDArray[np.uint8]
_PATCHES = 12
"""Short side, in patches, of the frames on which styles are told apart."""

ROUNDED = 1 / 12
"""Mean squared error that rounding to whole grey levels leaves: what did not change at all is kept as well as that."""

_HALO = 4
"""Pixels around the first object of which the second is not read."""


@dataclass(frozen=True)
class Outcome:
    """What became of one edit.

    Attributes:
        done: what was asked for is there, and what stays of the objects is still the same.
        motion: the object moves as before; none where no object is left.
        camera: the camera moves as before.
        error: mean squared difference from the source where nothing should change, in grey levels; none where all may.
    """

    kind: Kind
    done: bool
    motion: bool | None
    camera: bool
    error: float | None


def judge_edit(edit: Edit, source: Frames, edited: Frames, fps: float = 16.0) -> Outcome:
    """The outcome of an edit, from the source video and the edited one, both uint8 [t h w 3] of the edit's world.

    Raises:
        ValueError: the videos differ in extent, or as `judge`.
    """
    if source.shape != edited.shape:
        raise ValueError(f"edited is {list(edited.shape)}; must have the source's extent, {list(source.shape)}")
    style, plain = edit.after.scene.style, edited
    if edit.kind == "style":
        original = unstylise(source, edit.before.scene.style)
        style = nearest_style(original, edited)
        plain = without_cast(unstylise(edited, style), original)
    plain = resample(plain)
    second = find_second(plain) if edit.after.scene.second is not None else None
    verdict = judge(plain, fps, None if second is None else second.mask)
    frames, height, width, _ = edited.shape
    kept = untouched(edit, frames, height, width, fps)
    gap = source[kept].astype(np.float32) - edited[kept]
    scene = edit.after.scene
    return Outcome(
        edit.kind,
        style == scene.style and _shows(edit, verdict, second),
        verdict.motion == scene.motion if 1 in edit.after.shown else None,
        verdict.camera == scene.camera,
        float((gap**2).mean()) if kept.any() else None,
    )


def nearest_style(plain: Frames, edited: Frames) -> str:
    """The style that, put over plain frames [t h w 3], comes nearest to edited ones, by the tones of coarse patches."""
    tones = resample(edited, _PATCHES).astype(np.float32)
    gaps = {style: np.abs(resample(stylise(plain, style), _PATCHES) - tones).mean() for style in STYLES}
    return min(gaps, key=lambda style: gaps[style])


def without_cast(frames: Frames, source: Frames) -> Frames:
    """Frames [t h w 3] with the mean red, green and blue of a source: undoing a style brightens a tint, too."""
    means = [film.mean(axis=(0, 1, 2), dtype=np.float32) for film in (source, frames)]
    return np.asarray(np.clip(frames * (means[0] / np.maximum(means[1], 1.0)), 0, 255).round().astype(np.uint8))


@dataclass(frozen=True)
class SecondFigure:
    """The smaller of two objects: what it is, the half it stands in ("left" or "right"), its colour mask [t h w]."""

    object: str
    colour: str
    side: str
    mask: Floats


def find_second(frames: Frames) -> SecondFigure | None:
    """The smaller of two objects in frames [t h w 3] of the judge's working size; nothing where there is but one.

    The larger object, its outline and what else has its colour are not looked at.
    """
    first = find_figure(frames)
    if first is None:
        return None
    near = binary_dilation(_body(frames, first), np.ones((1, 3, 3), np.bool_), iterations=_HALO)
    rest = np.where(near[..., None], np.uint8(128), frames)
    second = find_figure(rest)
    if second is None:
        return None
    track = centres(second.mask)
    seen = track[:, 2] > 0
    if not seen.any():
        return None
    side = "left" if np.median(track[seen, 0]) < frames.shape[2] / 2 else "right"
    name = OBJECTS[recognise(rest, second, track).object]
    return SecondFigure(name, COLOURS[second.colour], side, second.mask)


def _body(frames: Frames, figure: Figure) -> NDArray[np.bool_]:
    """The pixels [t h w] that are more of the figure's colour than of any other."""
    others = [colour_mask(frames, colour) for colour in range(len(COLOURS)) if colour != figure.colour]
    return np.asarray((figure.mask > 0.3) & (figure.mask >= np.max(others, axis=0)))


def _shows(edit: Edit, verdict: Verdict, second: SecondFigure | None) -> bool:
    """Whether a film shows the objects and the place of the edit's target.

    Of a restyled film only the colour counts: shapes and places are read less surely under strokes or at dusk.
    """
    scene, shown = edit.after.scene, edit.after.shown
    if edit.kind == "style":
        return verdict.colour == scene.colour
    first = (scene.object, scene.colour) if 1 in shown else (NOTHING, NOTHING)
    right = (verdict.object, verdict.colour) == first and verdict.place == scene.place
    if scene.second is None or 2 not in shown:
        return right and second is None
    wanted = scene.second.object, scene.second.colour, SIDES[scene.second.relation]
    return right and second is not None and (second.object, second.colour, second.side) == wanted


class EditTally:
    """Counts outcomes per kind of edit."""

    def __init__(self) -> None:
        self._outcomes: list[Outcome] = []

    def add(self, outcome: Outcome) -> None:
        """Counts one edit."""
        self._outcomes.append(outcome)

    def groups(self) -> dict[str, list[Outcome]]:
        """Outcomes of all kinds together, then by kind."""
        by_kind = {kind: [one for one in self._outcomes if one.kind == kind] for kind in KINDS}
        return {"all": self._outcomes, **{kind: found for kind, found in by_kind.items() if found}}

    def as_dict(self) -> dict[str, dict[str, object]]:
        """Rates of each group with their 95 % intervals, and the mean PSNR of what should stay, in dB."""
        return {name: _figures(outcomes) for name, outcomes in self.groups().items()}

    def __str__(self) -> str:
        """A table: a line for each group and figure."""
        lines = []
        for name, outcomes in self.groups().items():
            for figure, rate in rates(outcomes).items():
                lines.append(f"{name:9} {figure:7} {rate}")
            if decibels := psnrs(outcomes):
                lines.append(f"{name:9} kept    {np.mean(decibels):.2f} dB, worst {min(decibels):.2f}")
        return "\n".join(lines)


def rates(outcomes: list[Outcome]) -> dict[str, Rate]:
    """Shares of edits done, of motions kept and of cameras kept; without motion where no outcome has one."""
    moved = [outcome.motion for outcome in outcomes if outcome.motion is not None]
    found = {
        "done": [outcome.done for outcome in outcomes],
        "motion": moved,
        "camera": [outcome.camera for outcome in outcomes],
    }
    return {name: Rate(sum(values), len(values)) for name, values in found.items() if values}


def psnrs(outcomes: list[Outcome]) -> list[float]:
    """PSNR in dB of what each edit should keep, at most what rounding to eight bits leaves, where nothing changed."""
    errors = [outcome.error for outcome in outcomes if outcome.error is not None]
    return [10 * log10(255**2 / max(error, ROUNDED)) for error in errors]


def _figures(outcomes: list[Outcome]) -> dict[str, object]:
    figures: dict[str, object] = {}
    for name, rate in rates(outcomes).items():
        low, high = rate.interval
        figures[name] = {"rate": rate.value, "low": low, "high": high, "count": rate.count}
    decibels = psnrs(outcomes)
    if decibels:
        figures["kept_decibels"] = float(np.mean(decibels))
    return figures


def tally(edits: Iterable[Edit], pairs: Iterable[tuple[Frames, Frames]], fps: float = 16.0) -> EditTally:
    """Outcomes of edits, given the source and the edited video of each."""
    counted = EditTally()
    for edit, (source, edited) in zip(edits, pairs, strict=True):
        counted.add(judge_edit(edit, source, edited, fps))
    return counted


def true_pairs(edits: list[Edit], size: int, nothing: bool = False) -> Iterator[tuple[Frames, Frames]]:
    """True renders of two seconds at 16 fps before and after each edit; `nothing` leaves the source as it was."""
    for edit in edits:
        source = edit.before.render(32, size, size)
        yield source, source if nothing else edit.after.render(32, size, size)


def main() -> None:
    """Prints what the judge says of true edits, or of sources left as they were."""
    parser = argparse.ArgumentParser(description="accuracy of the judge of edits on true held-out renders")
    parser.add_argument("--count", type=int, default=204, help="number of edits; multiples of 6 are balanced")
    parser.add_argument("--size", type=int, default=96, help="height and width in pixels")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--nothing", action="store_true", help="judge sources to which nothing was done")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    edits = [sample_edit(given.seed, index, "held_out") for index in range(given.count)]
    counted = tally(edits, true_pairs(edits, given.size, given.nothing))
    print(json.dumps(counted.as_dict(), indent=2) if given.json else counted)


if __name__ == "__main__":
    main()
