"""No film is lost while a release changes: an upgrade, a rollback, pods that go, a node that is drained."""

import asyncio
import statistics
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from kino.client import AsyncKino, text_to_video
from kino.v1 import graph_pb2
from services.service import NAMES
from tests.cluster import release
from tests.cluster.images import IMAGE
from tests.cluster.place import NODE, TAG
from tests.cluster.tools import ctr, kubectl, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(2400)]
PATIENCE_SECONDS = 900.0
WIDE = {**release.TRIAL, "services": {"graph": {"queue": 512}}}  # no film is refused while nothing is made
NEXT = f"{TAG}-next"


@dataclass(frozen=True)
class Made:
    """A film as a client saw it: how long it took from the order to its end, or to an error."""

    phase: str
    id: str
    state: str
    seconds: float


@dataclass
class Load:
    """Clients that ask for a film every second, each a film of its own."""

    kino: AsyncKino
    phase: str = "before"
    made: list[Made] = field(default_factory=list)
    asked: list[asyncio.Task[None]] = field(default_factory=list)

    async def go_on(self) -> None:
        """Ask for a film every second until cancelled."""
        while True:
            self.asked.append(asyncio.create_task(self._film(len(self.asked))))
            await asyncio.sleep(1.0)

    async def _film(self, number: int) -> None:
        spec = text_to_video(f"ball number {number}", seconds=0.25, steps=2, seed=number)
        phase, began = self.phase, asyncio.get_running_loop().time()
        id = (await self.kino.generations.create(spec, idempotency_key=f"upgrade-{number}")).id
        async for seen in self.kino.generations.watch(id):
            state = graph_pb2.GenerationState.Name(seen.state)
        self.made.append(Made(phase, id, state, asyncio.get_running_loop().time() - began))

    async def during(self, phase: str, work: Callable[[], None]) -> None:
        """Do something to the release, and let ten more films be ordered after it."""
        self.phase = phase
        await asyncio.to_thread(work)
        await asyncio.sleep(10.0)


@asynccontextmanager
async def load(address: str) -> AsyncIterator[Load]:
    """Orders that go on until the block ends; then they are waited for."""
    async with AsyncKino(address, patience_seconds=PATIENCE_SECONDS) as kino:
        clients = Load(kino)
        going = asyncio.create_task(clients.go_on())
        try:
            yield clients
        finally:
            going.cancel()
            await asyncio.gather(*clients.asked)


def upgrade() -> None:
    for name in NAMES:
        ctr("images", "tag", "--force", f"{IMAGE}:{TAG}", f"docker.io/library/kino-{name}:{NEXT}")
    release.install({**WIDE, "image": {"tag": NEXT}})


def delete_a_pod_of_every_service() -> None:
    for name in NAMES:
        pod = next(iter(release.pods(name)))
        kubectl("delete", "pod", pod, f"--namespace={release.NAMESPACE}", "--wait=false")
    wait_for_all()


def drain() -> None:
    kubectl("drain", NODE, "--ignore-daemonsets", "--delete-emptydir-data", "--force", "--timeout=300s")
    try:
        assert not any(release.pods(name) for name in NAMES)
    finally:
        kubectl("uncordon", NODE)
    wait_for_all()


def wait_for_all() -> None:
    until(lambda: all(len(release.pods(name)) == 1 for name in NAMES), 300, "a pod of every service")
    for name in NAMES:
        deployment = f"deployment/{release.NAME}-{name}"
        kubectl("rollout", "status", deployment, f"--namespace={release.NAMESPACE}", "--timeout=600s")


async def test_no_film_fails_is_lost_or_made_twice_while_the_release_changes(address: str) -> None:
    release.install(WIDE)
    async with load(address) as clients:
        await clients.during("before", lambda: None)
        await clients.during("upgrade", upgrade)
        await clients.during("rollback", lambda: print(release.helm("rollback", release.NAME, "--wait")))
        await clients.during("pods deleted", delete_a_pod_of_every_service)
        await clients.during("node drained", drain)
        await clients.during("after", lambda: None)
    made = clients.made
    for phase in dict.fromkeys(row.phase for row in made):
        seconds = sorted(row.seconds for row in made if row.phase == phase)
        print(
            f"{phase:14} {len(seconds):4} films, median {statistics.median(seconds):6.1f} s, most {seconds[-1]:6.1f} s"
        )
    assert len(made) >= 120
    assert Counter(row.state for row in made) == {"GENERATION_STATE_SUCCEEDED": len(made)}
    async with AsyncKino(address) as kino:
        kept = Counter([row.spec.text_to_video.prompt async for row in kino.generations.list()])
        assert {kept[f"ball number {number}"] for number in range(len(made))} == {1}
        films = [await kino.artifacts.of(await kino.generations.get(row.id), "film") for row in made[::10]]
    assert all(film[4:8] == b"ftyp" for film in films)
    release.install(release.TRIAL)
