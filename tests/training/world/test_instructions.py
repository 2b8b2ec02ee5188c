from dataclasses import replace

import numpy as np
import pytest

from training.world.edits import KINDS, Edit, Take, sample_edit
from training.world.instructions import instruction, reworded
from training.world.scene import Scene, Second
from training.world.words import COLOUR_WORDS, NOUNS, STYLE_WORDS

SCENE = Scene("ball", "red", "bounces", "meadow", seed=5)
BOTH = replace(SCENE, second=Second("star", "orange", "left of"))


@pytest.mark.parametrize(
    ("edit", "forth", "back"),
    [
        (Edit("recolour", Take(SCENE), Take(replace(SCENE, colour="blue"))), "make the ball blue", "make the ball red"),
        (
            Edit("replace", Take(SCENE), Take(replace(SCENE, object="cat"))),
            "replace the ball with a cat",
            "replace the cat with a ball",
        ),
        (Edit("remove", Take(SCENE), Take(SCENE, ())), "remove the ball", "add a red ball that bounces"),
        (Edit("add", Take(BOTH), Take(BOTH, (1, 2))), "add an orange star on the right", "remove the star"),
        (
            Edit("place", Take(SCENE), Take(replace(SCENE, place="night"))),
            "set the scene at night",
            "set the scene in a meadow",
        ),
        (
            Edit("style", Take(SCENE), Take(replace(SCENE, style="sketch"))),
            "change the style to sketch",
            "change the style to plain",
        ),
    ],
)
def test_the_plain_wording(edit: Edit, forth: str, back: str) -> None:
    assert instruction(edit) == forth
    assert instruction(edit.reversed()) == back


@pytest.mark.parametrize("kind", KINDS)
def test_free_wordings_are_many_and_name_what_changes(kind: str) -> None:
    rng = np.random.default_rng(0)
    edit = sample_edit(0, KINDS.index(kind))
    after = edit.after.scene
    names: dict[str, tuple[str, ...]] = {
        "recolour": COLOUR_WORDS[after.colour],
        "replace": NOUNS[after.object],
        "remove": NOUNS[after.object],
        "style": (*STYLE_WORDS[after.style], after.style),
    }
    if after.second is not None:
        names["add"] = NOUNS[after.second.object]
    told = [reworded(edit, rng) for _ in range(40)]
    assert len({sentence.lower().rstrip(".") for sentence in told}) >= 6
    for sentence in told:
        assert kind == "place" or any(name in sentence.lower() for name in names[kind])
        assert sentence[0].isupper() == sentence.endswith(".")
