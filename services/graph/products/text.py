"""What films and pictures of a sentence have in common: one pipeline, from the prompt to the file."""

from collections.abc import Mapping
from typing import Literal

from kino import bounds, validate
from kino.errors import FailedPreconditionError, InvalidArgumentError
from kino.v1 import audio_pb2, encoder_pb2, generator_pb2, graph_pb2, info_pb2, media_pb2, rewriter_pb2, tae_pb2

Infos = Mapping[str, info_pb2.Info]


def components(product: bounds.Product) -> tuple[str, ...]:
    """Return the services that a product needs."""
    needed = ("rewriter", "encoder", "generator", "tae")
    return needed[1:] if product.verbatim else needed


def pipeline(
    product: bounds.Product,
    field: str,
    infos: Infos,
    seed: int,
    frames: int,
    fps: int | None,
    export: graph_pb2.ExportRequest,
) -> graph_pb2.Pipeline:
    """Return rewrite -> encode -> generate -> decode -> export, without the first step where the prompt is verbatim.

    Args:
        field: where the product stands in the client's request, for messages.
        fps: frames per second, None for a picture.

    Raises:
        InvalidArgumentError: the prompt, the size or the sampling is out of bounds.
    """
    if list(infos["generator"].abilities) == [info_pb2.ABILITY_IMAGE_TO_VIDEO]:
        raise InvalidArgumentError(field, "made of a text alone", "image_to_video: the model begins with a picture")
    size = bounds.frame_size(product, field, infos["generator"].limits)
    made = encoded(product, field, infos, seed, fps)
    sampling = bounds.sampling(product.sampling, f"{field}.sampling", infos["generator"].limits)
    generate = generator_pb2.GenerateRequest(
        frames=frames, height=size.height, width=size.width, seed=seed, sampling=sampling
    )
    if fps is not None and infos["generator"].limits.HasField("fps"):
        generate.fps = fps
    made.nodes.add(name="generate", generate=generate)
    made.edges.append(edge("encode.embeddings", "generate.embeddings"))
    made.edges.append(edge("encode.unconditional", "generate.unconditional"))
    show(made, "generate", frames, fps, export)
    return made


def encoded(
    product: bounds.Product | graph_pb2.ImageToVideo,
    field: str,
    infos: Infos,
    seed: int,
    fps: int | None,
    shown: Literal["", "person", "picture"] = "",
) -> graph_pb2.Pipeline:
    """Return rewrite -> encode, without the first step where the prompt is verbatim; the rest is as in `pipeline`.

    A prompt is verbatim too where the rewriter was trained for generators of another row: it would translate it into
    words that this one does not know.

    Args:
        shown: what a picture shows already, and the rewriter need not make up: the person, or how the video begins.
    """
    verbatim = product.verbatim or not _writes_for_generator(infos)
    reader = "encoder" if verbatim else "rewriter"
    prompt = _prompt(product.prompt, f"{field}.prompt", infos[reader].limits)
    negative = _prompt(product.negative_prompt, f"{field}.negative_prompt", infos["encoder"].limits, blank=True)
    states_fps = infos["encoder"].limits.HasField("fps")
    encode = encoder_pb2.EncodeRequest(negative_prompt=negative, fps=fps if states_fps else None)
    made = graph_pb2.Pipeline()
    if verbatim:
        encode.prompt = prompt
    else:
        rewrite = rewriter_pb2.RewriteRequest(
            prompt=prompt, seed=seed, person=shown == "person", picture=shown == "picture"
        )
        made.nodes.add(name="rewrite", rewrite=rewrite)
        made.edges.append(edge("rewrite.prompt", "encode.prompt"))
    made.nodes.add(name="encode", encode=encode)
    return made


def _writes_for_generator(infos: Infos) -> bool:
    """Return whether the rewriter is of the generator's row, or of none, as one that others trained."""
    if "rewriter" not in infos or "generator" not in infos:
        return True
    return infos["rewriter"].preset in ("", infos["generator"].preset)


def show(
    made: graph_pb2.Pipeline,
    source: str,
    frames: int,
    fps: int | None,
    export: graph_pb2.ExportRequest,
    as_field: str = "video",
) -> None:
    """Add decode -> export behind the node that gives the latents; the video goes into a field of the export."""
    made.nodes.add(name="decode", tae_decode=tae_pb2.TaeServiceDecodeRequest(frames=frames, fps=fps or 0))
    made.nodes.add(name="export", export=export)
    made.edges.append(edge(f"{source}.latents", "decode.latents"))
    made.edges.append(edge(f"{source}.latent_space", "decode.latent_space"))
    made.edges.append(edge("decode.video", f"export.{as_field}"))


def finish_film(made: graph_pb2.Pipeline, infos: Infos, source: str, seed: int, silent: bool) -> graph_pb2.Pipeline:
    """Return a film's pipeline with its outputs and, unless it is silent, with sound.

    It is made of the decoded video, or decoded where the audio service belongs to a generator that makes both.

    Args:
        source: the node that gives the latents.

    Raises:
        FailedPreconditionError: the audio service decodes alone, and no generator makes the film.
    """
    nodes = {node.name: node for node in made.nodes}
    if not silent and infos["audio"].HasField("sound_space"):
        if not nodes[source].HasField("generate"):
            check_makes_sound(infos)
        length = nodes["decode"].tae_decode
        made.nodes.add(
            name="sound", sound_decode=audio_pb2.AudioServiceDecodeRequest(frames=length.frames, fps=length.fps)
        )
        made.edges.append(edge(f"{source}.sound_latents", "sound.sound_latents"))
        made.edges.append(edge(f"{source}.sound_space", "sound.sound_space"))
    elif not silent:
        made.nodes.add(name="sound", sound=audio_pb2.AudioServiceGenerateRequest(seed=seed))
        made.edges.append(edge("decode.video", "sound.video"))
    if not silent:
        made.edges.append(edge("sound.sound", "export.sound"))
        made.edges.append(edge("sound.figures", "export.figures"))
    made.outputs.add(name="film", source=port("export.media"))
    made.outputs.add(name="contact_sheet", source=port("export.contact_sheet"))
    return made


def check_makes_sound(infos: Infos) -> None:
    """Refuse what needs sound of a video or of words where the audio service decodes that of its generator alone."""
    if infos["audio"].HasField("sound_space"):
        told = "which decodes what its generator makes, and makes no sound of videos or of words"
        raise FailedPreconditionError(f"the audio service has {infos['audio'].version}, {told}")


def edge(source: str, target: str) -> graph_pb2.PipelineEdge:
    """Return an edge between two fields, each written as `node.field`."""
    return graph_pb2.PipelineEdge(source=port(source), target=port(target))


def port(text: str) -> graph_pb2.Port:
    """Return the port that is written as `node.field`."""
    node, _, field = text.partition(".")
    return graph_pb2.Port(node=node, field=field)


def check_media(media: media_pb2.Media, field: str, kind: str) -> None:
    """Refuse a medium that is not there or of another kind than "video" or "image"."""
    if media.WhichOneof("content") is None:
        raise InvalidArgumentError(field, "", "given")
    if media.media_type.partition("/")[0] != kind:
        raise InvalidArgumentError(f"{field}.media_type", media.media_type, f"of the kind {kind}")


def _prompt(text: str, field: str, limits: info_pb2.Limits, *, blank: bool = False) -> str:
    maximum = limits.prompt_bytes.maximum or validate.MAX_PROMPT_BYTES
    return validate.prompt(text, field, max_bytes=maximum, blank=blank)
