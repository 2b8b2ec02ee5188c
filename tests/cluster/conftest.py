"""A release of the chart on the local cluster, for the tests that `make cluster-test` runs inside its network."""

import os
from collections.abc import Iterator

import pytest

from kino.client import Kino
from tests.cluster import control, release
from tests.cluster.place import KEYS, NAMESPACE_FILE


def inside() -> bool:
    """Whether this process is in the cluster's network."""
    return NAMESPACE_FILE.exists() and os.stat("/proc/self/ns/net").st_ino == NAMESPACE_FILE.stat().st_ino


@pytest.fixture(scope="session")
def cluster() -> None:
    """The cluster, which has to be up; without it the test is skipped."""
    if not (inside() and control.running()):
        pytest.skip("needs the local cluster: make cluster-test")


@pytest.fixture(scope="session")
def installed(cluster: None) -> Iterator[None]:
    """The chart, installed as for a trial."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in KEYS.items():
            patch.setenv(name, value)
        release.prepare()
        try:
            release.install(release.TRIAL)
            yield
        finally:
            release.clear()


@pytest.fixture(scope="session")
def address(installed: None) -> str:
    """Where clients outside find the graph."""
    return release.outside()


@pytest.fixture
def kino(address: str) -> Iterator[Kino]:
    """A client of the release."""
    with Kino(address) as client:
        yield client
