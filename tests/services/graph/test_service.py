

from kino.media import probe
from kino.store import Store
from kino.v1 import graph_pb2
from services.graph.rows import SUCCEEDED
from tests.services.graph.harness import Graph, film

DONE = graph_pb2.STAGE_STATE_SUCCEEDED


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
    assert (info.num_frames, info.fps, info.height, info.width) == (5, 16, 32, 48)
