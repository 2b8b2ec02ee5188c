import json
from dataclasses import replace

import pytest

from kino.grammar import MAX_ASKED, SMALL, Choice, Grammar, words

CAT = {"colour": "red", "object": "cat", "motion": "spins", "place": "snow", "camera": "still"}


def chosen(**changed: Choice) -> dict[str, Choice]:
    return {name: Choice(value) for name, value in CAT.items()} | changed


def test_every_sentence_is_read_back_as_written() -> None:
    for colour in ("red", "orange"):
        for camera in ("still", "pans left"):
            values = CAT | {"colour": colour, "camera": camera}
            assert SMALL.parse(SMALL.write(values)) == values
    assert SMALL.write(CAT) == "a red cat spins in the snow"
    assert SMALL.write(CAT | {"colour": "orange", "camera": "pans left"}) == (
        "an orange cat spins in the snow, the camera pans left"
    )


@pytest.mark.parametrize(
    "sentence", ["", "a red cat", "A red cat spins in the snow", "a red cat spins in the snow.", "an red cat spins"]
)
def test_anything_else_is_no_sentence(sentence: str) -> None:
    assert SMALL.parse(sentence) is None


def test_words_are_lower_case_without_punctuation_and_keep_pictographs() -> None:
    assert words("My CAT's bird-bath, 2x!! 🐱…") == ["my", "cat's", "bird-bath", "2x", "🐱"]


def test_the_longest_known_phrase_wins_and_the_rest_is_unknown() -> None:
    mentions = SMALL.find("The red elephant moves left and pans left")
    assert [(m.phrase, m.slot, m.values) for m in mentions] == [
        ("red", "colour", ("red",)),
        ("elephant", "", ()),
        ("moves left", "motion", ("moves left",)),
        ("pans left", "camera", ("pans left",)),
    ]


def test_a_draft_takes_what_the_prompt_names() -> None:
    pattern = SMALL.drafts("a red cat in the snow")
    assert pattern.fullmatch("red | cat | ?spins | snow | still")
    assert not pattern.fullmatch("blue | cat | ?spins | snow | still")
    assert not pattern.fullmatch("red | cat | red>spins | snow | still")


def test_a_draft_quotes_neighbouring_unknown_words_alone() -> None:
    pattern = SMALL.drafts("a pink baby elephant in the zoo")
    assert pattern.fullmatch("pink>red | baby elephant>cat | ?spins | zoo>city | still")
    assert not pattern.fullmatch("pink>red | elephant zoo>cat | ?spins | ?snow | still")
    assert not pattern.fullmatch("pink>red | dragon>cat | ?spins | ?snow | still")


def test_what_one_slot_quotes_the_later_ones_do_not() -> None:
    prompt = "an elephant in the zoo"
    assert SMALL.drafts(prompt).fullmatch("?red | elephant>cat | elephant>spins | ?snow | still")
    pattern = SMALL.drafts(prompt, ["?red", "elephant>cat"])
    assert not pattern.fullmatch("?red | elephant>cat | elephant>spins | ?snow | still")
    assert pattern.fullmatch("?red | elephant>cat | ?spins | zoo>city | still")
    assert not pattern.fullmatch("?red | ?cat | ?spins | zoo>city | still")


def test_too_long_a_word_is_never_quoted() -> None:
    pattern = SMALL.drafts("x" * (MAX_ASKED + 1))
    assert pattern.fullmatch("?red | cat | spins | snow | still")
    assert not pattern.fullmatch(f"?red | {'x' * (MAX_ASKED + 1)}>cat | spins | snow | still")


def test_limits_admit_what_the_pattern_matches() -> None:
    prompt = "a blue or red elephant spins"
    cases = [
        chosen(object=Choice("cat", asked="elephant")),
        chosen(colour=Choice("orange")),
        chosen(colour=Choice("blue", is_open=True)),
        chosen(object=Choice("cat", asked="mouse")),
        chosen(motion=Choice("spins", asked="elephant")),
        chosen(place=Choice("city", is_open=True)),
    ]
    admitted = [SMALL.limits(prompt).admit(choices) for choices in cases]
    assert admitted == [True, False, True, False, False, True]
    assert admitted == [bool(SMALL.drafts(prompt).fullmatch(SMALL.draft(choices))) for choices in cases]


def test_what_has_a_stand_in_is_quoted_with_it() -> None:
    slots = [replace(slot, stand_ins={"dog": "cat"}) if slot.name == "object" else slot for slot in SMALL.slots]
    grammar = Grammar(slots, SMALL.ignored)
    assert [(m.phrase, m.values, m.means) for m in grammar.find("a dog")] == [("dog", ("cat",), False)]
    assert grammar.drafts("a dog").fullmatch("?red | dog>cat | ?spins | ?snow | still")
    assert not grammar.drafts("a dog").fullmatch("?red | ?ball | ?spins | ?snow | still")
    assert grammar.limits("a dog").admit(chosen(object=Choice("cat", asked="dog")))
    assert not grammar.limits("a dog").admit(chosen(object=Choice("ball", asked="dog")))
    assert grammar.drafts("a dog and a ball").fullmatch("?red | ball | ?spins | ?snow | still")


def test_a_slot_with_a_default_keeps_it_unless_asked() -> None:
    assert not SMALL.drafts("a cat").fullmatch("?red | cat | ?spins | ?snow | pans left")
    assert not SMALL.drafts("a cat").fullmatch("?red | cat | ?spins | ?snow | ?still")
    assert SMALL.drafts("a cat, orbit").fullmatch("?red | cat | ?spins | ?snow | orbit>pans left")
    assert SMALL.limits("a cat").admit(chosen())
    assert not SMALL.limits("a cat").admit(chosen(camera=Choice("pans left")))


def test_a_draft_is_read_as_it_was_written() -> None:
    choices = chosen(colour=Choice("red", is_open=True), object=Choice("cat", asked="baby elephant"))
    text = SMALL.draft(choices)
    assert text == "?red | baby elephant>cat | spins | snow | still"
    match = SMALL.drafts("baby elephant").fullmatch(text)
    assert match is not None
    assert SMALL.read(match) == choices
    assert len(text) <= SMALL.longest_draft


def test_a_grammar_survives_its_file() -> None:
    again = Grammar.from_config(json.loads(json.dumps(SMALL.to_config())))
    assert again.to_config() == SMALL.to_config()
    assert again.write(CAT) == SMALL.write(CAT)
    assert again.find("the red zebra") == SMALL.find("the red zebra")
