"""Films go on while parts of the cluster are away: the store, and a pod that is replaced."""

import os
import signal
import time

import pytest

from kino.client import Kino, text_to_video
from kino.v1 import graph_pb2
from tests.cluster import release
from tests.cluster.daemons import MINIO
from tests.cluster.tools import kubectl, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
AWAY_SECONDS = 20


def begin(kino: Kino, seed: int) -> str:
    """A film of many steps, which takes longer than it takes to break something."""
    spec = text_to_video("a red ball bounces", seconds=2.0, steps=100, linear_steps=100, seed=seed)
    id: str = kino.generations.create(spec).id
    until(lambda: any(stage.step > 0 for stage in kino.generations.get(id).stages), 300, "the first step")
    return id


def end(kino: Kino, id: str) -> None:
    """Watch it to its end, which is a film that can be read."""
    *_, last = kino.generations.watch(id)
    assert last.state == graph_pb2.GENERATION_STATE_SUCCEEDED, last.error
    film = next(row for row in kino.generations.get(id).artifacts if row.media.media_type == "video/mp4")
    assert kino.artifacts.download(film.media.uri)[4:8] == b"ftyp"


def test_a_film_outlives_a_store_that_hangs(kino: Kino) -> None:
    pid = MINIO.pid()
    assert pid is not None
    id = begin(kino, 1)
    os.kill(pid, signal.SIGSTOP)
    try:
        time.sleep(AWAY_SECONDS)
    finally:
        os.kill(pid, signal.SIGCONT)
    end(kino, id)


@pytest.mark.parametrize("service", ["generator", "tae"])
def test_a_film_outlives_a_pod_that_is_replaced(kino: Kino, service: str) -> None:
    id = begin(kino, 2 + len(service))
    (pod,) = release.pods(service)
    kubectl("delete", "pod", pod, f"--namespace={release.NAMESPACE}", "--wait=false")
    end(kino, id)
    name = f"deployment/{release.NAME}-{service}"
    kubectl("rollout", "status", name, f"--namespace={release.NAMESPACE}", "--timeout=300s")
