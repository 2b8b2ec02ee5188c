"""What breaks, and that the next generation works."""

from dataclasses import replace

import grpc
import pytest
from google.protobuf.message import Message

from kino.errors import (
    FailedPreconditionError,
    InternalError,
    KinoError,
    ResourceExhaustedError,
    UnavailableError,
    from_rpc_error,
    from_status,
)
from kino.files import FullError
from kino.v1 import generator_pb2, graph_pb2
from services.graph.calls import CALLS
from services.graph.rows import FAILED, SUCCEEDED
from tests.services.graph.harness import Graph, until

STOPPED, BROKEN, DONE = (
    graph_pb2.STAGE_STATE_CANCELLED,
    graph_pb2.STAGE_STATE_FAILED,
    graph_pb2.STAGE_STATE_SUCCEEDED,
)


def states(generation: graph_pb2.Generation) -> list[int]:
    return [stage.state for stage in generation.stages]


async def test_a_service_that_is_down_is_named_before_anything_is_accepted(graph: Graph) -> None:
    await graph.services.stop("encoder")
    with pytest.raises(grpc.RpcError) as caught:
        await graph.create(key="key")
    error = from_rpc_error(caught.value)
    assert isinstance(error, UnavailableError)
    assert error.message.startswith(f"encoder at {graph.services.addresses['encoder']} does not answer")
    await graph.restart_services("encoder")
    assert (await graph.end((await graph.create(key="key")).id)).state == SUCCEEDED


async def test_a_service_that_goes_away_fails_its_stage_and_what_was_made_stays(graph: Graph) -> None:
    behaviour = graph.services.behaviour
    behaviour.gate.clear()
    created = await graph.create()
    await until(lambda: behaviour.steps)
    await graph.services.stop("tae")
    behaviour.gate.set()
    failed = await graph.end(created.id)
    assert failed.state == FAILED
    assert isinstance(from_status(failed.error), UnavailableError)
    assert failed.error.message.startswith("stage decode (tae): ")
    assert states(failed) == [DONE, DONE, DONE, BROKEN, STOPPED]
    await graph.restart_services("tae")
    made = await graph.make()
    assert made.state == SUCCEEDED, made.error
    assert [stage.cached for stage in made.stages] == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("error", "num_calls"),
    [
        (InternalError("a bug"), 1),
        (ResourceExhaustedError("too big for the memory of the device"), 1),
        (FailedPreconditionError("another space"), 1),
        (UnavailableError("starting"), 3),
    ],
)
async def test_retries_end_and_only_help_what_may_pass(graph: Graph, error: KinoError, num_calls: int) -> None:
    behaviour = graph.services.behaviour
    behaviour.failures["generate"] = [error] * 20
    channel_retries = 4 if isinstance(error, UnavailableError) else 1
    failed = await graph.make()
    assert failed.state == FAILED
    assert failed.error.code == error.code.value[0]
    assert failed.error.message == f"stage generate (generator): {error.message}"
    assert states(failed) == [DONE, DONE, BROKEN, STOPPED, STOPPED]
    assert num_calls <= behaviour.calls.count("generate") <= num_calls * channel_retries
    behaviour.failures.clear()
    assert (await graph.make()).state == SUCCEEDED


async def test_a_full_service_is_asked_again_when_it_said(graph: Graph) -> None:
    busy = ResourceExhaustedError("busy", retry_after_seconds=0.01)
    graph.services.behaviour.failures["generate"] = [busy] * 5  # more than the attempts for one that is away
    made = await graph.make()
    assert made.state == SUCCEEDED, made.error


async def test_a_service_that_is_too_slow_ends_at_the_deadline(graph: Graph, monkeypatch: pytest.MonkeyPatch) -> None:
    behaviour = graph.services.behaviour
    monkeypatch.setitem(CALLS, "generate", replace(CALLS["generate"], timeout_seconds=0.3))
    behaviour.gate.clear()
    failed = await graph.make()
    assert failed.state == FAILED
    assert failed.error.code == grpc.StatusCode.DEADLINE_EXCEEDED.value[0]
    assert failed.error.message.startswith("stage generate (generator): ")
    await until(lambda: not behaviour.running)
    behaviour.gate.set()
    monkeypatch.undo()
    assert (await graph.make()).state == SUCCEEDED


async def test_a_full_disk_fails_the_stage_and_the_next_one_works(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise FullError(28, "no room left: No space left on device")

    monkeypatch.setattr(graph.service._store, "put", full)
    failed = await graph.make()
    assert failed.state == FAILED
    assert failed.error.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]
    assert "stage export (graph): the store has no room left" in failed.error.message
    monkeypatch.undo()
    assert (await graph.make()).state == SUCCEEDED


async def test_a_result_that_cannot_be_kept_fails_its_stage_even_after_the_next_one_ran(
    graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(key: str, result: Message) -> None:
        if isinstance(result, generator_pb2.GenerateResult):
            raise FullError(28, "no room left: No space left on device")

    monkeypatch.setattr(graph.service._engine._cache, "save", full)
    failed = await graph.make()
    assert (failed.state, failed.error.code) == (FAILED, grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])
    assert "stage generate (generator): the store has no room left" in failed.error.message
    states = {stage.name: stage.state for stage in failed.stages}
    assert states["generate"] == graph_pb2.STAGE_STATE_FAILED
    monkeypatch.undo()
    assert (await graph.make()).state == SUCCEEDED


async def test_parts_that_do_not_fit_are_refused_before_anything_runs(graph: Graph) -> None:
    graph.services.behaviour.latent_space = "f" * 64
    with pytest.raises(grpc.RpcError) as caught:
        await graph.create()
    error = from_rpc_error(caught.value)
    assert isinstance(error, FailedPreconditionError)
    assert error.message == (
        "generator fake and tae fake do not fit: generate gives latents of the space aaaaaaaaaaaa, "
        "decode reads ffffffffffff"
    )
    assert graph.services.behaviour.calls == []


async def test_the_prompt_of_a_stand_in_is_told_and_good_for_once(graph: Graph) -> None:
    graph.services.behaviour.fallback_reason = "the endpoint answered with status 500"
    first = await graph.make()
    assert first.rewritten_prompt == "a red ball in the snow"
    assert first.rewriter_fallback_reason == "the endpoint answered with status 500"
    graph.services.behaviour.fallback_reason = ""
    second = await graph.make()
    assert (second.rewritten_prompt, second.rewriter_fallback_reason) == ("a red ball in a meadow", "")
    assert graph.services.behaviour.calls.count("rewrite") == 2
    assert (await graph.make()).stages[0].cached
