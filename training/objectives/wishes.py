"""What people type, and what of it the world can show: the words and the grammar behind the rewriter's training."""

import tomllib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from kino.grammar import Grammar, Slot
from training.world.scene import CAMERAS, COLOURS, MOTIONS, OBJECTS, PLACES
from training.world.words import CAMERA_WORDS, COLOUR_WORDS, NOUNS, PLACE_PHRASES, SETTINGS, VERBS, WHERE

INSTEAD = {
    "colour": "made it {}",
    "object": "drew a {}",
    "motion": "it {} instead",
    "place": "chose the {}",
    "camera": "camera: {}",
}


class Wording(NamedTuple):
    """The ways to ask for one value: those that mean it, and those that mean what it has to stand in for."""

    own: tuple[str, ...]
    foreign: tuple[str, ...]


@cache
def lists() -> dict[str, Any]:
    """The word lists beside this file."""
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))


@cache
def wordings() -> dict[str, dict[str, Wording]]:
    """Slot to value to its wordings, in lower case; common ones occur more than once."""
    captions: dict[str, dict[str, tuple[str, ...]]] = {
        "colour": {value: COLOUR_WORDS[value] for value in COLOURS},
        "object": {value: NOUNS[value] for value in OBJECTS},
        "motion": {value: tuple(form for pair in VERBS[value] for form in pair) for value in MOTIONS},
        "place": {value: (*WHERE[value], *SETTINGS[value], PLACE_PHRASES[value]) for value in PLACES},
        "camera": {value: tuple(form for pair in CAMERA_WORDS[value] for form in pair) for value in CAMERAS},
    }
    own, foreign = lists()["own"], lists()["foreign"]
    return {
        slot: {
            value: Wording((*phrases, value, *own[slot][value]), tuple(foreign[slot][value]))
            for value, phrases in values.items()
        }
        for slot, values in captions.items()
    }


@cache
def plain_grammar() -> Grammar:
    """The grammar of `captions.canonical` for scenes of one object without sign, style or person."""
    pieces: dict[str, dict[str, str]] = {
        "colour": {value: f"{'an' if value[0] in 'aeiou' else 'a'} {value}" for value in COLOURS},
        "object": {value: f" {value}" for value in OBJECTS},
        "motion": {value: f" {value}" for value in MOTIONS},
        "place": {value: f" {PLACE_PHRASES[value]}" for value in PLACES},
        "camera": {value: "" if value == "still" else f", the camera {value}" for value in CAMERAS},
    }
    scenery: dict[str, str] = lists()["scenery"]
    slots = []
    for name, values in wordings().items():
        phrases: dict[str, list[str]] = {}
        if name == "motion":
            phrases = {mover: ["moves left", "moves right"] for mover in lists()["movers"]}
        if name == "place":
            phrases = {phrase: [place] for phrase, place in scenery.items() if place}
        phrases |= {phrase: [value] for value, wording in values.items() for phrase in wording.own}
        stand_ins = {phrase: value for value, wording in values.items() for phrase in wording.foreign}
        default = "still" if name == "camera" else ""
        slots.append(Slot(name, pieces[name], phrases, INSTEAD[name], stand_ins, default))
    return Grammar(slots, (*lists()["ignored"], *(phrase for phrase, place in scenery.items() if not place)))
