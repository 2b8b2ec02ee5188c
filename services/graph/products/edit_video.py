"""A video, changed as an instruction asks."""

from kino import bounds
from kino.v1 import audio_pb2, editor_pb2, encoder_pb2, graph_pb2, tae_pb2
from services.graph.products.text import Infos, check_makes_sound, check_media, edge, port

_EDGES = (
    ("interpret.instruction", "encode.prompt"),
    ("conform.video", "look.video"),
    ("interpret.task", "edit.task"),
    ("interpret.task", "export.task"),
    ("encode.embeddings", "edit.embeddings"),
    ("encode.unconditional", "edit.unconditional"),
    ("look.latents", "edit.latents"),
    ("look.latent_space", "edit.latent_space"),
    ("conform.frames", "edit.frames"),
    ("edit.latents", "decode.latents"),
    ("edit.latent_space", "decode.latent_space"),
    ("conform.frames", "decode.frames"),
    ("look.latents", "unchanged.latents"),
    ("look.latent_space", "unchanged.latent_space"),
    ("conform.frames", "unchanged.frames"),
    ("decode.video", "export.edited"),
    ("unchanged.video", "export.reconstruction"),
)


def components(product: graph_pb2.EditVideo) -> tuple[str, ...]:
    """Return the services that the product needs."""
    needed = ("encoder", "tae", "editor")
    return (*needed, "audio") if product.new_sound else needed


def expand(product: graph_pb2.EditVideo, field: str, infos: Infos, seed: int) -> graph_pb2.Pipeline:
    """Return the pipeline of an edited video, with the outputs `film` (MP4) and `contact_sheet` (PNG).

    The editor sees the video at the size and the frame rate that it was trained on; beside its edit the unchanged video
    goes the same way, and the export brings what differs between the two back to the video's own pixels and times.

    Args:
        field: where the product stands in the client's request, for messages.
        infos: what the services of `components` say of themselves.

    Raises:
        InvalidArgumentError: a field is out of bounds, there is no video, or the instruction asks for no edit.
        FailedPreconditionError: new sound is asked for, and the audio service decodes alone.
    """
    check_media(product.video, f"{field}.video", "video")
    limits = infos["editor"].limits
    bounds.instruction(product, field, limits)
    fps = round(limits.fps.default_value)
    conform = graph_pb2.ConformRequest(
        media=product.video,
        sizes=[entry.size for entry in limits.aspects],
        fit=graph_pb2.FIT_STRETCH,
        fps=fps,
        min_frames=limits.frames.default_value,
        max_frames=limits.frames.maximum,
    )
    edit = editor_pb2.EditRequest(
        seed=seed,
        sampling=bounds.sampling(product.sampling, f"{field}.sampling", limits),
        source_guidance=bounds.source_guidance(product, field, limits),
    )
    export = graph_pb2.ExportRequest(video=product.video, keep_sound=not product.new_sound)
    made = graph_pb2.Pipeline(
        nodes=[
            graph_pb2.PipelineNode(
                name="interpret", interpret=editor_pb2.InterpretRequest(instruction=product.instruction)
            ),
            graph_pb2.PipelineNode(name="encode", encode=encoder_pb2.EncodeRequest(fps=fps)),
            graph_pb2.PipelineNode(name="conform", conform=conform),
            graph_pb2.PipelineNode(name="look", tae_encode=tae_pb2.TaeServiceEncodeRequest()),
            graph_pb2.PipelineNode(name="edit", edit=edit),
            graph_pb2.PipelineNode(name="decode", tae_decode=tae_pb2.TaeServiceDecodeRequest(fps=fps)),
            graph_pb2.PipelineNode(name="unchanged", tae_decode=tae_pb2.TaeServiceDecodeRequest(fps=fps)),
            graph_pb2.PipelineNode(name="export", export=export),
        ],
        edges=[edge(source, target) for source, target in _EDGES],
    )
    if product.new_sound:
        check_makes_sound(infos)
    film = _with_new_sound(made, seed) if product.new_sound else "export.media"
    made.outputs.add(name="film", source=port(film))
    made.outputs.add(name="contact_sheet", source=port("export.contact_sheet"))
    return made


def _with_new_sound(made: graph_pb2.Pipeline, seed: int) -> str:
    """Add the sound of the edited video, and return where the film comes out."""
    made.nodes.add(name="sound", sound=audio_pb2.AudioServiceGenerateRequest(seed=seed))
    made.nodes.add(name="join", export=graph_pb2.ExportRequest(format=graph_pb2.EXPORT_FORMAT_COPY))
    for source, target in (
        ("export.media", "sound.video"),
        ("export.media", "join.video"),
        ("sound.sound", "join.sound"),
        ("sound.figures", "join.figures"),
    ):
        made.edges.append(edge(source, target))
    return "join.media"
