"""Real processes on random weights, and the command line beside them."""

import json
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from services.service import NAMES

START_SECONDS = 240  # generous: a machine under load imports slowly, and nothing here is a measurement


@dataclass
class Served:
    """Every service of one preset in one process, with the addresses that it announced."""

    process: subprocess.Popen[str]
    addresses: Mapping[str, str]
    data: Path

    @property
    def graph(self) -> str:
        return self.addresses["graph"]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Return the exit code that a signal leads to."""
        self.process.send_signal(number)
        return self.process.wait(START_SECONDS)


def start(data: Path, *flags: str, preset: str = "nano", names: Iterable[str] = NAMES) -> Served:
    """Start services by their names, and return once all of them serve."""
    process = subprocess.Popen(
        [sys.executable, "-m", "services", *names, "--preset", preset, "--data", str(data), "--stop-on-eof", *flags],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=(data / "log").open("w"),
        text=True,
    )
    assert process.stdout is not None
    line = json.loads(process.stdout.readline())
    assert "ready" in line, line
    return Served(process, line["ready"], data)


@pytest.fixture
def free_ports() -> int:
    """The first of as many TCP ports on loopback in a row as there are services, none in use a moment ago."""
    for _ in range(100):
        first = random.randrange(17_000, 32_000, len(NAMES))  # another worker looks for ports at the same time
        with ExitStack() as stack:
            try:
                for port in range(first, first + len(NAMES)):
                    stack.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            return first
    raise AssertionError("every port is taken")


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    running = start(tmp_path_factory.mktemp("data"), "--metrics-port", "0", "--drain-seconds", "1")
    yield running
    assert running.end() == 0


@dataclass(frozen=True)
class Finished:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON value that the command printed."""
        return json.loads(self.out)


@pytest.fixture
def kino(tmp_path: Path) -> Callable[..., Finished]:
    """Runs the command line in a process and a folder of its own."""

    def run(*arguments: str | bytes, stdin: bytes = b"", **env: str) -> Finished:
        done = subprocess.run(
            [sys.executable, "-m", "kino.cli", *arguments],
            input=stdin,
            capture_output=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), **env},
            timeout=START_SECONDS,
        )
        return Finished(done.returncode, done.stdout.decode(), done.stderr.decode())

    return run
