import numpy as np

from training.objectives.pairs import draw_pair
from training.objectives.wishes import plain_grammar


def test_a_draft_always_keeps_to_what_its_prompt_allows() -> None:
    rng = np.random.default_rng(0)
    grammar = plain_grammar()
    for _ in range(200):
        prompt, draft = draw_pair(rng)
        match = grammar.drafts(prompt).fullmatch(draft)
        assert match is not None, (prompt, draft)
        assert grammar.draft(grammar.read(match)) == draft


def test_pairs_are_a_function_of_the_source() -> None:
    first, second = ([draw_pair(np.random.default_rng(seed)) for seed in (1, 2, 3)] for _ in range(2))
    assert first == second
    assert len(set(first)) == 3


def test_pairs_hold_every_mark() -> None:
    rng = np.random.default_rng(0)
    drafts = [draw_pair(rng)[1] for _ in range(200)]
    marked = [sum(sign in draft for draft in drafts) for sign in ("?", ">")]
    assert all(40 < count < 180 for count in marked)
    assert sum(not set(draft) & set("?>") for draft in drafts) > 20
