"""A sound of words."""

from kino import bounds
from kino.v1 import audio_pb2, graph_pb2
from services.graph.products.text import Infos, check_makes_sound, edge, port

__all__ = ["components", "expand"]


def components(product: graph_pb2.TextToSound) -> tuple[str, ...]:
    """Return the services that the product needs."""
    return ("audio",)


def expand(product: graph_pb2.TextToSound, field: str, infos: Infos, seed: int) -> graph_pb2.Pipeline:
    """Return the pipeline of a sound, with the output `sound` in the form that was asked for.

    Args:
        field: where the product stands in the client's request, for messages.
        infos: what the services of `components` say of themselves.

    Raises:
        InvalidArgumentError: a field is out of bounds.
        FailedPreconditionError: the audio service decodes alone.
    """
    check_makes_sound(infos)
    limits = infos["audio"].limits
    description, music = bounds.sound_words(product, field, limits)
    sound = audio_pb2.AudioServiceGenerateRequest(
        seconds=bounds.sound_seconds(product, field, limits),
        description=description,
        music=music,
        seed=seed,
        sampling=bounds.sampling(product.sampling, f"{field}.sampling", limits),
    )
    export = graph_pb2.ExportRequest(format=bounds.sound_format(product, field))
    made = graph_pb2.Pipeline(
        nodes=[
            graph_pb2.PipelineNode(name="sound", sound=sound),
            graph_pb2.PipelineNode(name="export", export=export),
        ],
        edges=[edge("sound.sound", "export.sound"), edge("sound.figures", "export.figures")],
    )
    made.outputs.add(name="sound", source=port("export.media"))
    return made
