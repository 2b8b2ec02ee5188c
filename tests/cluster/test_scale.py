"""One service scaled on its own: the calls spread over its pods."""

import re
import urllib.request

import pytest

from kino.client import Kino
from tests.cluster import release
from tests.cluster.tools import kubectl, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


def handled(address: str) -> int:
    """Calls that a pod has begun to serve, health checks left out."""
    with urllib.request.urlopen(f"http://{address}:9090/metrics") as answer:
        text = answer.read().decode()
    rows = re.findall(r'^grpc_server_started_total\{.*grpc_service="kino\.\S+ (\S+)$', text, re.MULTILINE)
    return sum(int(float(count)) for count in rows)


def test_calls_spread_over_two_pods_of_one_service(kino: Kino) -> None:
    def scale(replicas: int) -> None:
        name = f"deployment/{release.NAME}-encoder"
        kubectl("scale", name, f"--replicas={replicas}", f"--namespace={release.NAMESPACE}")
        kubectl("rollout", "status", name, f"--namespace={release.NAMESPACE}", "--timeout=300s")

    scale(2)
    try:
        pods = release.pods("encoder")
        assert len(pods) == 2
        films = (kino.film(f"a ball number {number}", seconds=0.5, steps=2, seed=number) for number in range(60))
        until(
            lambda: bool(next(films).video) and all(handled(address) for address in pods.values()),
            400,
            "both pods' work",
        )
    finally:
        scale(1)
