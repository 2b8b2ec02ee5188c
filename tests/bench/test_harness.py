import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.bench.harness import Case, Section, compare, interleave, save, summarise
from tests.bench.networks import nearest, parameters


def test_cases_alternate_and_warm_up_runs_are_dropped() -> None:
    order: list[str] = []
    cases = [Case("a", lambda: order.append("a")), Case("b", lambda: order.append("b"))]
    seconds = interleave(cases, rounds=2, warmup=1, clock=ticking(1.0))
    assert order == ["b", "a", "a", "b", "b", "a"]
    assert seconds == {"a": [1.0, 1.0], "b": [1.0, 1.0]}


def test_seconds_are_per_unit() -> None:
    seconds = interleave([Case("frames", lambda: None, units=8)], rounds=3, warmup=0, clock=ticking(2.0))
    assert seconds == {"frames": [0.25, 0.25, 0.25]}


def test_order_statistics() -> None:
    timing = summarise(Case("a", lambda: None), [float(value) for value in range(101)])
    assert (timing.runs, timing.median, timing.quartile_1, timing.quartile_3, timing.p99) == (101, 50, 25, 75, 99)


def test_a_ratio_is_ours_over_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"ours": [1.0, 2.0, 3.0], "theirs": [4.0, 4.0, 4.0]}
    monkeypatch.setattr("tests.bench.harness.interleave", lambda cases, rounds: seconds)
    section = compare("which", Case("ours", lambda: None), Case("theirs", lambda: None), rounds=3)
    assert section.ratio == 0.5
    assert [timing.name for timing in section.timings] == ["ours", "theirs"]


def test_saved_figures_can_be_read_back(tmp_path: Path) -> None:
    timing = summarise(Case("a", lambda: None, facts={"parameters": 7}), [1.0, 2.0])
    save([Section("which", [timing], ratio=0.5)], tmp_path / "deep" / "bench.json")
    record = json.loads((tmp_path / "deep" / "bench.json").read_text())
    assert record["machine"]["cores"] >= 1
    assert record["sections"][0]["timings"][0]["facts"] == {"parameters": 7}


@pytest.mark.parametrize(("wanted", "width"), [(30, 4), (69, 8), (72, 8), (112, 12)])
def test_the_nearest_size_is_found(wanted: int, width: int) -> None:
    model = nearest(lambda size: nn.Linear(8, size), parameters, wanted, step=4)  # 9 parameters per output
    assert model.out_features == width
    assert model.weight.device == torch.device("cpu")


def ticking(step: float) -> Callable[[], float]:
    """A clock that advances by `step` at each second reading: every run takes `step`."""
    readings = iter(range(1_000_000))
    return lambda: step * next(readings)
