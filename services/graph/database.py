"""The table behind the ledger, in SQLite or PostgreSQL."""

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    URL,
    BigInteger,
    Boolean,
    Column,
    Double,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    make_url,
    text,
)
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from kino.errors import UnavailableError

READ_ONLY = "kino_read_only"  # execution option of a connection that only reads
LOSABLE = "kino_losable"  # of one whose writes a power failure may undo: nobody was promised them
_DRIVERS = {"sqlite": "sqlite+pysqlite", "postgresql": "postgresql+psycopg"}
_PAUSE_SECONDS = 1.0
_PREPARE_LOCK = 0x6B696E6F  # any number that nobody else in the database uses: "kino"
_log = logging.getLogger("kino.graph")


class LedgerUnavailableError(UnavailableError):
    """The database does not answer, or cannot take this now; the same works again once it can."""


metadata = MetaData()
generations = Table(
    "generations",
    metadata,
    Column("number", BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True),
    Column("id", String(32), nullable=False, unique=True),
    Column("idempotency_key", String(128), nullable=False, unique=True),
    Column("digest", String(64), nullable=False, comment="SHA-256 of the request"),
    Column("spec", LargeBinary, nullable=False, comment="kino.v1.GenerationSpec"),
    Column("fresh", Boolean, nullable=False),
    Column("pipeline", LargeBinary, nullable=False, comment="kino.v1.Pipeline, every default filled in"),
    Column("seed", BigInteger, nullable=False),
    Column("request_id", String(64), nullable=False, comment="of the call that created it"),
    Column("state", Integer, nullable=False, comment="kino.v1.GenerationState"),
    Column("sequence", BigInteger, nullable=False, comment="counts the changes, from 1"),
    Column("create_time", Double, nullable=False, comment="seconds since 1970"),
    Column("start_time", Double),
    Column("finish_time", Double),
    Column("outcome", LargeBinary, nullable=False, comment="kino.v1.Generation: stages, error, artifacts"),
    Column("record", LargeBinary, comment="kino.v1.Record"),
    Column("owner", String(128), comment="the director that holds the lease"),
    Column("lease_until", Double, comment="seconds since 1970"),
    Column("claims", Integer, nullable=False, comment="times a director took it and did not give it back"),
    Index("generations_by_state", "state", "number"),
    sqlite_autoincrement=True,  # a deleted generation's number never returns, so page tokens stay true
)


class now(FunctionElement[float]):  # noqa: N801 - it reads as the SQL function it is
    """Seconds since 1970 by the database's clock."""

    type = Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _now_sqlite(element: now, compiler: Any, **options: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _now_postgresql(element: now, compiler: Any, **options: Any) -> str:
    return "extract(epoch from clock_timestamp())::double precision"


def parse(url: str) -> URL:
    """Return a SQLAlchemy URL such as `sqlite:////folder/ledger.sqlite` or `postgresql://user@host/name`.

    Raises:
        ValueError: the URL names another kind of database, or none.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise ValueError(f"ledger is {url!r}, must be a URL such as sqlite:///FILE or postgresql://HOST/NAME") from None
    kind = parsed.get_backend_name()
    if kind not in _DRIVERS:
        raise ValueError(f"ledger is a {kind} URL, must be of {' or '.join(_DRIVERS)}")
    if kind == "sqlite" and not parsed.database:
        raise ValueError(f"ledger is {url!r}, must name a file: a ledger in memory would forget what it accepted")
    return parsed.set(drivername=_DRIVERS[kind])


def connect(url: str) -> Engine:
    """Return an engine for a URL that `parse` takes. It connects when it is first used."""
    parsed = parse(url)
    is_sqlite = parsed.get_backend_name() == "sqlite"
    # A server whose databases are SQL_ASCII would answer in bytes.
    settings = {} if is_sqlite else {"client_encoding": "utf8"}
    engine = create_engine(parsed, pool_pre_ping=not is_sqlite, connect_args=settings)
    if is_sqlite:
        Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextmanager
def failures_are_typed() -> Iterator[None]:
    """Raise `LedgerUnavailableError` for what lies in the database's state, not in what it was asked."""
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise _away(error) from error


def _away(error: DBAPIError) -> LedgerUnavailableError:
    reason = next(iter(str(error.orig).strip().splitlines()), type(error.orig).__name__)
    return LedgerUnavailableError(f"the ledger does not answer: {reason}")


def prepare(engine: Engine) -> None:
    """Create the table where it is missing; of several processes that start together, one does."""
    with failures_are_typed(), engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text(f"select pg_advisory_xact_lock({_PREPARE_LOCK})"))
        metadata.create_all(connection)


async def open_engine(url: str, patience_seconds: float) -> Engine:
    """Return an engine whose database is there and has the table; a server that does not answer is waited for.

    Raises:
        ValueError: as `parse`.
        LedgerUnavailableError: the server still does not answer, or the file cannot be opened.
    """
    engine = connect(url)
    until = time.monotonic() + (patience_seconds if engine.dialect.name == "postgresql" else 0.0)
    while True:
        try:
            await asyncio.to_thread(prepare, engine)
            return engine
        except LedgerUnavailableError as error:
            if time.monotonic() > until:
                raise
            _log.warning("waiting for the ledger", extra={"error": error.message})
            await asyncio.sleep(_PAUSE_SECONDS)


def _set_up_sqlite(connection: Any, _record: object) -> None:
    connection.isolation_level = None  # transactions begin where `_begin_sqlite` says, not at the driver's guess
    cursor = connection.cursor()
    for pragma in ("busy_timeout = 60000", "journal_mode = wal"):
        cursor.execute(f"pragma {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """Take the write lock first where something will be written: a reader that turns writer may find it taken."""
    options = connection.get_execution_options()
    if not options.get(READ_ONLY):
        connection.exec_driver_sql(f"pragma synchronous = {'normal' if options.get(LOSABLE) else 'full'}")
    connection.exec_driver_sql("begin" if options.get(READ_ONLY) else "begin immediate")
