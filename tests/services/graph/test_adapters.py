"""Adapters of an order: what reaches the generator, and what is refused before anything runs."""

from typing import Any

import pytest

from kino.errors import FailedPreconditionError, InvalidArgumentError
from kino.v1 import generator_pb2, graph_pb2, info_pb2
from services.graph import adapters
from services.graph.cache import stage_key
from services.graph.calls import CALLS

DIGESTS = {"ink": "1" * 64, "slow": "2" * 64}
INFOS = {
    "generator": info_pb2.Info(
        digest="0" * 64,
        adapters=[info_pb2.AdapterVersion(name=name, digest=digest) for name, digest in DIGESTS.items()],
    )
}


def film(**fields: Any) -> graph_pb2.GenerationSpec:
    return graph_pb2.GenerationSpec(text_to_video=graph_pb2.TextToVideo(prompt="a red ball", **fields))


def pipeline(*nodes: str) -> graph_pb2.Pipeline:
    made = graph_pb2.Pipeline()
    for name in nodes:
        getattr(made.nodes.add(name=name), name).SetInParent()
    return made


def ordered(asked: list[generator_pb2.Adapter]) -> list[generator_pb2.Adapter]:
    """What the generator of a film gets."""
    made = pipeline("encode", "generate", "tae_decode")
    adapters.give(made, adapters.of_product(film(adapters=asked)), "spec.text_to_video.adapters")
    adapters.settle(made, INFOS, "spec.text_to_video.adapters")
    return list(made.nodes[1].generate.adapters)


def test_the_generator_gets_them_in_order_with_weights_and_digests() -> None:
    asked = [generator_pb2.Adapter(name="slow", weight=-0.5), generator_pb2.Adapter(name="ink")]
    assert ordered(asked) == [
        generator_pb2.Adapter(name="slow", weight=-0.5, digest=DIGESTS["slow"]),
        generator_pb2.Adapter(name="ink", weight=1, digest=DIGESTS["ink"]),
    ]
    assert ordered([]) == []


def test_whether_an_order_names_any() -> None:
    made = pipeline("generate")
    assert not adapters.named(graph_pb2.GenerationSpec(pipeline=made))
    made.nodes[0].generate.adapters.add(name="ink")
    assert adapters.named(graph_pb2.GenerationSpec(pipeline=made))
    assert adapters.named(film(adapters=[generator_pb2.Adapter(name="ink")]))
    assert not adapters.named(film())
    assert not adapters.named(graph_pb2.GenerationSpec(upscale_video=graph_pb2.UpscaleVideo()))


def test_what_the_generator_has_not_is_refused() -> None:
    place = r"spec\.text_to_video\.adapters\[0\]"
    with pytest.raises(InvalidArgumentError, match=rf"{place}\.name is 'oil', must be one of ink, slow"):
        ordered([generator_pb2.Adapter(name="oil")])
    with pytest.raises(InvalidArgumentError, match=rf"{place}\.weight is -9\.0, must be from -4 to 4"):
        ordered([generator_pb2.Adapter(name="ink", weight=-9)])
    with pytest.raises(FailedPreconditionError, match=rf"{place}\.digest is '3+', ink is 1+ by now"):
        ordered([generator_pb2.Adapter(name="ink", digest="3" * 64)])


def test_in_a_pipeline_of_the_clients_own_the_node_is_named() -> None:
    made = pipeline("encode", "generate")
    made.nodes[1].generate.adapters.add(name="oil")
    with pytest.raises(InvalidArgumentError, match=r"spec\.pipeline\.nodes\[1\]\.generate\.adapters\[0\]\.name is"):
        adapters.settle(made, INFOS)


def test_what_is_not_made_by_the_generator_takes_none() -> None:
    with pytest.raises(InvalidArgumentError, match="adapters is 'ink', must be left out: it is not made by"):
        adapters.give(pipeline("edit"), [generator_pb2.Adapter(name="ink")], "spec.image_to_video.adapters")


def test_another_version_under_the_same_name_is_another_stage() -> None:
    keys = {
        stage_key(CALLS["generate"], generator_pb2.GenerateRequest(adapters=given), INFOS["generator"])
        for given in (
            [],
            [generator_pb2.Adapter(name="ink", weight=1, digest="1" * 64)],
            [generator_pb2.Adapter(name="ink", weight=1, digest="4" * 64)],
            [generator_pb2.Adapter(name="ink", weight=0.5, digest="1" * 64)],
        )
    }
    assert len(keys) == 4
