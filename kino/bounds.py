"""What an order for a film or a picture may hold, measured against what the parts say that they take."""

from kino import validate
from kino.errors import InvalidArgumentError
from kino.limits import clip_limits, generator_limits
from kino.shapes import frames_for_seconds
from kino.v1 import generator_pb2, graph_pb2, info_pb2

Product = graph_pb2.TextToVideo | graph_pb2.TextToImage


def check(spec: graph_pb2.GenerationSpec, preset: str) -> None:
    """Refuse an order that the parts of a preset would refuse, without asking them.

    Raises:
        InvalidArgumentError: size, length, frame rate or sampling is out of bounds.
    """
    kind = "text_to_video" if spec.HasField("text_to_video") else "text_to_image"
    product, field, limits = getattr(spec, kind), f"spec.{kind}", generator_limits(preset)
    frame_size(product, field, limits)
    sampling(product.sampling, f"{field}.sampling", limits)
    if isinstance(product, graph_pb2.TextToVideo):
        film_frames(product, field, limits.frames, film_fps(product, field, clip_limits(preset)))


def frame_size(product: Product, field: str, limits: info_pb2.Limits) -> info_pb2.Size:
    """Return the size of the frames: that of the aspect, the first one unless told, or the pixels asked for."""
    if product.WhichOneof("size") != "pixels":
        sizes = {entry.aspect: entry.size for entry in limits.aspects}
        default = next(iter(sizes), "")
        aspect = product.aspect if product.HasField("aspect") else default
        return sizes[validate.one_of(aspect, f"{field}.aspect", tuple(sizes))]
    for name in ("height", "width"):
        value, bound = getattr(product.pixels, name), getattr(limits, name)
        place = f"{field}.pixels.{name}"
        validate.whole(value, place, bound.minimum, bound.maximum)
        if value % (limits.size_multiple or 1):
            raise InvalidArgumentError(place, value, f"a multiple of {limits.size_multiple}")
    return product.pixels


def sampling(asked: generator_pb2.Sampling, field: str, limits: info_pb2.Limits) -> generator_pb2.Sampling:
    """Return the sampling, whose unset fields are the generator's own values."""
    for name in ("steps", "linear_steps"):
        if asked.HasField(name):
            bound = getattr(limits, name)
            validate.whole(getattr(asked, name), f"{field}.{name}", bound.minimum, bound.maximum)
    if asked.HasField("guidance"):
        validate.real(asked.guidance, f"{field}.guidance", limits.guidance.minimum, limits.guidance.maximum)
    if asked.HasField("linear_steps"):
        steps = asked.steps if asked.HasField("steps") else limits.steps.default_value
        if asked.linear_steps < steps:
            raise InvalidArgumentError(f"{field}.linear_steps", asked.linear_steps, f"at least the {steps} steps")
    return asked


def film_fps(product: graph_pb2.TextToVideo, field: str, limits: info_pb2.Limits) -> int:
    """Return the frame rate in frames per second."""
    if not product.HasField("fps"):
        return round(limits.fps.default_value)
    validate.real(product.fps, f"{field}.fps", limits.fps.minimum, limits.fps.maximum)
    return product.fps


def film_frames(product: graph_pb2.TextToVideo, field: str, limits: info_pb2.IntRange, fps: int) -> int:
    """Return the length in frames."""
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
