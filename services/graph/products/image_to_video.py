"""A film that begins with a picture."""

from kino import bounds
from kino.errors import FailedPreconditionError
from kino.v1 import editor_pb2, generator_pb2, graph_pb2, info_pb2, tae_pb2
from services.graph.products.text import Infos, check_media, edge, encoded, finish_film, show

EITHER = ("generator", "editor")
"""Services of which the product needs one."""


def components(product: graph_pb2.ImageToVideo) -> tuple[str, ...]:
    """Return the services that the product needs beside one of `EITHER`."""
    needed = ("encoder", "tae") if product.verbatim else ("rewriter", "encoder", "tae")
    return needed if product.silent else (*needed, "audio")


def expand(product: graph_pb2.ImageToVideo, field: str, infos: Infos, seed: int) -> graph_pb2.Pipeline:
    """Return the pipeline of a film that begins with a picture, with the outputs `film` and `contact_sheet`.

    Unless told the picture is cut to the size whose aspect is nearest among those that the model was trained on; the
    model denoises beside its latents. At first the editor's film has the picture's own pixels where it shows the same.

    Args:
        field: where the product stands in the client's request, for messages.
        infos: what the services of `components` say of themselves, and those of `EITHER` that there are.

    Raises:
        InvalidArgumentError: a field is out of bounds, or there is no picture.
        FailedPreconditionError: no service begins films with pictures, or as `finish_film`.
    """
    check_media(product.image, f"{field}.image", "image")
    limits = _maker(infos).limits
    fps = bounds.film_fps(product, field, infos["tae"].limits)
    frames = bounds.film_frames(product, field, limits.frames, fps)
    sizes = [entry.size for entry in limits.aspects]
    if product.WhichOneof("size") is not None:
        sizes = [bounds.frame_size(product, field, limits)]
    made = encoded(product, field, infos, seed, fps, shown="picture")
    made.nodes.add(name="picture", conform=graph_pb2.ConformRequest(media=product.image, sizes=sizes, max_frames=1))
    made.nodes.add(name="look", tae_encode=tae_pb2.TaeServiceEncodeRequest())
    generates = _maker(infos).component == "generator"
    add = _generate if generates else _edit
    add(made, product, field, infos, frames, seed)
    for source, target in (
        ("picture.video", "look.video"),
        ("encode.embeddings", "animate.embeddings"),
        ("encode.unconditional", "animate.unconditional"),
        ("look.latents", "animate.latents"),
        ("look.latent_space", "animate.latent_space"),
    ):
        made.edges.append(edge(source, target))
    export = graph_pb2.ExportRequest(format=graph_pb2.EXPORT_FORMAT_FILM)
    show(made, "animate", frames, fps, export, as_field="video" if generates else "edited")
    if not generates:
        _keep_picture(made)
    return finish_film(made, infos, "animate", seed, product.silent)


def _maker(infos: Infos) -> info_pb2.Info:
    """Return the service that makes the film: the generator where it reads pictures, else the editor."""
    if "generator" in infos and info_pb2.ABILITY_IMAGE_TO_VIDEO in infos["generator"].abilities:
        return infos["generator"]
    if "editor" not in infos:
        raise FailedPreconditionError("no model of this graph begins films with a picture")
    return infos["editor"]


def _generate(
    made: graph_pb2.Pipeline, product: graph_pb2.ImageToVideo, field: str, infos: Infos, frames: int, seed: int
) -> None:
    """Let the generator make the film, of the picture as it and its encoder read it."""
    info, nodes = infos["generator"], {node.name: node for node in made.nodes}
    bounds.source_guidance(product, field, info.limits)
    sampling = bounds.sampling(product.sampling, f"{field}.sampling", info.limits)
    generate = generator_pb2.GenerateRequest(frames=frames, seed=seed, sampling=sampling)
    if info.limits.HasField("fps"):
        generate.fps = bounds.film_fps(product, field, infos["tae"].limits)
    made.nodes.add(name="animate", generate=generate)
    look = nodes["look"].tae_encode
    look.clip_frames, look.crf = frames if info.picture.clip else 0, info.picture.crf
    if info.picture.drawn:
        look.seed = seed
    made.edges.append(edge("look.height", "animate.height"))
    made.edges.append(edge("look.width", "animate.width"))
    if infos["encoder"].HasField("picture"):
        made.edges.append(edge("picture.video", "encode.picture"))


def _edit(
    made: graph_pb2.Pipeline, product: graph_pb2.ImageToVideo, field: str, infos: Infos, frames: int, seed: int
) -> None:
    """Let the editor make the film."""
    limits = infos["editor"].limits
    edit = editor_pb2.EditRequest(
        task=editor_pb2.EDIT_TASK_IMAGE,
        frames=frames,
        seed=seed,
        sampling=bounds.sampling(product.sampling, f"{field}.sampling", limits),
        source_guidance=bounds.source_guidance(product, field, limits),
    )
    made.nodes.add(name="animate", edit=edit)


def _keep_picture(made: graph_pb2.Pipeline) -> None:
    """Let the export begin with the picture itself, by what the TAE alone makes of it."""
    made.nodes.add(name="still", tae_decode=tae_pb2.TaeServiceDecodeRequest(frames=1))
    for source, target in (
        ("look.latents", "still.latents"),
        ("look.latent_space", "still.latent_space"),
        ("picture.video", "export.video"),
        ("still.video", "export.reconstruction"),
    ):
        made.edges.append(edge(source, target))
