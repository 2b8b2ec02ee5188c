import pytest

from services.rewriter.account import Account, Substitution
from services.rewriter.rules import AnswerError, accept, unchanged


def test_an_answer_is_evened_out() -> None:
    assert accept("a dog", "  A dog\n runs. ", ended=True) == ("A dog runs.", Account([], []))


def test_an_answer_in_quotes_is_not_text_to_be_drawn() -> None:
    assert accept("a dog", '"A dog runs."', ended=True)[0] == "A dog runs."
    assert accept('"GO"', '"GO"', ended=True)[0] == '"GO"'
    assert accept("a sign", '"GO" and "STOP"', ended=True)[0] == '"GO" and "STOP"'


def test_the_sentence_in_which_the_bound_was_met_is_left_out() -> None:
    assert accept("a dog", "A dog runs. It is bro", ended=False)[0] == "A dog runs."
    assert accept("a dog", "A dog runs. It is bro", ended=True)[0] == "A dog runs. It is bro"
    with pytest.raises(AnswerError, match="words: at least one letter or digit"):
        accept("a dog", "A dog that run", ended=False)


def test_quoted_text_is_accounted_for() -> None:
    _, account = accept('a sign "GO" and a wall “NO”', 'A sign says "GO".', ended=True)
    assert account.kept == ['"GO"']
    assert account.substitutions == [Substitution("“NO”", "", "the rewriter left out “NO”")]


@pytest.mark.parametrize("answer", ["", " \n", "...", "a\x00b", "x" * 4097])
def test_what_is_no_prompt_is_no_caption(answer: str) -> None:
    with pytest.raises(AnswerError, match="answer"):
        accept("a dog", answer, ended=True)


def test_a_prompt_that_stays_says_why() -> None:
    kept = unchanged("a dog", "no room")
    assert (kept.prompt, kept.source, kept.fallback_reason, kept.account) == (
        "a dog",
        "prompt",
        "no room",
        Account([], []),
    )
