"""The sentence of a prompt about a picture that the video begins with: what it leaves open, the picture shows."""

from collections.abc import Mapping

from kino.grammar import Choice, Grammar


def of_picture(grammar: Grammar, prompt: str, choices: Mapping[str, Choice]) -> str:
    """The sentence without colour, object and place as far as the prompt names none: "it grows", "the star grows"."""
    pieces, limits = (
        {slot.name: slot.pieces[choices[slot.name].value] for slot in grammar.slots},
        grammar.limits(prompt),
    )
    unsaid = {
        name for name, choice in choices.items() if not (limits.named[name] or limits.stand_ins[name] or choice.asked)
    }
    if {"colour", "object"} <= unsaid:
        pieces |= {"colour": "it", "object": ""}
    elif "colour" in unsaid:
        pieces["colour"] = "the"
    elif "object" in unsaid:
        pieces["object"] = " thing"
    if "place" in unsaid:
        pieces["place"] = ""
    return "".join(pieces[slot.name] for slot in grammar.slots).strip()
