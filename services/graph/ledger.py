"""The ledger: every generation, its state, and which director holds it.

One row per generation and one state machine::

    QUEUED -> RUNNING -> SUCCEEDED | FAILED | CANCELLED        (QUEUED may also fail or be cancelled)

Every transition is a conditional UPDATE, so of two writers one wins and the other learns that it lost. A director works
on a generation while it holds its lease; a lease that is not renewed in time lets any director take over. Times are the
database's own, so the clocks of the directors' machines do not matter.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, delete, select, update
from sqlalchemy.exc import IntegrityError

from kino.errors import AlreadyExistsError, FailedPreconditionError, NotFoundError, ResourceExhaustedError
from kino.v1 import graph_pb2
from services.graph.database import LOSABLE, READ_ONLY, failures_are_typed, generations, now, open_engine
from services.graph.rows import (
    ACTIVE,
    BY_ID,
    CANCELLED,
    ENDED,
    FAILED,
    HELD,
    QUEUED,
    REPORTING,
    RUNNING,
    SEQUENCES,
    SUCCEEDED,
    TAKING,
    WAITING,
    Claim,
    Order,
    State,
    insertion,
    message,
)
from services.graph.watchers import Watchers

T = TypeVar("T")
_SOURCES: dict[State, tuple[State, ...]] = {
    RUNNING: (QUEUED,),
    SUCCEEDED: (RUNNING,),
    FAILED: ACTIVE,
    CANCELLED: ACTIVE,
}
_OPEN_STAGES = (graph_pb2.STAGE_STATE_PENDING, graph_pb2.STAGE_STATE_QUEUED, graph_pb2.STAGE_STATE_RUNNING)
_ID = re.compile(r"[0-9a-f]{32}")
_RETRY_SECONDS = 2.0
_THREADS = 4  # transactions at once; SQLite lets one of them write


class Ledger:
    """The generations in a database; `open` makes one. Each transaction runs in a thread, whole.

    Every method raises `LedgerUnavailableError` while the database is away.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="ledger")
        self.watchers = Watchers(self._sequences)

    @classmethod
    async def open(cls, url: str, patience_seconds: float = 120.0) -> "Ledger":
        """Return the ledger at a SQLAlchemy URL (`sqlite:///FILE` or `postgresql://...`), its table made where missing.

        Args:
            patience_seconds: how long a server that does not answer is waited for.

        Raises:
            ValueError: the URL names another kind of database, or none.
            LedgerUnavailableError: the server does not answer, or the file cannot be opened.
        """
        return cls(await open_engine(url, patience_seconds))

    async def close(self) -> None:
        """Close every connection."""
        await self.watchers.close()
        await asyncio.to_thread(self._threads.shutdown)
        self._engine.dispose()

    async def find(self, idempotency_key: str, digest: str) -> graph_pb2.Generation | None:
        """Return the generation that was created under this key, or None.

        Raises:
            AlreadyExistsError: the key was used for something else.
        """
        query = select(generations).where(generations.c.idempotency_key == idempotency_key)
        row = await self._read(lambda connection: connection.execute(query).mappings().first())
        if row is None:
            return None
        if row["digest"] != digest:
            raise AlreadyExistsError(f"idempotency_key {idempotency_key!r} was used for another request")
        return message(row)

    async def create(self, order: Order, max_queued: int) -> graph_pb2.Generation:
        """Return the new generation, or the one that was made earlier under the same key for the same request.

        Raises:
            AlreadyExistsError: the key was used for something else.
            ResourceExhaustedError: `max_queued` generations wait already.
        """

        def insert(connection: Connection) -> RowMapping:
            row = connection.execute(insertion(order)).mappings().one()
            num_others = connection.execute(WAITING).scalar_one() - 1
            if num_others >= max_queued:
                raise ResourceExhaustedError(
                    f"the graph is busy: {num_others} generations wait, at most {max_queued} may",
                    retry_after_seconds=_RETRY_SECONDS,
                )
            return row

        try:
            row = await self._write(insert)
        except IntegrityError:  # the key is taken
            found = await self.find(order.idempotency_key, order.digest)
            if found is None:
                raise
            return found
        return message(row)

    async def get(self, id: str, *, with_record: bool = False) -> graph_pb2.Generation:
        """Return one generation, or raise `NotFoundError`."""
        return message(await self._read(lambda connection: _row(connection, id)), with_record=with_record)

    async def list(
        self, size: int, before: int | None = None, states: Collection[State] = ()
    ) -> tuple[list[graph_pb2.Generation], int | None]:
        """Return a page, newest first, and where the next one begins (`before`), or None on the last one."""
        query = select(generations).order_by(generations.c.number.desc()).limit(size + 1)
        if before is not None:
            query = query.where(generations.c.number < before)
        if states:
            query = query.where(generations.c.state.in_(states))
        rows = await self._read(lambda connection: connection.execute(query).mappings().all())
        page = rows[:size]
        return [message(row) for row in page], page[-1]["number"] if len(rows) > size else None

    async def cancel(self, id: str) -> graph_pb2.Generation:
        """End a generation, and return it; one that has ended stays as it is. Its director notices and stops."""

        def end(connection: Connection) -> RowMapping:
            outcome = graph_pb2.Generation.FromString(_row(connection, id, lock=True)["outcome"])
            for stage in outcome.stages:
                if stage.state in _OPEN_STAGES:
                    stage.state = graph_pb2.STAGE_STATE_CANCELLED
            _move(connection, id, CANCELLED, outcome=outcome.SerializeToString())
            return _row(connection, id)

        row = await self._write(end)
        self.watchers.tell(id)
        return message(row)

    async def delete(self, id: str) -> None:
        """Forget a generation that has ended.

        Raises:
            FailedPreconditionError: it has not ended.
        """

        def forget(connection: Connection) -> None:
            row = _row(connection, id, lock=True)
            if row["state"] not in ENDED:
                state = graph_pb2.GenerationState.Name(row["state"])
                raise FailedPreconditionError(f"generation {id} is {state}: cancel it before it is deleted")
            connection.execute(delete(generations).where(generations.c.id == id))

        await self._write(forget)

    async def claim(self, owner: str, lease_seconds: float) -> Claim | None:
        """Take the oldest generation that nobody holds or whose lease has run out; None where there is none."""
        values = {"owner": owner, "lease_seconds": lease_seconds}
        row = await self._note(lambda connection: connection.execute(TAKING, values).mappings().first())
        if row is None:
            return None
        pipeline = graph_pb2.Pipeline.FromString(row["pipeline"])
        outcome = graph_pb2.Generation.FromString(row["outcome"])
        return Claim(row["id"], pipeline, row["fresh"], outcome, row["request_id"], row["claims"])

    async def held(self, owner: str) -> set[str]:
        """Return the ids that a director still holds: not cancelled, not taken over by another."""
        return await self._read(lambda connection: set(connection.execute(HELD, {"its_owner": owner}).scalars()))

    async def renew(self, owner: str, lease_seconds: float) -> None:
        """Push out the leases of a director."""
        renewal = update(generations).where(*_holds(owner)).values(lease_until=now() + lease_seconds)
        await self._note(lambda connection: connection.execute(renewal))

    async def release(self, owner: str, *, died: bool = False) -> None:
        """Give everything that a director holds back, for any director to go on with.

        Args:
            died: the director did not do this itself, so what it held may be what killed it.
        """
        claims = generations.c.claims if died else generations.c.claims - 1
        giving = update(generations).where(*_holds(owner)).values(owner=None, lease_until=None, claims=claims)
        await self._write(lambda connection: connection.execute(giving))

    async def owners(self) -> set[str]:
        """Return every director that holds something."""
        query = select(generations.c.owner).where(generations.c.owner.is_not(None), generations.c.state.in_(ACTIVE))
        return await self._read(lambda connection: set(connection.execute(query.distinct()).scalars()))

    async def begin(self, id: str, owner: str) -> None:
        """Turn a generation that waits to RUNNING; one that runs already, under an earlier director, stays so."""
        await self._note(lambda connection: _move(connection, id, RUNNING, owner, start_time=now()))
        self.watchers.tell(id)

    async def report(self, id: str, owner: str, outcome: graph_pb2.Generation) -> None:
        """Write how far a generation has come, if the director still holds it."""
        values = {"its_id": id, "its_owner": owner, "outcome": outcome.SerializeToString()}
        await self._note(lambda connection: connection.execute(REPORTING, values))
        self.watchers.tell(id)

    async def finish(
        self, id: str, owner: str, state: State, outcome: graph_pb2.Generation, record: graph_pb2.Record | None = None
    ) -> bool:
        """End a generation as SUCCEEDED or FAILED; return False where it was cancelled or taken over meanwhile."""
        values = {
            "outcome": outcome.SerializeToString(),
            "record": record.SerializeToString() if record is not None else None,
        }
        done = await self._write(lambda connection: _move(connection, id, state, owner, **values))
        self.watchers.tell(id)
        return done

    async def watch(self, id: str, after_sequence: int = 0) -> AsyncGenerator[graph_pb2.Generation]:
        """Yield the generation whenever it is newer than what was yielded before, until it has ended."""
        with self.watchers.waiter(id) as waiter:
            while True:
                waiter.begin()
                generation = await self.get(id)
                waiter.seen = generation.sequence
                if generation.sequence > after_sequence:
                    after_sequence = generation.sequence
                    yield generation
                if generation.state in ENDED:
                    return
                await waiter.wait()

    async def _sequences(self, ids: Collection[str]) -> Mapping[str, int]:
        """Return the sequences of those generations that are there, by id."""
        return dict(await self._read(lambda connection: connection.execute(SEQUENCES, {"ids": ids}).all()))

    async def _read(self, work: Callable[[Connection], T]) -> T:
        return await self._transact(work, {READ_ONLY: True})

    async def _write(self, work: Callable[[Connection], T]) -> T:
        return await self._transact(work, {})

    async def _note(self, work: Callable[[Connection], T]) -> T:
        """Write what a restart of the process keeps, and what the next `_write` makes durable."""
        return await self._transact(work, {LOSABLE: True})

    async def _transact(self, work: Callable[[Connection], T], options: dict[str, bool]) -> T:
        def transact() -> T:
            with (
                failures_are_typed(),
                self._engine.connect().execution_options(**options) as connection,
                connection.begin(),
            ):
                return work(connection)

        return await asyncio.get_running_loop().run_in_executor(self._threads, transact)


def _move(connection: Connection, id: str, to: State, owner: str | None = None, **values: Any) -> bool:
    """Make one transition of the state machine if it is allowed now; return whether it was."""
    allowed = [generations.c.id == id, generations.c.state.in_(_SOURCES[to])]
    if owner is not None:
        allowed.append(generations.c.owner == owner)
    if to in ENDED:
        values |= {"finish_time": now(), "owner": None, "lease_until": None}
    values |= {"state": to, "sequence": generations.c.sequence + 1}
    return connection.execute(update(generations).where(*allowed).values(values)).rowcount == 1


def _row(connection: Connection, id: str, *, lock: bool = False) -> RowMapping:
    query = BY_ID.with_for_update() if lock else BY_ID
    if not _ID.fullmatch(id):
        raise NotFoundError(f"generation {id[:64]!r} does not exist")
    row = connection.execute(query, {"its_id": id}).mappings().first()
    if row is None:
        raise NotFoundError(f"generation {id[:64]!r} does not exist")
    return row


def _holds(owner: str) -> tuple[ColumnElement[bool], ...]:
    return generations.c.owner == owner, generations.c.state.in_(ACTIVE)
