"""The graph as a RayService of KubeRay's own operator."""

from collections.abc import Iterator

import pytest

from kino.client import Kino
from tests.cluster import release
from tests.cluster.tools import get, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]
WHERE = f"--namespace={release.NAMESPACE}"


@pytest.fixture
def on_ray(installed: None) -> Iterator[None]:
    """The release with a RayService in place of the graph's Deployment."""
    release.install({**release.TRIAL, "graph": {"ray": "service"}})
    yield
    release.install(release.TRIAL)


def conditions() -> dict[str, str]:
    status = get("rayservice", f"{release.NAME}-graph", WHERE).get("status", {})
    return {row["type"]: row["status"] for row in status.get("conditions", [])}


def applications() -> dict[str, str]:
    status = get("rayservice", f"{release.NAME}-graph", WHERE)["status"]["activeServiceStatus"]
    return {name: row["status"] for name, row in status["applicationStatuses"].items()}


def test_a_ray_service_runs_and_makes_a_film(on_ray: None) -> None:
    until(lambda: conditions().get("Ready") == "True", 900, "the RayService")
    until(lambda: applications() == {"kino": "RUNNING"}, 300, "the application")
    with Kino(release.outside()) as kino:
        film = kino.film("a red ball bounces across a green meadow", seconds=1, seed=7, fresh=True)
    assert film.video[4:8] == b"ftyp"
