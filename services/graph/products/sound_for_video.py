"""A video with the sound that belongs to it."""

from kino import bounds
from kino.errors import InvalidArgumentError
from kino.v1 import audio_pb2, graph_pb2
from services.graph.products.text import Infos, check_makes_sound, edge, port

__all__ = ["components", "expand"]


def components(product: graph_pb2.SoundForVideo) -> tuple[str, ...]:
    """Return the services that the product needs."""
    return ("audio",)


def expand(product: graph_pb2.SoundForVideo, field: str, infos: Infos, seed: int) -> graph_pb2.Pipeline:
    """Return the pipeline of a video's sound, with the output `film` (MP4).

    Args:
        field: where the product stands in the client's request, for messages.
        infos: what the services of `components` say of themselves.

    Raises:
        InvalidArgumentError: a field is out of bounds, or there is no video.
        FailedPreconditionError: the audio service decodes alone.
    """
    check_makes_sound(infos)
    limits = infos["audio"].limits
    if not product.HasField("video"):
        raise InvalidArgumentError(f"{field}.video", "", "given")
    description, music = bounds.sound_words(product, field, limits)
    sound = audio_pb2.AudioServiceGenerateRequest(
        video=product.video,
        description=description,
        music=music,
        seed=seed,
        sampling=bounds.sampling(product.sampling, f"{field}.sampling", limits),
    )
    export = graph_pb2.ExportRequest(video=product.video, format=graph_pb2.EXPORT_FORMAT_COPY)
    made = graph_pb2.Pipeline(
        nodes=[
            graph_pb2.PipelineNode(name="sound", sound=sound),
            graph_pb2.PipelineNode(name="export", export=export),
        ],
        edges=[edge("sound.sound", "export.sound"), edge("sound.figures", "export.figures")],
    )
    made.outputs.add(name="film", source=port("export.media"))
    return made
