"""The shipped weights behind every service of one process, and a client."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kino.client import Kino
from tests.e2e.conftest import start

MODELS = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder: the default suite leaves them out, `make test-models` runs them."""
    for item in items:
        if item.path.is_relative_to(MODELS):
            item.add_marker("models")
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def kino(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kino]:
    """A client of services that compute with the shipped weights."""
    running = start(tmp_path_factory.mktemp("data"), "--drain-seconds", "1", preset="mini")
    with Kino(running.graph) as client:
        yield client
    assert running.end() == 0
