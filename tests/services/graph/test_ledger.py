import asyncio
import time

import psycopg
import pytest
from google.rpc import status_pb2

from kino.errors import (
    AlreadyExistsError,
    FailedPreconditionError,
    NotFoundError,
    ResourceExhaustedError,
)
from kino.v1 import graph_pb2
from services.graph.ledger import Ledger
from services.graph.rows import CANCELLED, FAILED, QUEUED, RUNNING, SUCCEEDED, Order

LEASE = 30.0


def order(key: str = "key", prompt: str = "a red ball", fresh: bool = False) -> Order:
    spec = graph_pb2.GenerationSpec(text_to_video=graph_pb2.TextToVideo(prompt=prompt))
    stage = graph_pb2.Stage(name="encode", call="encode", state=graph_pb2.STAGE_STATE_PENDING)
    node = graph_pb2.PipelineNode(name="encode")
    pipeline, outcome = graph_pb2.Pipeline(nodes=[node]), graph_pb2.Generation(stages=[stage])
    return Order(key, spec, fresh, pipeline, 7, outcome, "request-1")


async def test_a_created_generation_is_queued_and_comes_back_whole(ledger: Ledger) -> None:
    before = time.time()
    created = await ledger.create(order(), 8)
    assert (created.state, created.sequence, created.seed) == (QUEUED, 1, 7)
    assert created.spec.text_to_video.prompt == "a red ball"
    assert [stage.name for stage in created.stages] == ["encode"]
    assert before - 0.01 <= created.create_time.ToNanoseconds() / 1e9 <= time.time() + 0.01
    assert not created.HasField("start_time")
    assert await ledger.get(created.id) == created


async def test_what_was_accepted_survives_a_restart(ledger_url: str) -> None:
    first = await Ledger.open(ledger_url)
    created = await first.create(order(), 8)
    await first.close()
    second = await Ledger.open(ledger_url)
    try:
        assert await second.get(created.id) == created
    finally:
        await second.close()


async def test_the_same_key_and_request_give_the_same_generation(ledger: Ledger) -> None:
    created = await ledger.create(order(), 1)
    assert await ledger.create(order(), 1) == created  # even where the queue is full
    made = await asyncio.gather(*(ledger.create(order("other"), 8) for _ in range(8)))
    assert len({generation.id for generation in made}) == 1
    assert len((await ledger.list(10))[0]) == 2


@pytest.mark.parametrize("changed", [{"prompt": "a blue ball"}, {"fresh": True}])
async def test_the_same_key_for_another_request_is_refused(ledger: Ledger, changed: dict[str, str | bool]) -> None:
    await ledger.create(order(), 8)
    with pytest.raises(AlreadyExistsError, match="'key' was used for another request"):
        await ledger.create(order(**changed), 8)  # type: ignore[arg-type]


async def test_a_full_queue_refuses_until_something_leaves_it(ledger: Ledger) -> None:
    first = await ledger.create(order("1"), 2)
    await ledger.create(order("2"), 2)
    with pytest.raises(ResourceExhaustedError, match="2 generations wait, at most 2 may") as refusal:
        await ledger.create(order("3"), 2)
    assert refusal.value.retry_after_seconds == 2.0
    await ledger.cancel(first.id)
    assert (await ledger.create(order("3"), 2)).state == QUEUED


async def test_the_way_to_success(ledger: Ledger) -> None:
    created = await ledger.create(order(), 8)
    claim = await ledger.claim("one", LEASE)
    assert claim is not None
    assert (claim.id, claim.claims, claim.request_id) == (created.id, 1, "request-1")
    assert claim.pipeline.nodes[0].name == "encode"
    assert (await ledger.get(claim.id)).state == QUEUED  # held, but nothing has begun
    await ledger.begin(claim.id, "one")
    running = await ledger.get(claim.id)
    assert (running.state, running.sequence) == (RUNNING, 2)
    assert running.start_time.ToNanoseconds() >= running.create_time.ToNanoseconds()
    claim.outcome.stages[0].state = graph_pb2.STAGE_STATE_RUNNING
    await ledger.report(claim.id, "one", claim.outcome)
    assert (await ledger.get(claim.id)).stages[0].state == graph_pb2.STAGE_STATE_RUNNING
    claim.outcome.rewritten_prompt = "a red ball moves left"
    assert await ledger.finish(claim.id, "one", SUCCEEDED, claim.outcome, graph_pb2.Record(software="1"))
    ended = await ledger.get(claim.id, with_record=True)
    assert (ended.state, ended.sequence, ended.rewritten_prompt) == (SUCCEEDED, 4, "a red ball moves left")
    assert ended.record.software == "1"
    assert not (await ledger.get(claim.id)).HasField("record")
    assert await ledger.claim("two", LEASE) is None


async def test_a_failure_keeps_its_status(ledger: Ledger) -> None:
    await ledger.create(order(), 8)
    claim = await ledger.claim("one", LEASE)
    assert claim is not None
    claim.outcome.error.CopyFrom(status_pb2.Status(code=14, message="generator: down"))
    assert await ledger.finish(claim.id, "one", FAILED, claim.outcome)
    failed = await ledger.get(claim.id)
    assert (failed.state, failed.error.code, failed.error.message) == (FAILED, 14, "generator: down")


async def test_each_generation_goes_to_one_director_oldest_first(ledger: Ledger) -> None:
    ids = [(await ledger.create(order(str(index)), 8)).id for index in range(6)]
    first = await ledger.claim("one", LEASE)
    assert first is not None
    assert first.id == ids[0]
    claims = await asyncio.gather(*(ledger.claim(f"director {index}", LEASE) for index in range(8)))
    assert sorted(claim.id for claim in claims if claim is not None) == sorted(ids[1:])


async def test_a_lease_that_ran_out_is_taken_over_and_its_holder_can_write_no_more(ledger: Ledger) -> None:
    created = await ledger.create(order(), 8)
    lost = await ledger.claim("dead", 0.0)
    assert lost is not None
    await ledger.begin(created.id, "dead")
    await asyncio.sleep(0.005)
    claim = await ledger.claim("heir", LEASE)
    assert claim is not None
    assert (claim.id, claim.claims) == (created.id, 2)
    assert await ledger.held("dead") == set()
    assert await ledger.held("heir") == {created.id}
    sequence = (await ledger.get(created.id)).sequence
    await ledger.report(created.id, "dead", graph_pb2.Generation(rewritten_prompt="stale"))
    assert not await ledger.finish(created.id, "dead", SUCCEEDED, graph_pb2.Generation())
    assert (await ledger.get(created.id)).sequence == sequence
    assert await ledger.finish(created.id, "heir", SUCCEEDED, claim.outcome)


async def test_a_renewed_lease_is_not_taken_over(ledger: Ledger) -> None:
    await ledger.create(order(), 8)
    assert await ledger.claim("one", 0.0) is not None
    await ledger.renew("one", LEASE)
    assert await ledger.claim("two", LEASE) is None


async def test_released_work_goes_on_elsewhere_and_counts_as_no_loss(ledger: Ledger) -> None:
    created = await ledger.create(order(), 8)
    await ledger.claim("one", LEASE)
    await ledger.begin(created.id, "one")
    await ledger.release("one")
    assert (await ledger.get(created.id)).state == RUNNING
    claim = await ledger.claim("two", LEASE)
    assert claim is not None
    assert claim.claims == 1


async def test_cancelling_ends_it_for_everybody(ledger: Ledger) -> None:
    created = await ledger.create(order(), 8)
    claim = await ledger.claim("one", LEASE)
    assert claim is not None
    await ledger.begin(created.id, "one")
    cancelled = await ledger.cancel(created.id)
    assert cancelled.state == CANCELLED
    assert cancelled.stages[0].state == graph_pb2.STAGE_STATE_CANCELLED
    assert cancelled.HasField("finish_time")
    assert await ledger.held("one") == set()
    assert not await ledger.finish(created.id, "one", SUCCEEDED, claim.outcome)
    assert await ledger.cancel(created.id) == cancelled  # once ended, it stays as it is


async def test_success_is_not_undone_by_a_late_cancel(ledger: Ledger) -> None:
    created = await ledger.create(order(), 8)
    claim = await ledger.claim("one", LEASE)
    assert claim is not None
    await ledger.begin(created.id, "one")
    assert await ledger.finish(created.id, "one", SUCCEEDED, claim.outcome)
    assert (await ledger.cancel(created.id)).state == SUCCEEDED


async def test_only_what_has_ended_is_deleted(ledger: Ledger) -> None:
    created = await ledger.create(order(), 8)
    with pytest.raises(FailedPreconditionError, match="GENERATION_STATE_QUEUED: cancel it"):
        await ledger.delete(created.id)
    await ledger.cancel(created.id)
    await ledger.delete(created.id)
    for action in (ledger.get, ledger.delete, ledger.cancel):
        with pytest.raises(NotFoundError, match=created.id):
            await action(created.id)
    assert (await ledger.create(order(), 8)).id != created.id  # its key is free again


async def test_pages_hold_everything_once_newest_first(ledger: Ledger) -> None:
    ids = [(await ledger.create(order(str(index)), 8)).id for index in range(5)]
    first, position = await ledger.list(2)
    late = await ledger.create(order("late"), 8)  # does not disturb the pages that follow
    second, position = await ledger.list(2, position)
    third, end = await ledger.list(2, position)
    assert [generation.id for generation in (*first, *second, *third)] == ids[::-1]
    assert end is None
    await ledger.cancel(ids[1])
    assert [generation.id for generation in (await ledger.list(8, states=[CANCELLED]))[0]] == [ids[1]]
    assert late.id in {generation.id for generation in (await ledger.list(8, states=[QUEUED, RUNNING]))[0]}


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("", "must be a URL"),
        ("nonsense", "must be a URL"),
        ("mysql://host/name", "ledger is a mysql URL, must be of sqlite or postgresql"),
        ("sqlite://", "must name a file"),
    ],
)
async def test_other_databases_are_refused(url: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        await Ledger.open(url)


@pytest.mark.postgres
async def test_a_database_without_an_encoding_keeps_every_letter(postgres: str) -> None:
    with psycopg.connect(postgres, autocommit=True, client_encoding="utf8") as connection:
        connection.execute("create database ascii encoding sql_ascii locale 'C' template template0")
    ledger = await Ledger.open(postgres.replace("/postgres", "/ascii"))
    try:
        created = await ledger.create(order(prompt="ein roter Ball hüpft 🏀"), 8)
        assert (await ledger.get(created.id)).spec.text_to_video.prompt == "ein roter Ball hüpft 🏀"
    finally:
        await ledger.close()
