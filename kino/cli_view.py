"""What a command shows: bars that tell the truth, tables, and JSON for scripts."""

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from kino.v1 import graph_pb2
from kino.v1.audio_pb2 import SoundFigures
from kino.v1.graph_pb2 import Generation

_ENDLESS = 1 << 16
DONE = graph_pb2.STAGE_STATE_SUCCEEDED
_BEGUN = (graph_pb2.STAGE_STATE_RUNNING, DONE, graph_pb2.STAGE_STATE_FAILED, graph_pb2.STAGE_STATE_CANCELLED)


def state_of(generation: Generation) -> str:
    """Return the state as a word, for example "running"."""
    return graph_pb2.GenerationState.Name(generation.state).removeprefix("GENERATION_STATE_").lower()


def stage_state(stage: graph_pb2.Stage) -> str:
    """Return the state of a stage as a word, for example "queued"; "stored" where nothing had to be computed."""
    if stage.cached:
        return "stored"
    return graph_pb2.StageState.Name(stage.state).removeprefix("STAGE_STATE_").lower()


def as_json(message: Message) -> Any:
    """Return a message as plain JSON values, fields named as in the protos."""
    return MessageToDict(message, preserving_proto_field_name=True)


def print_json(value: object) -> None:
    """Print one JSON value on one line."""
    print(json.dumps(value, ensure_ascii=False), flush=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under their columns; on lines as long as they need where the output is no terminal."""
    table = Table(*columns, box=None, pad_edge=False, header_style="bold")
    for row in rows:
        table.add_row(*(Text(cell, overflow="fold") for cell in row))
    Console(width=None if sys.stdout.isatty() else _ENDLESS).print(table)


def print_facts(facts: Mapping[str, str]) -> None:
    """Print names and values, one under the other."""
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:<{width}}  {value}")


def describe_sound(figures: SoundFigures) -> str:
    """Return what was measured on a sound in words, for example "2.00 s, -23.0 LUFS, peak -4.1 dBTP"."""
    seconds = f"{figures.samples / 48_000:.2f} s"
    if figures.silent:
        return f"{seconds} of silence: the model made none louder"
    return f"{seconds}, {figures.loudness_lufs:.1f} LUFS, peak {figures.true_peak_dbtp:.1f} dBTP"


class StageBars:
    """One bar per stage of a generation on standard error; where that is no terminal, one line per finished stage."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bars = Progress(
            TextColumn("{task.description:<16}"), BarColumn(), _Account(), console=self._console, transient=False
        )
        self._tasks: dict[str, TaskID] = {}
        self._told: set[str] = set()

    @contextmanager
    def shown(self) -> Iterator["StageBars"]:
        """Draw while the context lasts."""
        if not self._console.is_terminal:
            yield self
            return
        with self._bars:
            yield self

    def begin(self, name: str) -> Callable[[], float]:
        """Show a piece of work of the command itself; what comes back ends it and returns its seconds."""
        started = time.monotonic()
        task = self._bars.add_task(name, total=None, account="")

        def finish() -> float:
            seconds = time.monotonic() - started
            self._bars.update(task, total=1, completed=1, account=f"{seconds:.1f} s")
            self._tell(name, f"{seconds:.1f} s")
            return seconds

        return finish

    def show(self, generation: Generation) -> None:
        """Bring the bars up to what a generation says."""
        for stage in generation.stages:
            if stage.name not in self._tasks:
                self._tasks[stage.name] = self._bars.add_task(stage.name, total=None, start=False, account="")
            task = self._tasks[stage.name]
            if stage.state in _BEGUN:
                self._bars.start_task(task)
            done = stage.state == DONE
            steps = stage.of or None
            account = _account(stage)
            self._bars.update(
                task,
                total=1 if done and steps is None else steps,
                completed=1 if done and steps is None else stage.step,
            )
            self._bars.update(task, account=account)
            if done:
                self._tell(stage.name, account)

    def _tell(self, name: str, account: str) -> None:
        if not self._console.is_terminal and name not in self._told:
            self._told.add(name)
            print(f"{name:<16} {account}", file=sys.stderr)


class _Account(ProgressColumn):
    """The words beside a bar."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["account"])


def _account(stage: graph_pb2.Stage) -> str:
    if stage.state in (graph_pb2.STAGE_STATE_PENDING, graph_pb2.STAGE_STATE_QUEUED) or stage.cached:
        return stage_state(stage)
    steps = f"{stage.step}/{stage.of}  " if stage.of else ""
    ended = "" if stage.state in (graph_pb2.STAGE_STATE_RUNNING, DONE) else f"  {stage_state(stage)}"
    return f"{steps}{stage.seconds:.1f} s{ended}"
