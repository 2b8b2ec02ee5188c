from contextlib import suppress

import numpy as np
import pytest

from kino.errors import InvalidArgumentError
from kino.instructions import understand
from training.world.edits import sample_edit
from training.world.instructions import instruction, reworded

FREE = {
    "change the ball's colour to blue": ("recolour", "make the ball blue"),
    "Could you please make my ball bright green?": ("recolour", "make the ball bright green"),
    "the ball should be blue!": ("recolour", "make the ball blue"),
    "I'd like the ball to be purple": ("recolour", "make the ball purple"),
    "make it a red one": ("recolour", "make it red"),
    "make the cat black and white": ("recolour", "make the cat black and white"),
    "recolor the ball pink": ("recolour", "make the ball pink"),
    "turn it into a cat": ("replace", "replace it with a cat"),
    "a dog instead of the cat": ("replace", "replace the cat with a dog"),
    "substitute a fish for the robot": ("replace", "replace the robot with a fish"),
    "turn the ball into a beach ball": ("replace", "replace the ball with a beach ball"),
    "turn the red ball into a blue cube": ("replace", "replace the red ball with a blue cube"),
    "get rid of the cat, please": ("remove", "remove the cat"),
    "make the ball disappear": ("remove", "remove the ball"),
    "take the ball out of the picture": ("remove", "remove the ball"),
    "no more ball": ("remove", "remove the ball"),
    "add another cat": ("add", "add another cat"),
    "put a red ball on the left": ("add", "add a red ball on the left"),
    "there should be a second ball": ("add", "add a second ball"),
    "make it snowy": ("place", "set the scene in the snow"),
    "add some snow": ("place", "set the scene in the snow"),
    "I want it at night": ("place", "set the scene at night"),
    "put the cat in the snow": ("place", "set the scene in the snow"),
    "replace the background with a desert": ("place", "change the background to a desert"),
    "turn day into night": ("place", "set the scene at night"),
    "make it look like an old film": ("style", "show it like an old film"),
    "turn the video into a cartoon": ("style", "change the style to cartoon"),
    "as a watercolour painting": ("style", "show it as a watercolour painting"),
    "make it black and white": ("style", "show it in black and white"),
    "make it evening": ("style", "show it at evening"),
}
NOTHING = (
    "",
    " \n",
    "?!",
    "hello",
    "the ball",
    "a red ball",
    "do nothing",
    "don't remove the ball",
    "make the ball",
    "make it better",
    "make the ball bigger",
    "move the ball to the left",
    "make the ball spin",
    "turn the camera left",
    "remove",
    "recolour it",
    "blue",
    "where is the ball?",
    "mach den ball blau",
    "ball\x00",
    "ball " * 1000,
)


@pytest.mark.parametrize(("said", "meant"), FREE.items())
def test_free_words_are_understood(said: str, meant: tuple[str, str]) -> None:
    found = understand(said)
    assert (found.task, found.text) == meant
    assert understand(found.text) == found  # the plain wording stays as it is
    assert understand(f"  {said.upper()}. ") == found


def test_what_an_editor_learned_from_is_understood_and_its_plain_wording_kept() -> None:
    rng = np.random.default_rng(0)
    for index in range(600):
        edit = sample_edit(3, index, "held_out" if index % 2 else "train")
        assert understand(instruction(edit)).text == instruction(edit)
        assert understand(reworded(edit, rng)).task == edit.kind


@pytest.mark.parametrize("said", NOTHING)
def test_what_asks_for_nothing_is_refused_with_what_can_be_asked(said: str) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        understand(said, "spec.edit_video.instruction")
    assert refused.value.field == "spec.edit_video.instruction"
    assert refused.value.bound


def test_the_bound_names_an_example_of_every_task() -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        understand("the ball")
    examples = refused.value.bound.split('"')[1::2]
    assert {understand(example).task for example in examples} == {
        *("recolour", "replace", "remove", "add", "place", "style")
    }


@pytest.mark.parametrize("words", ["make a ", "the to in ", "turn it into a colour of ", "please now ", "it to be "])
def test_the_longest_instruction_is_read_without_trying_every_split(words: str) -> None:
    with suppress(InvalidArgumentError):
        understand((words * 1000)[:4096])  # exponential, it would never come to its end
