"""Edits of clips as data: what a clip shows before and after, and which of its pixels must stay as they were.

Both sides share seed, motion and camera, so that everything an edit does not name is the same, frame by frame.
"""

from dataclasses import dataclass, replace
from itertools import count
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation, generate_binary_structure

from training.world.render import EVERY_OBJECT, footprints, masks, render
from training.world.scene import COLOURS, OBJECTS, PLACES, STYLES, Scene, Second, Split, held_out, sample

Kind = Literal["recolour", "replace", "remove", "add", "place", "style"]
KINDS: tuple[Kind, ...] = ("recolour", "replace", "remove", "add", "place", "style")
MARGIN = 1 / 24
"""Width of the border, in short sides, around what an edit changes that counts neither as changed nor as kept."""

_ATTEMPT_STRIDE = 1_000_000_007
_APART = (3, 5)
"""Distances in the lists of eight colours and eight places that held-out edits keep for themselves."""


@dataclass(frozen=True)
class Take:
    """One side of an edit: a scene, and the numbers of the objects of it that are drawn."""

    scene: Scene
    shown: tuple[int, ...] = (1,)

    def render(
        self, frames: int, height: int, width: int, fps: float = 16.0, start_seconds: float = 0.0
    ) -> NDArray[np.uint8]:
        """Frames uint8 [t h w 3], as `training.world.render.render`."""
        return render(self.scene, frames, height, width, fps, start_seconds, self.shown)


@dataclass(frozen=True)
class Edit:
    """A change of a clip from one take to another."""

    kind: Kind
    before: Take
    after: Take

    @property
    def thing(self) -> int:
        """Number of the object that the edit is about; what comes or goes may be the second, all else is the first."""
        (number,) = set(self.before.shown) ^ set(self.after.shown) or {1}
        return number

    def reversed(self) -> "Edit":
        """The edit that undoes this one."""
        swapped: dict[Kind, Kind] = {"remove": "add", "add": "remove"}
        return Edit(swapped.get(self.kind, self.kind), self.after, self.before)


def untouched(
    edit: Edit, frames: int, height: int, width: int, fps: float = 16.0, start_seconds: float = 0.0
) -> NDArray[np.bool_]:
    """Pixels [t h w] that must stay as they were.

    A local edit keeps what neither side's object nor its shadow reaches, a change of place the inside of the object,
    a change of style nothing; `MARGIN` around the changed part is left out of account. Inside an object, the seams of
    its parts let a few grey levels of the place shine through.
    """
    clip = frames, height, width, fps, start_seconds
    if edit.kind == "style":
        return np.zeros((frames, height, width), np.bool_)
    if edit.kind == "place":
        changed = masks(edit.before.scene, *clip) != 1
    else:
        sides = [take for take in (edit.before, edit.after) if edit.thing in take.shown]
        changed = np.any([footprints(take.scene, *clip, (edit.thing,)) for take in sides], axis=0)
    cross = generate_binary_structure(2, 1)[None]
    grown = binary_dilation(changed, cross, iterations=max(1, round(MARGIN * min(height, width))))
    return np.asarray(~grown)


def unseen(edit: Edit) -> bool:
    """Whether the pair of things that an edit brings together is kept for held-out edits, in both directions.

    The pairs: colours or objects or places before and after; style and place; object and colour of what comes or goes.
    """
    before, after = edit.before.scene, edit.after.scene
    match edit.kind:
        case "recolour":
            return (COLOURS.index(before.colour) - COLOURS.index(after.colour)) % len(COLOURS) in _APART
        case "replace":
            return (OBJECTS.index(before.object) - OBJECTS.index(after.object)) % len(OBJECTS) in (3, 7)
        case "place":
            return (PLACES.index(before.place) - PLACES.index(after.place)) % len(PLACES) in _APART
        case "style":
            style = max(STYLES.index(before.style), STYLES.index(after.style))
            return (style + PLACES.index(after.place)) % 4 == 0
    thing = subject(edit)
    return (OBJECTS.index(thing.object) + COLOURS.index(thing.colour)) % 4 == 0


def subject(edit: Edit) -> Scene | Second:
    """The object that an edit is about, as it is where it is drawn; before the edit if on both sides."""
    scene = edit.before.scene
    if edit.thing == 1:
        return scene
    assert scene.second is not None
    return scene.second


def sample_edit(seed: int, index: int, split: Split = "train", kinds: tuple[Kind, ...] = KINDS) -> Edit:
    """The edit number `index` of the endless list named by `seed`, always the same; the kinds take turns.

    Training edits hold no held-out scene on either side and no unseen pair; held-out edits end in a held-out scene and
    bring together an unseen pair.
    """
    kind = kinds[index % len(kinds)]
    rng = np.random.default_rng([seed, index, split == "held_out", 7])
    for attempt in count():
        edit = _drawn(kind, sample(seed, index + attempt * _ATTEMPT_STRIDE, split), rng)
        if edit is not None and _belongs(edit, split):
            return edit
    raise AssertionError("an endless loop ended")


def _belongs(edit: Edit, split: Split) -> bool:
    if split == "held_out":
        return unseen(edit) and _is_held_out(edit.after.scene)
    return not (unseen(edit) or _is_held_out(edit.after.scene) or _is_held_out(edit.before.scene))


def _is_held_out(scene: Scene) -> bool:
    return (scene.object, scene.colour, scene.motion) in held_out()


def _drawn(kind: Kind, scene: Scene, rng: np.random.Generator) -> Edit | None:
    """An edit that ends in a scene, or none where the kind does not go with the scene."""
    match kind:
        case "recolour":
            return Edit(kind, Take(replace(scene, colour=_other(rng, COLOURS, scene.colour))), Take(scene))
        case "replace":
            return Edit(kind, Take(replace(scene, object=_other(rng, OBJECTS, scene.object))), Take(scene))
        case "place":
            return Edit(kind, Take(replace(scene, place=_other(rng, PLACES, scene.place))), Take(scene))
        case "style":
            return Edit(kind, Take(scene), Take(replace(scene, style=_other(rng, STYLES, "plain"))))
        case "remove":
            return Edit(kind, Take(scene), Take(scene, ()))
    if scene.motion.startswith("moves"):
        return None
    side = ("left of", "right of")[int(rng.integers(2))]
    second = Second(_other(rng, OBJECTS, scene.object), _other(rng, COLOURS, scene.colour), side)
    both = replace(scene, second=second)
    return Edit(kind, Take(both), Take(both, EVERY_OBJECT))


def _other(rng: np.random.Generator, options: tuple[str, ...], known: str) -> str:
    others = [option for option in options if option != known]
    return others[int(rng.integers(len(others)))]
