from typing import Any

import grpc
import pytest

from kino.errors import AlreadyExistsError, InvalidArgumentError, KinoError, from_rpc_error
from kino.footage import probe
from kino.store import Store
from kino.v1 import generator_pb2, graph_pb2, info_pb2
from services.graph.rows import CANCELLED, RUNNING, SUCCEEDED
from tests.services.graph.harness import Graph, film, until

DONE = graph_pb2.STAGE_STATE_SUCCEEDED
STOPPED = graph_pb2.STAGE_STATE_CANCELLED


async def refusal(call: Any) -> KinoError:
    with pytest.raises(grpc.RpcError) as caught:
        await call
    return from_rpc_error(caught.value)


async def test_a_sentence_becomes_a_film(graph: Graph, store: Store) -> None:
    made = await graph.make(film())
    assert made.state == SUCCEEDED, made.error
    assert [(stage.name, stage.state, stage.step, stage.of, stage.cached) for stage in made.stages] == [
        ("rewrite", DONE, 1, 1, False),
        ("encode", DONE, 1, 1, False),
        ("generate", DONE, 20, 20, False),
        ("decode", DONE, 1, 1, False),
        ("export", DONE, 5, 5, False),
    ]
    assert made.rewritten_prompt == "a red ball in a meadow"
    assert [lost.asked for lost in made.substitutions] == ["elephant"]
    assert (made.seed, made.spec) == (7, film())
    assert [(artifact.name, artifact.media.media_type) for artifact in made.artifacts] == [
        ("film", "video/mp4"),
        ("contact_sheet", "image/png"),
    ]
    film_bytes = store.get(made.artifacts[0].media.uri)
    assert len(film_bytes) == made.artifacts[0].size_bytes
    info = probe(film_bytes)
    assert (info.num_frames, int(info.fps), info.height, info.width) == (5, 16, 32, 48)


async def test_a_sentence_becomes_a_picture(graph: Graph, store: Store) -> None:
    picture = graph_pb2.TextToImage(prompt="a red ball", aspect="1:1", verbatim=True)
    made = await graph.make(graph_pb2.GenerationSpec(text_to_image=picture))
    assert made.state == SUCCEEDED, made.error
    assert [stage.name for stage in made.stages] == ["encode", "generate", "decode", "export"]
    assert [(artifact.name, artifact.media.media_type) for artifact in made.artifacts] == [("image", "image/png")]
    assert store.get(made.artifacts[0].media.uri).startswith(b"\x89PNG")
    assert made.rewritten_prompt == ""
    assert 0 <= made.seed < 2**32
    assert graph.services.behaviour.requests[0].seed == made.seed


async def test_the_generator_gets_what_was_asked_and_references_only(graph: Graph) -> None:
    sampling = generator_pb2.Sampling(steps=30, guidance=2.5)
    size = info_pb2.Size(height=48, width=16)
    await graph.make(film(seconds=1.0, fps=8, pixels=size, sampling=sampling))
    request = graph.services.behaviour.requests[0]
    assert (request.frames, request.height, request.width, request.seed) == (8, 48, 16, 7)
    assert (request.sampling.steps, request.sampling.linear_steps, request.sampling.guidance) == (30, 250, 2.5)
    assert request.checkpoint_seconds == 2
    embeddings = [*request.embeddings, *request.unconditional]
    assert [embedding.embeddings.WhichOneof("content") for embedding in embeddings] == ["uri", "uri"]


async def test_the_same_request_is_not_computed_again_unless_asked(graph: Graph) -> None:
    first = await graph.make()
    calls = list(graph.services.behaviour.calls)
    second = await graph.make()
    assert graph.services.behaviour.calls == calls
    assert [stage.cached for stage in second.stages] == [True] * 5
    assert second.artifacts == first.artifacts
    assert second.rewritten_prompt == first.rewritten_prompt
    third = await graph.make(fresh=True)
    assert graph.services.behaviour.calls == calls * 2
    assert third.artifacts == first.artifacts
    assert not any(stage.cached for stage in third.stages)


async def test_another_model_version_is_another_result(graph: Graph) -> None:
    await graph.make()
    graph.services.behaviour.model_digest = "e" * 64
    again = await graph.make()
    assert [stage.name for stage in again.stages if not stage.cached] == ["generate"]  # whose latents are the same


async def test_the_record_makes_the_same_bytes_again(graph: Graph, store: Store) -> None:
    made = await graph.make(film(prompt="a blue cube"))
    assert [part.component for part in made.record.parts] == ["rewriter", "encoder", "generator", "tae", "graph"]
    assert all(part.digest for part in made.record.parts)
    replayed = await graph.make(graph_pb2.GenerationSpec(pipeline=made.record.pipeline), fresh=True)
    assert replayed.state == SUCCEEDED, replayed.error
    assert replayed.artifacts == made.artifacts
    assert replayed.record == made.record
    kept = store.records.read(f"made/{made.artifacts[0].media.uri.rpartition('/')[2]}")
    assert kept is not None
    assert graph_pb2.Record.FromString(kept) == made.record


async def test_equal_requests_at_the_same_time_are_computed_once(graph: Graph) -> None:
    behaviour = graph.services.behaviour
    behaviour.gate.clear()
    first, second = await graph.create(), await graph.create()
    await graph.reach(second.id, lambda seen: seen.stages[2].step >= 1)
    await graph.stub.CancelGeneration(graph_pb2.CancelGenerationRequest(id=first.id))
    behaviour.gate.set()
    ended = await graph.end(second.id)
    assert ended.state == SUCCEEDED, ended.error
    assert behaviour.steps == list(range(1, 21))  # once, although the one that began it left
    assert (await graph.get(first.id)).state == CANCELLED


async def test_the_same_key_makes_one_generation(graph: Graph) -> None:
    first, second = await graph.create(key="key"), await graph.create(key="key")
    assert first.id == second.id
    error = await refusal(graph.create(film("another"), key="key"))
    assert isinstance(error, AlreadyExistsError)
    await graph.services.stop("generator")  # a retry finds what it made, whatever has become of the services
    assert (await graph.create(key="key")).id == first.id


async def test_queued_running_and_finished_are_told_apart(graph: Graph) -> None:
    behaviour = graph.services.behaviour
    behaviour.gate.clear()
    ids = [(await graph.create(film(f"ball {index}"))).id for index in range(3)]  # for two slots
    await graph.reach(ids[1], lambda seen: seen.stages[2].step >= 1)
    states = [(await graph.get(id)).state for id in ids]
    assert states == [RUNNING, RUNNING, graph_pb2.GENERATION_STATE_QUEUED]
    running = await graph.get(ids[0])
    assert (running.stages[2].state, running.stages[2].step) == (graph_pb2.STAGE_STATE_RUNNING, 1)
    assert running.stages[3].state == graph_pb2.STAGE_STATE_PENDING
    behaviour.gate.set()
    assert [(await graph.end(id)).state for id in ids] == [SUCCEEDED] * 3


async def test_a_full_queue_refuses_with_a_time_to_come_back(graph: Graph) -> None:
    graph.services.behaviour.gate.clear()
    made = [await graph.create(film(f"ball {index}")) for index in range(2)]
    await graph.reach(made[1].id, lambda seen: seen.state == RUNNING)
    for index in range(2, 5):
        await graph.create(film(f"ball {index}"))
    error = await refusal(graph.create(film("one too many")))
    assert error.message == "the graph is busy: 3 generations wait, at most 3 may"
    assert getattr(error, "retry_after_seconds", None) == 2.0


async def test_cancelling_reaches_the_sampler(graph: Graph) -> None:
    behaviour = graph.services.behaviour
    behaviour.gate.clear()
    created = await graph.create()
    await graph.reach(created.id, lambda seen: seen.stages[2].step == 1)
    response = await graph.stub.CancelGeneration(graph_pb2.CancelGenerationRequest(id=created.id))
    assert response.generation.state == CANCELLED
    await until(lambda: not behaviour.running)
    assert (behaviour.steps, behaviour.cancelled) == ([1], 1)
    ended = await graph.end(created.id)
    assert (ended.state, len(ended.artifacts)) == (CANCELLED, 0)
    assert [stage.state for stage in ended.stages] == [DONE, DONE, STOPPED, STOPPED, STOPPED]
    behaviour.gate.set()
    assert (await graph.make()).state == SUCCEEDED  # the next one works


async def test_cancelling_reaches_a_director_elsewhere(graph: Graph) -> None:
    behaviour = graph.services.behaviour
    behaviour.gate.clear()
    face = Graph(graph.services, graph.folder)
    await face.start(directs=False)
    created = await face.create()
    await until(lambda: behaviour.steps)
    await face.stub.CancelGeneration(graph_pb2.CancelGenerationRequest(id=created.id))
    await until(lambda: not behaviour.running)
    assert behaviour.steps == [1]
    await face.stop()


async def test_a_watch_tells_every_step_and_goes_on_where_it_broke(graph: Graph) -> None:
    behaviour = graph.services.behaviour
    behaviour.gate.clear()
    created = await graph.create()
    request = graph_pb2.WatchGenerationRequest(id=created.id)
    call = graph.stub.WatchGeneration(request)
    last = 0
    async for response in call:
        assert response.generation.sequence > last
        last = response.generation.sequence
        if response.generation.stages[2].step == 1:
            break
    call.cancel()
    behaviour.gate.set()
    rest = await graph.watch(created.id, after=last)
    assert rest[0].sequence > last
    steps = [generation.stages[2].step for generation in rest]
    assert steps == sorted(steps)
    assert (rest[-1].state, steps[-1]) == (SUCCEEDED, 20)
    assert await graph.watch(created.id, after=rest[-1].sequence) == []


async def test_pages_of_generations(graph: Graph) -> None:
    ids = [(await graph.make(film(f"ball {index}"))).id for index in range(3)]
    seen: list[str] = []
    token = ""
    for _ in range(2):
        request = graph_pb2.ListGenerationsRequest(page_size=2, page_token=token)
        page = await graph.stub.ListGenerations(request)
        seen += [generation.id for generation in page.generations]
        token = page.next_page_token
    assert (seen, token) == (ids[::-1], "")
    states = [graph_pb2.GENERATION_STATE_CANCELLED]
    page = await graph.stub.ListGenerations(graph_pb2.ListGenerationsRequest(states=states))
    assert list(page.generations) == []


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"page_size": -1}, "page_size"),
        ({"page_size": 1001}, "page_size"),
        ({"page_token": "nonsense"}, "page_token"),
        ({"page_token": "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OQ=="}, "page_token"),
        ({"states": [0]}, "states[0]"),
    ],
)
async def test_bad_pages_are_refused(graph: Graph, fields: dict[str, Any], named: str) -> None:
    error = await refusal(graph.stub.ListGenerations(graph_pb2.ListGenerationsRequest(**fields)))
    assert isinstance(error, InvalidArgumentError)
    assert error.field == named


async def test_an_ended_generation_is_forgotten_and_an_unknown_one_not_found(graph: Graph) -> None:
    made = await graph.make()
    await graph.stub.DeleteGeneration(graph_pb2.DeleteGenerationRequest(id=made.id))
    for id in (made.id, "no such id", "\x00"):
        error = await refusal(graph.get(id))
        assert error.code == grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.RpcError) as caught:
            await graph.watch(id)
        assert caught.value.code() == grpc.StatusCode.NOT_FOUND


async def test_the_graph_tells_its_parts_and_which_is_down(graph: Graph) -> None:
    await graph.services.stop("tae")
    description = await graph.stub.Describe(graph_pb2.GraphServiceDescribeRequest())
    parts = {part.component: part for part in description.parts}
    assert (description.max_nodes, description.max_queued) == (100, 3)
    assert list(parts) == ["rewriter", "encoder", "generator", "tae"]
    assert parts["generator"].info.limits.steps.default_value == 20
    assert parts["generator"].address == graph.services.addresses["generator"]
    assert parts["tae"].error.startswith(f"tae at {graph.services.addresses['tae']} does not answer")
