"""Full HD as part of a film: the upsampler between the decoded video and the export."""

from kino import bounds
from kino.shapes import ASPECTS, full_hd
from kino.v1 import graph_pb2, info_pb2, upsampler_pb2
from services.graph.products.text import Infos, edge, port

COMPONENT = "upsampler"


def components(product: graph_pb2.TextToVideo, needed: tuple[str, ...]) -> tuple[str, ...]:
    """Return the services that a film needs with those for its quality."""
    return (*needed, COMPONENT) if product.quality == graph_pb2.QUALITY_HD else needed


def bring_to_quality(
    made: graph_pb2.Pipeline, product: graph_pb2.TextToVideo, field: str, infos: Infos, seed: int
) -> None:
    """Let a film's export take the decoded video in full HD, where that is asked for.

    Where the aspect is named the result has it to the pixel: what the generator's sizes have over is cut off.

    Raises:
        InvalidArgumentError: there is no such quality.
    """
    if not bounds.is_hd(product, field):
        return
    upsample = upsampler_pb2.UpsampleRequest(seed=seed)
    if product.WhichOneof("size") != "pixels":
        aspects = infos["generator"].limits.aspects
        named = product.aspect if product.HasField("aspect") else next((entry.aspect for entry in aspects), "")
        if named in ASPECTS:
            across, down = ASPECTS[named]
            size = full_hd(down, across)
            upsample.size.CopyFrom(info_pb2.Size(height=size.height, width=size.width))
    for existing in made.edges:
        if existing.target == port("export.video"):
            existing.source.CopyFrom(port("upsample.video"))
    made.nodes.add(name="upsample", upsample=upsample)
    made.edges.append(edge("decode.video", "upsample.video"))
