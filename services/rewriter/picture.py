"""The sentence of a prompt about a picture that the video begins with: what it leaves open, the picture shows."""

from collections.abc import Collection, Mapping, Sequence

from kino.grammar import Choice, Grammar
from services.rewriter.account import misspelt

SEEN = ("colour", "object", "place")
"""What a picture shows; how it moves, and what the camera does, it does not."""
STILL = "stays still"
Named = Mapping[str, Sequence[str]]
"""Slot to the values that a prompt names (`Limits.named`)."""


def held(grammar: Grammar, named: Named, choices: Mapping[str, Choice]) -> dict[str, Choice]:
    """The choices, with a thing that stays still where the prompt moves the camera and says nothing of the thing."""
    motions = next(slot.pieces for slot in grammar.slots if slot.name == "motion")
    moved = named["motion"] or choices["motion"].asked
    if moved or choices["camera"].value == "still" or not named["camera"] or STILL not in motions:
        return dict(choices)
    return {**choices, "motion": Choice(STILL, is_open=True)}


def unsaid(grammar: Grammar, named: Named, choices: Mapping[str, Choice]) -> frozenset[str]:
    """The slots of `SEEN` that the prompt names no value of; it may ask for what the grammar only has a stand-in for.

    A misspelt value is named.
    """
    return frozenset(
        name
        for name in SEEN
        if not named[name] and not misspelt(grammar, name, choices[name].value, choices[name].asked)
    )


def of_picture(grammar: Grammar, choices: Mapping[str, Choice], left_out: Collection[str]) -> str:
    """The sentence without these slots: "it grows", "the star grows", "a red thing grows"."""
    pieces = {slot.name: slot.pieces[choices[slot.name].value] for slot in grammar.slots}
    if "colour" in left_out:
        pieces |= {"colour": "it", "object": ""} if "object" in left_out else {"colour": "the"}
    elif "object" in left_out:
        pieces["object"] = " thing"
    if "place" in left_out:
        pieces["place"] = ""
    return "".join(pieces[slot.name] for slot in grammar.slots).strip()
