from pathlib import Path

import pytest

from kino.grammar import SMALL
from kino.registry import Registry
from services.rewriter.engine import RewriterEngine
from services.rewriter.person import WORDS, about_person
from services.rewriter.rules import RULES, rules
from training.world.people import nameless, sample_person

MODELS = Path(__file__).parents[3] / "models"


@pytest.fixture(scope="module")
def engine() -> RewriterEngine:
    return RewriterEngine("mini", "mini", Registry(MODELS))


def test_the_grammar_writes_of_a_person_in_a_dress() -> None:
    grammar = about_person(SMALL)
    values = {"colour": "orange", "object": "person", "motion": "spins", "place": "snow", "camera": "pans left"}
    sentence = "a person in an orange dress spins in the snow, the camera pans left"
    assert grammar.write(values) == sentence
    assert grammar.parse(sentence) == values
    assert SMALL.parse(sentence) is None


def test_words_for_people_are_kept_and_things_are_stood_in_for() -> None:
    grammar = about_person(SMALL)
    assert grammar.limits("she spins").named["object"] == ["person"]
    limits = grammar.limits("a ball")
    assert not limits.named["object"]
    assert list(limits.stand_ins["object"]) == [("ball", "person")]
    assert grammar.find("wearing a dress") == []
    assert len(set(WORDS)) == len(WORDS)


def test_a_sentence_of_a_person_passes_unchanged(engine: RewriterEngine) -> None:
    for index in range(8):
        sentence = nameless(sample_person(3, index, "held_out"))
        rewriting = engine.rewrite(sentence, 0, shown="person")
        assert rewriting.prompt == sentence
        assert rewriting.account.substitutions == []


def test_what_she_does_is_kept_and_what_cannot_be_shown_is_told(engine: RewriterEngine) -> None:
    rewriting = engine.rewrite("She walks through the snow, zoom in", 1, shown="person")
    assert rewriting.prompt.startswith("a person in a")
    assert " moves " in rewriting.prompt
    assert rewriting.prompt.endswith("in the snow, the camera zooms in")
    assert rewriting.account.kept == ["she", "walks", "snow", "zoom in"]
    dressed = engine.rewrite("a woman wearing a blue dress hops in the city", 1, shown="person")
    assert dressed.prompt == "a person in a blue dress bounces in a city"
    beside = engine.rewrite("a red cat spins in the forest", 1, shown="person")
    assert beside.prompt == "a person in a red dress spins in a forest"
    assert [(row.asked, row.drawn) for row in beside.account.substitutions] == [("cat", "person")]


def test_without_the_flag_people_are_stood_in_for(engine: RewriterEngine) -> None:
    assert "person" not in engine.rewrite("a person spins in the snow", 1).prompt


def test_the_rules_of_a_person_add_to_the_rules() -> None:
    assert rules() == RULES
    assert rules("person").startswith(RULES)
    assert "say nothing of face" in rules("person")
