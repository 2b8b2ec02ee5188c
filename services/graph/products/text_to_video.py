"""A film of a sentence."""

from kino import bounds
from kino.v1 import graph_pb2
from services.graph.products import hd, text
from services.graph.products.text import Infos, finish_film, pipeline


def components(product: graph_pb2.TextToVideo) -> tuple[str, ...]:
    """Return the services that a film needs."""
    needed = text.components(product) if product.silent else (*text.components(product), "audio")
    return hd.components(product, needed)


def expand(product: graph_pb2.TextToVideo, field: str, infos: Infos, seed: int) -> graph_pb2.Pipeline:
    """Return the pipeline of a film, with the outputs `film` (MP4) and `contact_sheet` (PNG).

    Unless it is to be silent, its sound is made of the decoded video, or comes with the latents, before the export;
    beside it the pictures are brought to full HD, where the quality asks for that.

    Args:
        field: where the product stands in the client's request, for messages.
        infos: what the services of `components` say of themselves.

    Raises:
        InvalidArgumentError: a field is out of bounds.
    """
    fps = bounds.film_fps(product, field, infos["tae"].limits)
    frames = bounds.film_frames(product, field, infos["generator"].limits.frames, fps)
    export = graph_pb2.ExportRequest(format=graph_pb2.EXPORT_FORMAT_FILM)
    shown = pipeline(product, field, infos, seed, frames, fps, export)
    made = finish_film(shown, infos, "generate", seed, product.silent)
    hd.bring_to_quality(made, product, field, infos, seed)
    return made
