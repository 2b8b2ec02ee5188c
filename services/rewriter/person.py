"""The grammar of prompts about a person whom a picture shows: who it is, no word has to say."""

from dataclasses import replace

from kino.grammar import Grammar, Slot

PERSON = "person"
WORDS = (
    *("person", "she", "he", "they", "someone", "somebody", "woman", "man", "lady", "gentleman", "girl", "boy", "guy"),
    *("child", "kid", "figure", "character", "friend", "mother", "father", "sister", "brother", "grandma", "grandpa"),
)
"""What people call the one whom the picture shows."""
CLOTHES = ("dress", "outfit", "suit", "clothes", "wears", "wearing", "dressed")
"""Words of what the person wears, which is a dress of the colour that is named."""


def about_person(grammar: Grammar) -> Grammar:
    """The grammar of "a person in a red dress moves left", from that of "a red ball moves left".

    Things that the other grammar shows are stood in for by the person.
    """
    slots = [_SLOTS[slot.name](slot) if slot.name in _SLOTS else slot for slot in grammar.slots]
    return Grammar(slots, grammar.ignored | set(CLOTHES))


def _dress(slot: Slot) -> Slot:
    """The colour, as that of the dress."""
    return replace(slot, pieces={value: f"a person in {piece.strip()} dress" for value, piece in slot.pieces.items()})


def _person(slot: Slot) -> Slot:
    """The object, which is always the person."""
    things = {*slot.phrases, *slot.stand_ins} - set(WORDS)
    return replace(
        slot,
        pieces={PERSON: ""},
        phrases={word: [PERSON] for word in WORDS},
        stand_ins=dict.fromkeys(sorted(things), PERSON),
        default=PERSON,
    )


_SLOTS = {"colour": _dress, "object": _person}
