"""Films go on while the store hangs; where it cannot work at all, films end with the reason, and no pod ends."""

import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from kino.client import Film, Kino, text_to_video
from kino.errors import FailedPreconditionError, KinoError, ResourceExhaustedError
from kino.v1 import graph_pb2
from services.service import NAMES
from tests.cluster import release
from tests.cluster.tools import get, kubectl, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
AWAY_SECONDS = 20
MINIO = "statefulset/kino-minio"


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


def restarts() -> dict[str, int]:
    """How often the containers of each pod of a service were started again."""
    found = get("pods", f"--namespace={release.NAMESPACE}", f"--selector=app.kubernetes.io/instance={release.NAME}")
    return {
        row["metadata"]["name"]: row["status"]["containerStatuses"][0]["restartCount"]
        for row in found["items"]
        if row["metadata"]["labels"]["app.kubernetes.io/component"] in NAMES
        and "deletionTimestamp" not in row["metadata"]  # of one that was replaced
    }


def test_a_film_outlives_a_store_that_hangs(kino: Kino) -> None:
    id = begin(kino, 1)
    with release.hanging_store():
        time.sleep(AWAY_SECONDS)
    end(kino, id)


@pytest.mark.parametrize("service", ["generator", "tae"])
def test_a_film_outlives_a_pod_that_is_replaced(kino: Kino, service: str) -> None:
    id = begin(kino, 2 + len(service))
    (pod,) = release.pods(service)
    kubectl("delete", "pod", pod, f"--namespace={release.NAMESPACE}", "--wait=false")
    end(kino, id)
    name = f"deployment/{release.NAME}-{service}"
    kubectl("rollout", "status", name, f"--namespace={release.NAMESPACE}", "--timeout=300s")


@contextmanager
def bucket_missing() -> Iterator[None]:
    """The bucket's folder is not where the server looks for it."""
    bucket = release.OBJECTS.folder / "kino"
    bucket.rename(bucket.with_name("elsewhere"))
    try:
        yield
    finally:
        if bucket.exists():  # what has asked meanwhile has made it, empty
            shutil.rmtree(bucket)
        bucket.with_name("elsewhere").rename(bucket)


@contextmanager
def wrong_keys() -> Iterator[None]:
    """The server takes other keys than those that the services have."""
    where = (MINIO, f"--namespace={release.NAMESPACE}")
    kubectl("set", "env", *where, "MINIO_ROOT_PASSWORD=another-secret")
    kubectl("rollout", "status", *where, "--timeout=120s")
    try:
        yield
    finally:
        kubectl("rollout", "undo", *where)
        kubectl("rollout", "status", *where, "--timeout=120s")


@contextmanager
def full_disk() -> Iterator[None]:
    """No byte is left on the store's volume."""
    space = os.statvfs(release.OBJECTS.folder)
    filler = release.OBJECTS.folder / "filler"
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, space.f_bavail * space.f_frsize)  # what is left is root's
    try:
        yield
    finally:
        filler.unlink()


@pytest.mark.parametrize(
    ("broken", "kind", "message"),
    [
        (bucket_missing, FailedPreconditionError, "there is no such bucket"),
        (wrong_keys, FailedPreconditionError, "the server refuses these keys"),
        (full_disk, ResourceExhaustedError, "no room left"),
    ],
)
def test_a_store_that_cannot_work_is_told_and_needs_no_restart(
    kino: Kino, broken: "type[AbstractContextManager[None]]", kind: type[KinoError], message: str
) -> None:
    order = {"seconds": 0.5, "steps": 2, "seed": len(message)}
    before, made = restarts(), kino.film("a cube spins", **order)  # type: ignore[arg-type]
    with broken(), pytest.raises(kind, match=message):
        kino.film("a cube spins", fresh=True, **order)  # type: ignore[arg-type]
    again = recovered(lambda: kino.film("a cube spins", fresh=True, **order), kind)  # type: ignore[arg-type]
    assert again.video == made.video
    assert kino.artifacts.download(made.generation.artifacts[0].media.uri)[4:8] == b"ftyp"
    assert restarts() == before


def recovered(make: Callable[[], Film], kind: type[KinoError]) -> Film:
    """A film, once the store has seen that it can work again: MinIO looks for room every few seconds."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return make()
        except kind:
            if time.monotonic() > deadline:
                raise
            time.sleep(1.0)
