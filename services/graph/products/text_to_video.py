"""A film of a sentence."""

from kino import validate
from kino.errors import InvalidArgumentError
from kino.shapes import frames_for_seconds
from kino.v1 import graph_pb2, info_pb2
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
    fps = _fps(product, field, infos)
    frames = _frames(product, field, infos["generator"].limits.frames, fps)
    export = graph_pb2.ExportRequest(format=graph_pb2.EXPORT_FORMAT_FILM)
    made = pipeline(product, field, infos, seed, frames, fps, export)
    made.outputs.add(name="film", source=port("export.media"))
    made.outputs.add(name="contact_sheet", source=port("export.contact_sheet"))
    return made


def _fps(product: graph_pb2.TextToVideo, field: str, infos: Infos) -> int:
    limits = infos["tae"].limits
    if not product.HasField("fps"):
        return round(limits.fps.default_value)
    validate.real(product.fps, f"{field}.fps", limits.fps.minimum, limits.fps.maximum)
    return product.fps


def _frames(product: graph_pb2.TextToVideo, field: str, limits: info_pb2.IntRange, fps: int) -> int:
    if not product.HasField("seconds"):
        return limits.default_value
    bound = f"from {limits.minimum / fps:.3g} to {limits.maximum / fps:.3g} at {fps} fps"
    try:
        frames = frames_for_seconds(product.seconds, fps)
    except (ValueError, OverflowError):
        raise InvalidArgumentError(f"{field}.seconds", product.seconds, bound) from None
    if not limits.minimum <= frames <= limits.maximum:
        raise InvalidArgumentError(f"{field}.seconds", product.seconds, bound)
    return frames
