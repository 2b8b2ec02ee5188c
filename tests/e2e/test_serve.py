"""`kino serve`: everything on this machine, with the graph on Ray Serve, until it is told to end."""

import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kino.footage import probe
from tests.e2e.conftest import START_SECONDS, Finished

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]


@contextmanager
def ended(process: subprocess.Popen[str]) -> Iterator[None]:
    """End the process where the test fails before it does."""
    try:
        yield
    finally:
        if process.poll() is None:
            process.terminate()


def test_serve_on_ray_makes_films_until_it_is_told_to_end(
    kino: Callable[..., Finished], tmp_path: Path, free_ports: int
) -> None:
    command = [sys.executable, "-m", "kino.cli", "serve", "--ray", "--preset", "nano", "--port", str(free_ports)]
    command += ["--data", str(tmp_path / "data")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as serving, ended(serving):
        assert serving.stdout is not None
        table = [serving.stdout.readline() for _ in range(10)]
        addresses = dict(re.findall(r"^(\w+) +(\S+:\d+)$", "".join(table), re.MULTILINE))
        ports = {name: int(address.rpartition(":")[2]) - free_ports for name, address in addresses.items()}
        others = ("rewriter", "encoder", "generator", "tae", "audio", "editor", "personalizer", "upsampler")
        assert ports == {"graph": 0} | {name: 1 + index for index, name in enumerate(others)}
        made = kino("film", "a blue fish", "--seconds", "0.5", "--steps", "2", "--address", addresses["graph"])
        refused = kino("film", "a blue fish", "--seconds", "-1", "--address", addresses["graph"])
        serving.send_signal(signal.SIGINT)
        assert serving.wait(START_SECONDS) == 0
    assert made.code == 0, made.err
    assert probe(tmp_path / "film.mp4").num_frames == 8
    assert (refused.code, "seconds is -1" in refused.err) == (2, True)
