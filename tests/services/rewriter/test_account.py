from dataclasses import replace

from kino.grammar import SMALL, Choice, Grammar
from services.rewriter.account import Account, Substitution, account

CAT = {"colour": "red", "object": "cat", "motion": "spins", "place": "snow", "camera": "still"}


def told(prompt: str, **changed: Choice) -> Account:
    return account(SMALL, prompt, {name: Choice(value) for name, value in CAT.items()} | changed, "mini")


def test_a_prompt_that_is_kept_whole_has_nothing_to_tell() -> None:
    result = told("A red cat spins in the snow!")
    assert result == Account(["red", "cat", "spins", "snow"], [])


def test_a_stand_in_is_named_with_its_reason() -> None:
    result = told("an elephant spins", object=Choice("cat", asked="elephant"))
    assert result.kept == ["spins"]
    assert result.substitutions == [Substitution("elephant", "cat", "no elephant in mini: drew a cat")]


def test_what_the_model_passes_over_is_added() -> None:
    result = told("a red cat with golden wings", colour=Choice("red"))
    assert [row.asked for row in result.substitutions] == ["golden wings"]
    assert result.substitutions[0].drawn == ""
    assert result.substitutions[0].reason == "mini cannot show golden wings: left out"


def test_what_the_model_changed_against_the_prompt_is_told() -> None:
    assert told("a blue cat").substitutions == [Substitution("blue", "red", "no blue in mini: made it red")]


def test_a_second_value_of_a_slot_is_left_out() -> None:
    result = told("a red cat and a blue ball")
    assert result.kept == ["red", "cat"]
    assert [(row.asked, row.drawn, row.reason) for row in result.substitutions] == [
        ("blue", "", "one colour at a time in mini: left out blue"),
        ("ball", "", "one object at a time in mini: left out ball"),
    ]


def test_of_two_that_have_stand_ins_one_is_drawn() -> None:
    slots = [
        replace(slot, stand_ins={"dog": "cat", "fox": "cat"}) if slot.name == "object" else slot for slot in SMALL.slots
    ]
    choices = {name: Choice(value) for name, value in CAT.items()} | {"object": Choice("cat", asked="fox")}
    result = account(Grammar(slots, SMALL.ignored), "a fox and a dog", choices, "mini")
    assert [(row.asked, row.drawn, row.reason) for row in result.substitutions] == [
        ("fox", "cat", "no fox in mini: drew a cat"),
        ("dog", "", "one object at a time in mini: left out dog"),
    ]


def test_a_misspelt_word_counts_as_kept() -> None:
    assert told("a meadoww", place=Choice("meadow", asked="meadoww")) == Account(["meadoww"], [])


def test_neighbours_are_told_apart_where_slots_quote_them() -> None:
    result = told("magenta hippo", colour=Choice("red", asked="magenta"), object=Choice("cat", asked="hippo"))
    assert [(row.asked, row.drawn) for row in result.substitutions] == [("magenta", "red"), ("hippo", "cat")]


def test_what_is_said_twice_is_told_once() -> None:
    result = told("a red red cat with wings and wings")
    assert result.kept == ["red", "cat"]
    assert [row.asked for row in result.substitutions] == ["wings"]


def test_quoted_words_are_told_as_left_out() -> None:
    result = told('a red cat "GO HOME" in the snow')
    assert result.kept == ["red", "cat", "snow"]
    assert result.substitutions == [Substitution('"GO HOME"', "", "mini cannot show written words: left out")]
