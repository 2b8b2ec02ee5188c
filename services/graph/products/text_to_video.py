"""A film of a sentence."""

from kino import bounds
from kino.v1 import graph_pb2
from services.graph.products.text import Infos, components, pipeline, port

__all__ = ["components", "expand"]


def expand(product: graph_pb2.TextToVideo, field: str, infos: Infos, seed: int) -> graph_pb2.Pipeline:
    """Return the pipeline of a film, with the outputs `film` (MP4) and `contact_sheet` (PNG).

    Args:
        field: where the product stands in the client's request, for messages.
        infos: what the services of `components` say of themselves.

    Raises:
        InvalidArgumentError: a field is out of bounds.
    """
    fps = bounds.film_fps(product, field, infos["tae"].limits)
    frames = bounds.film_frames(product, field, infos["generator"].limits.frames, fps)
    export = graph_pb2.ExportRequest(format=graph_pb2.EXPORT_FORMAT_FILM)
    made = pipeline(product, field, infos, seed, frames, fps, export)
    made.outputs.add(name="film", source=port("export.media"))
    made.outputs.add(name="contact_sheet", source=port("export.contact_sheet"))
    return made
