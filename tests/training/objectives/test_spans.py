import numpy as np
import pytest

from kino.tokens import END
from training.objectives.spans import UL2, Denoiser, corrupt

SENTINELS = list(range(100, 116))


def restored(source: list[int], target: list[int]) -> list[int]:
    """What a decoder that predicts `target` makes of `source`."""
    hidden: dict[int, list[int]] = {}
    for token in target[:-1]:
        if token in SENTINELS:
            hidden[token] = []
        else:
            hidden[next(reversed(hidden))].append(token)
    return [token for part in source for token in hidden.get(part, [part])]


@pytest.mark.parametrize("denoiser", [*UL2, Denoiser("", 0.9, 1.0)])
@pytest.mark.parametrize("count", [2, 3, 12, 60])
def test_source_and_target_make_the_text_again(denoiser: Denoiser, count: int) -> None:
    ids = list(range(count))
    for seed in range(20):
        source, target = corrupt(ids, denoiser, SENTINELS, np.random.default_rng(seed))
        assert restored(source, target) == ids
        assert target[0] == SENTINELS[0]
        assert target[-1] == END
        named = [token for token in source if token in SENTINELS]
        assert named == SENTINELS[: len(named)] == [token for token in target if token in SENTINELS]


def test_the_asked_share_is_hidden_in_runs_of_the_asked_length() -> None:
    source, target = corrupt(list(range(60)), Denoiser("", 0.5, 3.0), SENTINELS, np.random.default_rng(0))
    runs = sum(token in SENTINELS for token in source)
    assert len(target) - 1 - runs == 30
    assert runs == 10


def test_the_sequential_denoiser_hides_the_tail() -> None:
    source, target = corrupt(list(range(8)), Denoiser("<S>", 0.25, 0.0), SENTINELS, np.random.default_rng(0))
    assert source == [0, 1, 2, 3, 4, 5, 100]
    assert target == [100, 6, 7, END]


def test_no_more_runs_than_sentinels() -> None:
    source, _ = corrupt(list(range(60)), Denoiser("", 0.5, 1.0), SENTINELS[:2], np.random.default_rng(0))
    assert [token for token in source if token >= 100] == [100, 101]
