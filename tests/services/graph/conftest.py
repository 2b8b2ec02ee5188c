import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest

from kino.store import Store, open_store
from services.graph.ledger import Ledger
from tests.services.graph.fakes import Services
from tests.services.graph.harness import Graph

_POSTGRES_USER = "nobody"  # the server refuses to run as root


def _postgres_folder() -> Path | None:
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    return folders[-1] if folders else None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_it_answers(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(600):
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            assert server.poll() is None, log.read_text()
            time.sleep(0.05)
        else:
            return
    raise AssertionError(log.read_text())


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a real PostgreSQL server on loopback, gone with the session."""
    binaries = _postgres_folder()
    if binaries is None:
        pytest.skip("no PostgreSQL server here: install the package `postgresql` to run this test")
    folder, port = Path(tempfile.mkdtemp(prefix="kino-postgres-")), _free_port()
    user = _POSTGRES_USER if os.getuid() == 0 else None
    if user is not None:
        shutil.chown(folder, user)
    data, log = str(folder / "data"), folder / "log"
    init = [str(binaries / "initdb"), "-D", data, "-A", "trust", "-U", "kino", "--no-sync"]
    serve = [str(binaries / "postgres"), "-D", data, "-p", str(port), "-k", str(folder), "-c", "fsync=off"]
    subprocess.run(init, check=True, cwd=folder, user=user, stdout=subprocess.DEVNULL)
    with log.open("wb") as output:
        server = subprocess.Popen(serve, cwd=folder, user=user, stdout=output, stderr=output)
    try:
        url = f"postgresql://kino@127.0.0.1:{port}/postgres"
        _wait_until_it_answers(url, server, log)
        yield url
    finally:
        server.send_signal(signal.SIGQUIT)  # at once: nothing of it is kept
        server.wait(30)
        shutil.rmtree(folder)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def ledger_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/ledger.sqlite"
    url: str = request.getfixturevalue("postgres")
    name = f"kino_{uuid4().hex}"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"create schema {name}".encode())
    return f"{url}?options=-csearch_path%3D{name}"


@pytest.fixture
async def ledger(ledger_url: str) -> AsyncIterator[Ledger]:
    opened = await Ledger.open(ledger_url)
    yield opened
    await opened.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "store"))


@pytest.fixture
async def services(store: Store) -> AsyncIterator[Services]:
    """The fake services, serving."""
    started = Services(store)
    await started.start()
    yield started
    await started.stop()


@pytest.fixture
async def graph(services: Services, tmp_path: Path) -> AsyncIterator[Graph]:
    started = Graph(services, tmp_path)
    await started.start()
    yield started
    await started.stop()
