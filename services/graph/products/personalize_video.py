"""A film of the person of a picture."""

from kino import bounds
from kino.v1 import graph_pb2, personalizer_pb2
from services.graph.products.text import Infos, check_media, edge, encoded, finish_film, show


def components(product: graph_pb2.PersonalizeVideo) -> tuple[str, ...]:
    """Return the services that the product needs."""
    needed = ("encoder", "personalizer", "tae") if product.verbatim else ("rewriter", "encoder", "personalizer", "tae")
    return needed if product.silent else (*needed, "audio")


def expand(product: graph_pb2.PersonalizeVideo, field: str, infos: Infos, seed: int) -> graph_pb2.Pipeline:
    """Return the pipeline of a film of the person of a picture, with the outputs `film` and `contact_sheet`.

    Args:
        field: where the product stands in the client's request, for messages.
        infos: what the services of `components` say of themselves.

    Raises:
        InvalidArgumentError: a field is out of bounds, or there is no picture.
        FailedPreconditionError: as `finish_film`.
    """
    check_media(product.image, f"{field}.image", "image")
    limits = infos["personalizer"].limits
    size = bounds.frame_size(product, field, limits)
    fps = bounds.film_fps(product, field, infos["tae"].limits)
    frames = bounds.film_frames(product, field, limits.frames, fps)
    personalize = personalizer_pb2.PersonalizeRequest(
        frames=frames,
        height=size.height,
        width=size.width,
        seed=seed,
        sampling=bounds.sampling(product.sampling, f"{field}.sampling", limits),
    )
    made = encoded(product, field, infos, seed, fps, shown="person")
    made.nodes.add(name="identify", identify=personalizer_pb2.IdentifyRequest(image=product.image))
    made.nodes.add(name="personalize", personalize=personalize)
    for source, target in (
        ("encode.embeddings", "personalize.embeddings"),
        ("encode.unconditional", "personalize.unconditional"),
        ("identify.identity", "personalize.identity"),
    ):
        made.edges.append(edge(source, target))
    show(made, "personalize", frames, fps, graph_pb2.ExportRequest(format=graph_pb2.EXPORT_FORMAT_FILM))
    return finish_film(made, infos, "personalize", seed, product.silent)
