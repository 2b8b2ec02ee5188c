"""A film that begins with a picture."""

from kino import bounds
from kino.v1 import editor_pb2, graph_pb2, tae_pb2
from services.graph.products.text import Infos, check_media, edge, encoded, finish_film, show


def components(product: graph_pb2.ImageToVideo) -> tuple[str, ...]:
    """Return the services that the product needs."""
    needed = ("encoder", "tae", "editor") if product.verbatim else ("rewriter", "encoder", "tae", "editor")
    return needed if product.silent else (*needed, "audio")


def expand(product: graph_pb2.ImageToVideo, field: str, infos: Infos, seed: int) -> graph_pb2.Pipeline:
    """Return the pipeline of a film that begins with a picture, with the outputs `film` and `contact_sheet`.

    The picture is cut to the size whose aspect is nearest among those that the editor was trained on; the editor
    denoises beside its latents.

    Args:
        field: where the product stands in the client's request, for messages.
        infos: what the services of `components` say of themselves.

    Raises:
        InvalidArgumentError: a field is out of bounds, or there is no picture.
    """
    check_media(product.image, f"{field}.image", "image")
    limits = infos["editor"].limits
    fps = bounds.film_fps(product, field, infos["tae"].limits)
    frames = bounds.film_frames(product, field, limits.frames, fps)
    sizes = [entry.size for entry in limits.aspects]
    edit = editor_pb2.EditRequest(
        task=editor_pb2.EDIT_TASK_IMAGE,
        frames=frames,
        seed=seed,
        sampling=bounds.sampling(product.sampling, f"{field}.sampling", limits),
        source_guidance=bounds.source_guidance(product, field, limits),
    )
    made = encoded(product, field, infos, seed, fps)
    made.nodes.add(name="picture", conform=graph_pb2.ConformRequest(media=product.image, sizes=sizes, max_frames=1))
    made.nodes.add(name="look", tae_encode=tae_pb2.TaeServiceEncodeRequest())
    made.nodes.add(name="animate", edit=edit)
    for source, target in (
        ("picture.video", "look.video"),
        ("encode.embeddings", "animate.embeddings"),
        ("encode.unconditional", "animate.unconditional"),
        ("look.latents", "animate.latents"),
        ("look.latent_space", "animate.latent_space"),
    ):
        made.edges.append(edge(source, target))
    show(made, "animate", frames, fps, graph_pb2.ExportRequest(format=graph_pb2.EXPORT_FORMAT_FILM))
    return finish_film(made, seed, product.silent)
