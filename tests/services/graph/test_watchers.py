"""Watches of the ledger, over changes of its own process and of others."""

import asyncio

import pytest
from sqlalchemy import Connection, Engine, event

from kino.errors import UnavailableError
from kino.v1 import graph_pb2
from services.graph.ledger import Ledger
from services.graph.rows import CANCELLED, QUEUED, RUNNING, SUCCEEDED
from tests.services.graph.test_ledger import LEASE, order


async def test_a_watch_tells_every_change_until_the_end_and_resumes(ledger: Ledger) -> None:
    created = await ledger.create(order(), 8)
    seen: list[tuple[int, int]] = []

    async def follow() -> None:
        async for generation in ledger.watch(created.id):
            seen.append((generation.sequence, generation.state))

    follower = asyncio.create_task(follow())
    await asyncio.sleep(0.05)
    await ledger.claim("one", LEASE)
    await ledger.begin(created.id, "one")
    await asyncio.sleep(0.05)
    await ledger.finish(created.id, "one", SUCCEEDED, graph_pb2.Generation())
    await asyncio.wait_for(follower, 5)
    assert seen == [(1, QUEUED), (2, RUNNING), (3, SUCCEEDED)]
    assert [generation.sequence async for generation in ledger.watch(created.id, 2)] == [3]
    assert [generation.sequence async for generation in ledger.watch(created.id, 3)] == []


async def test_a_watch_sees_what_another_process_wrote(ledger: Ledger, ledger_url: str) -> None:
    created = await ledger.create(order(), 8)
    other = await Ledger.open(ledger_url)
    changes = ledger.watch(created.id, 1)
    try:
        await other.cancel(created.id)
        assert (await asyncio.wait_for(anext(changes), 5)).state == CANCELLED
    finally:
        await other.close()


async def test_however_many_watch_one_look_finds_what_another_process_wrote(ledger: Ledger, ledger_url: str) -> None:
    created = [await ledger.create(order(str(number)), 100) for number in range(20)]
    changes = [ledger.watch(generation.id) for generation in created for _ in range(3)]
    assert [await anext(change) for change in changes] == [generation for generation in created for _ in range(3)]
    statements: list[str] = []
    looked, loop = asyncio.Event(), asyncio.get_running_loop()

    def note(connection: Connection, cursor: object, statement: str, *others: object) -> None:
        statements.append(statement)
        if len(statements) == 4:
            loop.call_soon_threadsafe(looked.set)

    event.listen(Engine, "before_cursor_execute", note)
    try:
        waiting = [asyncio.ensure_future(anext(change)) for change in changes]
        await asyncio.wait_for(looked.wait(), 30)
    finally:
        event.remove(Engine, "before_cursor_execute", note)
    assert not any("pipeline" in statement for statement in statements)  # no generation was read whole for nothing
    assert not any(one.done() for one in waiting)
    other = await Ledger.open(ledger_url)
    try:
        await other.cancel(created[7].id)
        assert [(await asyncio.wait_for(one, 5)).state for one in waiting[21:24]] == [CANCELLED] * 3
    finally:
        await other.close()
    ledger.watchers.end()
    ended = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(one) for one in (*ended[:21], *ended[24:])} == {UnavailableError}


async def test_watches_end_when_the_graph_is_about_to(ledger: Ledger) -> None:
    created = await ledger.create(order(), 8)
    changes = ledger.watch(created.id)
    assert await anext(changes) == created
    waiting = asyncio.ensure_future(anext(changes))
    await asyncio.sleep(0)
    ledger.watchers.end()
    with pytest.raises(UnavailableError, match="this graph is about to end: watch again"):
        await asyncio.wait_for(waiting, 5)
    with pytest.raises(UnavailableError):
        [change async for change in ledger.watch(created.id, created.sequence)]
    await ledger.cancel(created.id)
    assert [change.state async for change in ledger.watch(created.id)] == [CANCELLED]  # what is over is told
