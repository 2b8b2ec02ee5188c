"""A video in full HD."""

from kino import bounds
from kino.v1 import graph_pb2, upsampler_pb2
from services.graph.products.text import Infos, check_media, edge, port


def components(product: graph_pb2.UpscaleVideo) -> tuple[str, ...]:
    """Return the services that the product needs."""
    return ("upsampler",)


def expand(product: graph_pb2.UpscaleVideo, field: str, infos: Infos, seed: int) -> graph_pb2.Pipeline:
    """Return the pipeline of a video in full HD, with the outputs `film` (MP4) and `contact_sheet` (PNG).

    Args:
        field: where the product stands in the client's request, for messages.
        infos: what the services of `components` say of themselves.

    Raises:
        InvalidArgumentError: a field is out of bounds, or there is no video.
    """
    check_media(product.video, f"{field}.video", "video")
    steps = bounds.upsampler_steps(product, field, infos["upsampler"].limits)
    upsample = upsampler_pb2.UpsampleRequest(video=product.video, seed=seed, steps=steps)
    export = graph_pb2.ExportRequest(format=graph_pb2.EXPORT_FORMAT_FILM, sound_of=product.video)
    made = graph_pb2.Pipeline(edges=[edge("upsample.video", "export.video")])
    made.nodes.add(name="upsample", upsample=upsample)
    made.nodes.add(name="export", export=export)
    made.outputs.add(name="film", source=port("export.media"))
    made.outputs.add(name="contact_sheet", source=port("export.contact_sheet"))
    return made
