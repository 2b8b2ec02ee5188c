from collections.abc import Callable

import pytest

from kino.errors import InvalidArgumentError
from kino.v1 import (
    encoder_pb2,
    generator_pb2,
    graph_pb2,
    media_pb2,
    rewriter_pb2,
    tae_pb2,
    tensor_pb2,
)
from services.graph.pipeline import MAX_NODES, Port, check
from services.graph.products.text import edge, port

Change = Callable[[graph_pb2.Pipeline], object]


def sound() -> graph_pb2.Pipeline:
    """Text to film, its nodes not in the order in which they run."""
    generate = generator_pb2.GenerateRequest(frames=8, height=32, width=32, seed=1)
    nodes = [
        graph_pb2.PipelineNode(name="film", export=graph_pb2.ExportRequest()),
        graph_pb2.PipelineNode(name="decode", tae_decode=tae_pb2.TaeServiceDecodeRequest(frames=8, fps=16)),
        graph_pb2.PipelineNode(name="generate", generate=generate),
        graph_pb2.PipelineNode(name="encode", encode=encoder_pb2.EncodeRequest()),
        graph_pb2.PipelineNode(name="rewrite", rewrite=rewriter_pb2.RewriteRequest(prompt="a red ball")),
    ]
    edges = [
        edge("rewrite.prompt", "encode.prompt"),
        edge("encode.embeddings", "generate.embeddings"),
        edge("generate.latents", "decode.latents"),
        edge("decode.video", "film.video"),
    ]
    outputs = [graph_pb2.PipelineOutput(name="film", source=port("film.media"))]
    return graph_pb2.Pipeline(nodes=nodes, edges=edges, outputs=outputs)


def test_a_sound_pipeline_runs_in_the_order_of_its_edges() -> None:
    plan = check(sound())
    assert list(plan.nodes) == ["rewrite", "encode", "generate", "decode", "film"]
    assert plan.components == ["rewriter", "encoder", "generator", "tae", "graph"]
    assert plan.outputs == {"film": Port("film", "media")}


def test_binding_fills_inputs_in_and_leaves_the_pipeline_alone() -> None:
    plan = check(sound())
    tensor = tensor_pb2.Tensor(dtype=tensor_pb2.DTYPE_FLOAT32, shape=[2, 4], uri="kino://sha256/aa")
    embedding = encoder_pb2.Embedding(tower="ul2", embeddings=tensor)
    results = {
        "encode": encoder_pb2.EncodeResponse(embeddings=[embedding, embedding]),
        "rewrite": rewriter_pb2.RewriteResponse(prompt="a red ball in a meadow"),
        "generate": generator_pb2.GenerateResult(latents=tensor),
    }
    assert plan.nodes["encode"].bind(results) == encoder_pb2.EncodeRequest(prompt="a red ball in a meadow")
    bound = plan.nodes["generate"].bind(results)
    assert isinstance(bound, generator_pb2.GenerateRequest)
    assert (list(bound.embeddings), bound.frames, bound.seed) == ([embedding, embedding], 8, 1)
    decode = tae_pb2.TaeServiceDecodeRequest(latents=tensor, frames=8, fps=16)
    assert plan.nodes["decode"].bind(results) == decode
    assert plan.nodes["generate"].request == sound().nodes[2].generate


def rename(index: int, name: str) -> Change:
    return lambda pipeline: setattr(pipeline.nodes[index], "name", name)


def connect(source: str, target: str) -> Change:
    return lambda pipeline: pipeline.edges.append(edge(source, target))


def close(source: str, target: str) -> Change:
    """Feed the first node of the chain, in place of what was set there."""

    def change(pipeline: graph_pb2.Pipeline) -> None:
        pipeline.nodes[4].rewrite.prompt = ""
        pipeline.edges.append(edge(source, target))

    return change


def output(name: str, source: str) -> Change:
    return lambda pipeline: pipeline.outputs.append(graph_pb2.PipelineOutput(name=name, source=port(source)))


def grow(num_nodes: int) -> Change:
    return lambda pipeline: pipeline.nodes.extend(
        graph_pb2.PipelineNode(name=f"n{index}", rewrite=rewriter_pb2.RewriteRequest(prompt="a"))
        for index in range(num_nodes - len(pipeline.nodes))
    )


BAD: dict[str, tuple[Change, str, str]] = {
    "empty": (lambda pipeline: pipeline.Clear(), "nodes", "1 to 100 nodes"),
    "a thousand nodes": (grow(1000), "nodes", "'1000 nodes', must be 1 to 100"),
    "a name too long": (rename(0, "n" * 64), "nodes[0].name", "1 to 63"),
    "a name in capitals": (rename(1, "Decode"), "nodes[1].name", "'Decode'"),
    "a name taken twice": (rename(1, "film"), "nodes[1].name", "nothing else in the pipeline has"),
    "a node without a call": (
        lambda pipeline: pipeline.nodes[4].ClearField("rewrite"), "nodes[4].call", "one of rewrite, encode",
    ),
    "a source that is no node": (connect("no.prompt", "encode.negative_prompt"), "edges[4].source.node", "'no'"),
    "a target that is no node": (connect("rewrite.prompt", "nowhere.prompt"), "edges[4].target.node", "nowhere"),
    "a source that is no field": (
        connect("rewrite.nothing", "encode.negative_prompt"), "edges[4].source.field", "one of prompt, substitutions",
    ),
    "a target that is no field": (connect("rewrite.prompt", "encode.nothing"), "edges[4].target.field", "one of"),
    "two types joined": (
        connect("generate.latents", "encode.negative_prompt"), "edges[4]", "kino.v1.Tensor to string",
    ),
    "one and many joined": (
        connect("rewrite.prompt", "encode.towers"), "edges[4]", "string to repeated string",
    ),
    "an input fed twice": (connect("rewrite.model_digest", "encode.prompt"), "edges[4].target", "no other edge feeds"),
    "an input set and fed": (
        lambda pipeline: setattr(pipeline.nodes[3].encode, "prompt", "set"), "edges[0].target", "not set already",
    ),
    "an input missing": (lambda pipeline: pipeline.edges.pop(1), "nodes[2].generate.embeddings", "fed by an edge"),
    "a cycle": (close("generate.latent_space", "rewrite.prompt"), "edges", "free of cycles"),
    "a node that feeds itself": (close("rewrite.model_digest", "rewrite.prompt"), "edges", "rewrite -> rewrite"),
    "no outputs": (lambda pipeline: pipeline.ClearField("outputs"), "outputs", "'0 outputs'"),
    "an output of no node": (output("other", "nowhere.media"), "outputs[1].source.node", "nowhere"),
    "an output of no field": (output("other", "film.nothing"), "outputs[1].source.field", "one of media"),
    "an output that is no artifact": (output("other", "rewrite.prompt"), "outputs[1].source", "a Media or a Tensor"),
    "an output twice": (output("film", "film.contact_sheet"), "outputs[1].name", "'film'"),
    "too many bytes": (
        lambda pipeline: setattr(pipeline.nodes[4].rewrite, "prompt", "a" * 600_000), "", "at most 524288 bytes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_pipelines_are_refused_with_their_place(name: str) -> None:
    change, field, words = BAD[name]
    pipeline = sound()
    change(pipeline)
    with pytest.raises(InvalidArgumentError) as caught:
        check(pipeline, "spec.pipeline")
    assert caught.value.field == f"spec.pipeline.{field}".rstrip(".")
    assert words in str(caught.value)


def test_the_most_nodes_are_fine() -> None:
    pipeline = sound()
    grow(MAX_NODES)(pipeline)
    assert len(check(pipeline).nodes) == MAX_NODES


def test_of_two_sources_of_a_video_only_one_may_be_given() -> None:
    video = media_pb2.Media(media_type="video/mp4", uri="kino://sha256/aa")
    encode = tae_pb2.TaeServiceEncodeRequest(video=video)
    pipeline = sound()
    pipeline.nodes.append(graph_pb2.PipelineNode(name="again", tae_encode=encode))
    check(pipeline)
    pipeline.edges.append(edge("generate.latents", "again.frames"))
    with pytest.raises(
        InvalidArgumentError, match=r"edges\[4\].target is 'again.frames', must be an input that is not"
    ):
        check(pipeline)
