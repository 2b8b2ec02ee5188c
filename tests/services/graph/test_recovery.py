"""What goes on after it was broken off: from the last checkpoint, to the same bytes."""

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message

from kino import rpc
from kino.errors import (
    CallCancelledError,
    InternalError,
    NotFoundError,
    UnavailableError,
)
from kino.store import Store
from kino.v1 import editor_pb2, generator_pb2, graph_pb2, graph_pb2_grpc
from services.graph.calls import CALLS, Event
from services.graph.ledger import Ledger
from services.graph.parts import Retry, persist
from services.graph.rows import FAILED, SUCCEEDED
from tests.services.graph.fakes import Services
from tests.services.graph.harness import Graph, film, until


def uris(generation: graph_pb2.Generation) -> list[str]:
    return [artifact.media.uri for artifact in generation.artifacts]


async def test_a_call_that_breaks_goes_on_from_its_last_checkpoint_to_the_same_bytes(graph: Graph) -> None:
    behaviour = graph.services.behaviour
    undisturbed = await graph.make(fresh=True)
    behaviour.steps.clear()
    behaviour.fail_at = [(12, UnavailableError("gone")), (16, CallCancelledError("draining"))]
    made = await graph.make(fresh=True)
    assert made.state == SUCCEEDED, made.error
    assert behaviour.steps == [*range(1, 12), *range(11, 16), *range(15, 21)]  # checkpoints lie after every second step
    assert uris(made) == uris(undisturbed)


async def test_a_generator_that_dies_and_comes_back_finishes_the_film(graph: Graph) -> None:
    behaviour = graph.services.behaviour
    undisturbed = await graph.make(fresh=True)
    behaviour.steps.clear()
    behaviour.step_seconds = 0.02
    created = await graph.create(fresh=True)
    await until(lambda: len(behaviour.steps) >= 5)
    await graph.services.stop("generator")
    await graph.services.start("generator")
    made = await graph.end(created.id)
    assert made.state == SUCCEEDED, made.error
    assert len(behaviour.steps) < 30
    assert uris(made) == uris(undisturbed)


@pytest.mark.parametrize(("seconds", "attempts"), [(0, 1), (10, 6), (600, 105)])
def test_services_are_waited_for_about_as_long_as_asked(seconds: float, attempts: int) -> None:
    retry = Retry.lasting(seconds)
    assert retry.attempts == attempts
    longest = sum(min(8.0, 0.5 * 2.0**number) for number in range(attempts - 1))
    assert seconds <= 0.75 * longest <= seconds + 6.0


@pytest.mark.parametrize("lost", [False, True])
async def test_what_a_failed_generation_left_is_gone_on_from(graph: Graph, store: Store, lost: bool) -> None:
    behaviour = graph.services.behaviour
    undisturbed = await graph.make(fresh=True)
    behaviour.fail_at = [(12, InternalError("a bug"))]
    assert (await graph.make()).state == FAILED
    (record,) = store.records.list("checkpoints/")
    value = store.records.read(record)
    assert value is not None
    checkpoint = generator_pb2.Checkpoint.FromString(value)
    assert checkpoint.step == 10
    if lost:
        store.delete(checkpoint.x_t.uri)
    behaviour.steps.clear()
    made = await graph.make()
    assert behaviour.steps == list(range(1 if lost else 11, 21))
    assert uris(made) == uris(undisturbed)
    assert list(store.records.list("checkpoints/")) == []
    assert lost or not store.exists(checkpoint.x_t.uri)  # nothing of the way is kept


@pytest.mark.parametrize(
    ("call", "kind"), [("generate", generator_pb2.GenerateRequest), ("edit", editor_pb2.EditRequest)]
)
async def test_a_checkpoint_that_is_lost_on_the_way_means_beginning_anew(call: str, kind: type[Any]) -> None:
    seen: list[int] = []

    async def attempt(request: Message, seconds: float) -> AsyncGenerator[Event]:
        assert isinstance(request, kind)
        seen.append(request.resume_from.step)
        if request.HasField("resume_from"):
            raise NotFoundError("the sample is gone")
        yield generator_pb2.GenerateResult(model_digest="made")

    begun = kind(resume_from=generator_pb2.Checkpoint(step=8))
    events = [event async for event in persist(attempt, CALLS[call], begun, Retry(attempts=1))]
    assert (seen, events) == ([8, 0], [generator_pb2.GenerateResult(model_digest="made")])
    assert begun.resume_from.step == 8


async def test_a_model_that_is_replaced_meanwhile_makes_the_film_anew(graph: Graph) -> None:
    behaviour = graph.services.behaviour
    behaviour.gate.clear()
    created = await graph.create()
    await until(lambda: behaviour.steps)
    behaviour.model_digest = "e" * 64
    behaviour.gate.set()
    made = await graph.end(created.id)
    assert made.state == SUCCEEDED, made.error
    assert behaviour.calls == ["rewrite", "encode", "generate", "generate", "decode"]
    assert {part.component: part.digest for part in made.record.parts}["generator"] == "e" * 64
    assert not any(stage.cached for stage in made.stages)


async def test_a_drained_graph_hands_over_and_the_film_is_the_same(graph: Graph, tmp_path: Path) -> None:
    behaviour = graph.services.behaviour
    undisturbed = await graph.make(fresh=True)
    behaviour.steps.clear()
    behaviour.step_seconds = 0.02
    created = await graph.create()
    await until(lambda: len(behaviour.steps) >= 7)
    await graph.stop()
    await until(lambda: not behaviour.running)
    await graph.start()
    made = await graph.end(created.id)
    assert made.state == SUCCEEDED, made.error
    assert uris(made) == uris(undisturbed)
    assert behaviour.requests[-1].resume_from.step >= 4
    assert made.stages[0].cached is False  # this generation made it, under an earlier director


async def test_a_generation_that_kills_its_directors_is_given_up(graph: Graph) -> None:
    await graph.stop()
    ledger = await Ledger.open(graph.config().ledger)
    await graph.start(directs=False)
    created = await graph.create()
    for _ in range(5):
        assert await ledger.claim("somewhere:1:x", -1.0) is not None
    await ledger.close()
    await graph.stop()
    await graph.start()
    failed = await graph.end(created.id)
    assert (failed.state, failed.error.message) == (FAILED, "given up: 5 directors died over it")


async def test_a_killed_graph_goes_on_where_it_was_to_the_same_bytes(
    services: Services, tmp_path: Path, free_port: int
) -> None:
    undisturbed = Graph(services, tmp_path)
    await undisturbed.start()
    expected = await undisturbed.make(fresh=True)
    await undisturbed.stop()
    behaviour = services.behaviour
    behaviour.steps.clear()
    behaviour.calls.clear()
    behaviour.gate.clear()

    address = f"127.0.0.1:{free_port}"
    request = graph_pb2.CreateGenerationRequest(idempotency_key="key", spec=film())
    async with spawned(services, tmp_path, free_port) as graph, rpc.channel(address) as channel:
        stub = graph_pb2_grpc.GraphServiceStub(channel)
        created = (await stub.CreateGeneration(request)).generation
        await until(lambda: behaviour.steps)
        behaviour.step_seconds = 0.05
        behaviour.gate.set()
        await until(lambda: len(behaviour.steps) >= 6)
        graph.kill()
    await until(lambda: not behaviour.running)
    behaviour.step_seconds = 0.0

    async with spawned(services, tmp_path, free_port) as heir, rpc.channel(address) as channel:
        stub = graph_pb2_grpc.GraphServiceStub(channel)
        found = (await stub.CreateGeneration(request)).generation
        assert found.id == created.id
        watching = stub.WatchGeneration(graph_pb2.WatchGenerationRequest(id=created.id))
        made = [response.generation async for response in watching][-1]
    assert heir.returncode == 0
    assert made.state == SUCCEEDED, made.error
    assert uris(made) == uris(expected)
    assert behaviour.calls == ["rewrite", "encode", "generate", "generate", "decode"]
    assert behaviour.requests[-1].resume_from.step >= 4


@asynccontextmanager
async def spawned(services: Services, folder: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """A graph in a process of its own, serving; told to end at the end."""
    peers = [f"--peer={name}={address}" for name, address in services.addresses.items()]
    flags = ["--store", str(folder / "store"), "--data", str(folder / "data"), "--preset", "nano", *peers]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services", f"graph={port}", *flags, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert b"ready" in await process.stdout.readline()
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()
