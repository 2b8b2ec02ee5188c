"""A picture of a sentence: a film of one frame."""

from kino.v1 import graph_pb2
from services.graph.products.text import Infos, components, pipeline, port

__all__ = ["components", "expand"]


def expand(product: graph_pb2.TextToImage, field: str, infos: Infos, seed: int) -> graph_pb2.Pipeline:
    """Return the pipeline of a picture, with the output `image` (PNG).

    Args:
        field: where the product stands in the client's request, for messages.
        infos: what the services of `components` say of themselves.

    Raises:
        InvalidArgumentError: a field is out of bounds.
    """
    export = graph_pb2.ExportRequest(format=graph_pb2.EXPORT_FORMAT_IMAGE)
    made = pipeline(product, field, infos, seed, 1, None, export)
    made.outputs.add(name="image", source=port("export.media"))
    return made
