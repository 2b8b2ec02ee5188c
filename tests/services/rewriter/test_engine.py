from pathlib import Path

import pytest

from kino.grammar import SMALL
from kino.registry import Registry
from services.rewriter.engine import RewriterEngine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> RewriterEngine:
    return RewriterEngine("nano", "nano", Registry(tmp_path_factory.mktemp("models")))


def test_a_canonical_prompt_passes_unchanged(engine: RewriterEngine) -> None:
    prompt = "an orange cat spins in the snow, the camera pans left"
    rewriting = engine.rewrite(prompt, 0)
    assert rewriting.prompt == prompt
    assert rewriting.account.kept == ["orange", "cat", "spins", "snow", "pans left"]
    assert rewriting.account.substitutions == []


def test_random_weights_write_well_formed_sentences_that_keep_what_is_named(engine: RewriterEngine) -> None:
    rewriting = engine.rewrite("please show my BLUE hippopotamus, in the city!!", 3)
    values = SMALL.parse(rewriting.prompt)
    assert values is not None
    assert (values["colour"], values["place"]) == ("blue", "city")
    assert rewriting.account.kept == ["blue", "city"]
    assert "hippopotamus" in " ".join(row.asked for row in rewriting.account.substitutions)


def test_every_word_is_accounted_for(engine: RewriterEngine) -> None:
    rewriting = engine.rewrite('a red "EXIT" gnome dances', 0)
    told = " ".join([*rewriting.account.kept, *(row.asked for row in rewriting.account.substitutions)])
    assert all(word in told for word in ("red", "EXIT", "gnome", "dances"))


def test_a_prompt_and_a_seed_give_one_sentence(engine: RewriterEngine, tmp_path: Path) -> None:
    other = RewriterEngine("nano", "nano", Registry(tmp_path))
    assert engine.rewrite("surprise me", 5) == engine.rewrite("surprise me", 5) == other.rewrite("surprise me", 5)
