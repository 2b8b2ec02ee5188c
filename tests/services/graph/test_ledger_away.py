"""A database that goes away for a while: what is asked then is told so, and nothing that was accepted is lost."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import grpc
import psycopg
import pytest

from kino.errors import UnavailableError, from_rpc_error
from services.graph.database import LedgerUnavailableError
from services.graph.ledger import Ledger
from services.graph.rows import SUCCEEDED
from tests.services.graph.fakes import Services
from tests.services.graph.harness import Graph, until

pytestmark = pytest.mark.postgres


@dataclass(frozen=True)
class Database:
    """A database of a test's own, that can refuse everybody as a server that restarts does."""

    server: str
    name: str

    @property
    def url(self) -> str:
        return self.server.replace("/postgres", f"/{self.name}")

    def allow(self, allowed: bool) -> None:
        with psycopg.connect(self.server, autocommit=True) as connection:
            connection.execute(f"alter database {self.name} allow_connections {str(allowed).lower()}".encode())
            if not allowed:
                query = "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s"
                connection.execute(query, (self.name,))


@pytest.fixture
def database(postgres: str) -> Iterator[Database]:
    found = Database(postgres, f"away_{uuid4().hex}")
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"create database {found.name}".encode())
    yield found
    found.allow(True)


async def test_what_is_asked_of_a_database_that_is_away_says_so(database: Database) -> None:
    ledger = await Ledger.open(database.url)
    try:
        database.allow(False)
        with pytest.raises(LedgerUnavailableError, match=r"the ledger does not answer: .*(terminating|not currently)"):
            await ledger.list(1)
        database.allow(True)
        assert await ledger.list(1) == ([], None)
    finally:
        await ledger.close()


async def test_a_ledger_waits_for_its_database_and_then_says_why_not(database: Database) -> None:
    database.allow(False)
    with pytest.raises(LedgerUnavailableError, match="is not currently accepting connections"):
        await Ledger.open(database.url, patience_seconds=0)
    opening = asyncio.create_task(Ledger.open(database.url))
    await asyncio.sleep(0.5)
    database.allow(True)
    await (await opening).close()


async def test_a_film_goes_on_when_its_ledger_is_back(services: Services, database: Database, tmp_path: Path) -> None:
    graph = Graph(services, tmp_path, ledger=database.url)
    await graph.start()
    try:
        behaviour = services.behaviour
        behaviour.gate.clear()
        created = await graph.create()
        await until(lambda: behaviour.steps)
        database.allow(False)
        with pytest.raises(grpc.RpcError) as caught:
            await graph.get(created.id)
        assert isinstance(from_rpc_error(caught.value), UnavailableError)
        behaviour.gate.set()
        await asyncio.sleep(1.0)  # the film is made meanwhile, and its end cannot be written
        database.allow(True)
        ended = await graph.end(created.id)
        assert ended.state == SUCCEEDED, ended.error
        assert behaviour.steps.count(20) == 1  # nothing was made twice
    finally:
        await graph.stop()
