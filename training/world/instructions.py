"""Sentences that ask for an edit: one canonical, and many natural ones."""

import numpy as np

from training.world.captions import pick, with_article
from training.world.edits import Edit, subject
from training.world.scene import Scene
from training.world.words import COLOUR_WORDS, NOUNS, PLACE_PHRASES, SETTINGS, STYLE_WORDS, VERBS, WHERE

SIDES = {"left of": "right", "right of": "left"}
"""Where the second object is, by the relation of the first to it."""


def instruction(edit: Edit) -> str:
    """The plainest sentence that asks for an edit, for example "make the ball blue"."""
    before, after, thing = edit.before.scene, edit.after.scene, subject(edit)
    match edit.kind:
        case "recolour":
            return f"make the {before.object} {after.colour}"
        case "replace":
            return f"replace the {before.object} with {with_article(after.object)}"
        case "remove":
            return f"remove the {thing.object}"
        case "place":
            return f"set the scene {PLACE_PHRASES[after.place]}"
        case "style":
            return f"change the style to {after.style}"
    added = f"add {with_article(f'{thing.colour} {thing.object}')}"
    return f"{added} that {thing.motion}" if isinstance(thing, Scene) else f"{added} on the {SIDES[thing.relation]}"


def reworded(edit: Edit, rng: np.random.Generator) -> str:
    """A natural instruction, drawn anew at each call; half of them with a capital and a full stop."""
    sentence = pick(rng, _wordings(edit, rng))
    return sentence if rng.random() < 0.5 else f"{sentence[0].upper()}{sentence[1:]}."


def _wordings(edit: Edit, rng: np.random.Generator) -> tuple[str, ...]:
    before, after, thing = edit.before.scene, edit.after.scene, subject(edit)
    noun, hue = pick(rng, NOUNS[thing.object][:3]), pick(rng, COLOUR_WORDS[after.colour])
    old = pick(rng, (noun, noun, f"{pick(rng, COLOUR_WORDS[thing.colour])} {noun}"))
    match edit.kind:
        case "recolour":
            paint = f"change the colour of the {noun} to {hue}"
            return f"make the {old} {hue}", f"turn the {noun} {hue}", paint, f"paint the {old} {hue}"
        case "replace":
            new = with_article(pick(rng, NOUNS[after.object][:3]))
            swap = f"swap the {old} for {new}"
            return f"replace the {old} with {new}", f"turn the {old} into {new}", swap, f"make the {old} {new}"
        case "remove":
            gone = f"make the {old} disappear"
            return f"remove the {old}", f"take away the {old}", f"delete the {old}", f"erase the {noun}", gone
        case "place":
            where, setting = pick(rng, WHERE[after.place]), pick(rng, SETTINGS[after.place])
            moved = f"move the {noun} to {setting}"
            return f"set the scene {where}", f"make it happen {where}", f"change the background to {setting}", moved
        case "style":
            look = pick(rng, STYLE_WORDS[after.style])
            return f"render it {look}", f"show it {look}", f"change the style to {after.style}", f"redo the film {look}"
    return _additions(edit, before, rng)


def _additions(edit: Edit, scene: Scene, rng: np.random.Generator) -> tuple[str, ...]:
    thing = subject(edit)
    new = with_article(f"{pick(rng, COLOUR_WORDS[thing.colour])} {pick(rng, NOUNS[thing.object][:3])}")
    if isinstance(thing, Scene):
        finite, moving = pick(rng, VERBS[thing.motion])
        return f"add {new} that {finite}", f"put in {new} {moving}", f"let there be {new} that {finite}"
    side, first = SIDES[thing.relation], pick(rng, NOUNS[scene.object][:2])
    place = pick(rng, (f"on the {side}", f"to the {side} of the {first}", f"on the {side} side"))
    return f"add {new} {place}", f"put {new} {place}", f"place {new} {place}", f"there should be {new} {place}"
