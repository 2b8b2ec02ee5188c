import io

import pytest
from rich.console import Console

from kino import cli_view
from kino.cli_view import StageBars, print_facts, print_table, stage_state, state_of
from kino.v1 import graph_pb2
from kino.v1.graph_pb2 import Generation, Stage


def generation(*stages: Stage) -> Generation:
    return Generation(state=graph_pb2.GENERATION_STATE_RUNNING, stages=stages)


def running(step: int, of: int) -> Stage:
    return Stage(name="generate", state=graph_pb2.STAGE_STATE_RUNNING, step=step, of=of, seconds=step / 10)


DONE = Stage(name="generate", state=graph_pb2.STAGE_STATE_SUCCEEDED, step=50, of=50, seconds=5)
STORED = Stage(name="encode", state=graph_pb2.STAGE_STATE_SUCCEEDED, cached=True)
WAITING = Stage(name="decode", state=graph_pb2.STAGE_STATE_QUEUED)


def test_states_are_words() -> None:
    assert state_of(generation()) == "running"
    assert [stage_state(stage) for stage in (DONE, STORED, WAITING)] == ["succeeded", "stored", "queued"]


def test_without_a_terminal_each_stage_is_told_once_when_it_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    bars = StageBars()
    with bars.shown():
        bars.show(generation(STORED, running(3, 50), WAITING))
        bars.show(generation(STORED, DONE, WAITING))
        bars.show(generation(STORED, DONE, WAITING))
    assert capsys.readouterr().err.splitlines() == ["encode           stored", "generate         50/50  5.0 s"]


def test_on_a_terminal_the_bars_show_the_steps_that_are_done(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=100)
    monkeypatch.setattr(cli_view, "Console", lambda stderr: console)
    bars = StageBars()
    with bars.shown():
        bars.show(generation(STORED, running(25, 50), WAITING))
        halfway = [task.percentage for task in bars._bars.tasks]
        bars.show(generation(STORED, DONE, WAITING))
    assert halfway == [100, 50, 0]
    text = screen.getvalue()
    assert "50/50  5.0 s" in text
    assert "queued" in text


def test_facts_and_tables_are_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    print_facts({"seed": "7", "rewritten": "a cat"})
    assert capsys.readouterr().out == "seed       7\nrewritten  a cat\n"
    print_table(("service", "address"), [("tae", "127.0.0.1:7004"), ("[bold]", "x" * 200)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines[:2]] == [["service", "address"], ["tae", "127.0.0.1:7004"]]
    assert lines[2].split() == ["[bold]", "x" * 200]
