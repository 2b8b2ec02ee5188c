"""What an order for a film, a picture, an edit or a sound may hold, measured against what the parts say they take."""

from kino import validate
from kino.errors import InvalidArgumentError
from kino.instructions import Instruction, understand
from kino.limits import (
    MIN_SOUND_FRAMES,
    clip_limits,
    editor_limits,
    generator_limits,
    personalizer_limits,
    sound_limits,
    upsampler_limits,
)
from kino.shapes import frames_for_seconds
from kino.v1 import generator_pb2, graph_pb2, info_pb2

Product = graph_pb2.TextToVideo | graph_pb2.TextToImage | graph_pb2.PersonalizeVideo
Film = graph_pb2.TextToVideo | graph_pb2.ImageToVideo | graph_pb2.PersonalizeVideo
Sourced = graph_pb2.EditVideo | graph_pb2.ImageToVideo
Sound = graph_pb2.SoundForVideo | graph_pb2.TextToSound
Sized = Product | graph_pb2.ImageToVideo
Seeded = Product | Sourced | Sound | graph_pb2.UpscaleVideo

_SOUND_FORMATS = (graph_pb2.EXPORT_FORMAT_WAV, graph_pb2.EXPORT_FORMAT_FLAC, graph_pb2.EXPORT_FORMAT_M4A)


def check(spec: graph_pb2.GenerationSpec, preset: str) -> None:
    """Refuse an order that the parts of a preset would refuse, without asking them.

    Raises:
        InvalidArgumentError: size, length, frame rate, words or sampling is out of bounds.
    """
    kind = spec.WhichOneof("product") or "text_to_image"
    product, field = getattr(spec, kind), f"spec.{kind}"
    if isinstance(product, Sound):
        limits = sound_limits(preset)
        sound_words(product, field, limits)
        sampling(product.sampling, f"{field}.sampling", limits)
        if isinstance(product, graph_pb2.TextToSound):
            sound_seconds(product, field, limits)
        return
    if isinstance(product, graph_pb2.UpscaleVideo):
        upsampler_steps(product, field, upsampler_limits(preset))
        return
    if isinstance(product, Sourced):
        limits = editor_limits(preset)
        if isinstance(product, graph_pb2.EditVideo):
            sampling(product.sampling, f"{field}.sampling", limits)
            source_guidance(product, field, limits)
            instruction(product, field, limits)
        else:
            check_animated(product, field, limits, clip_limits(preset))
        return
    maker = personalizer_limits if isinstance(product, graph_pb2.PersonalizeVideo) else generator_limits
    check_made(product, field, maker(preset), clip_limits(preset))


def check_made(product: Product, field: str, generator: info_pb2.Limits, tae: info_pb2.Limits) -> None:
    """Refuse a film or a picture of a sentence that a generator and a TAE would refuse; raises as `check`."""
    frame_size(product, field, generator)
    sampling(product.sampling, f"{field}.sampling", generator)
    if isinstance(product, Film):
        film_frames(product, field, generator.frames, film_fps(product, field, tae))


def check_animated(product: graph_pb2.ImageToVideo, field: str, maker: info_pb2.Limits, tae: info_pb2.Limits) -> None:
    """Refuse a film of a picture that what makes it and a TAE would refuse; raises as `check`."""
    sampling(product.sampling, f"{field}.sampling", maker)
    source_guidance(product, field, maker)
    if product.WhichOneof("size") is not None:
        frame_size(product, field, maker)
    film_frames(product, field, maker.frames, film_fps(product, field, tae))


def frame_size(product: Sized, field: str, limits: info_pb2.Limits) -> info_pb2.Size:
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
    if asked.HasField("linear_steps") and not limits.HasField("linear_steps"):
        raise InvalidArgumentError(
            f"{field}.linear_steps", asked.linear_steps, "left out: the model has its own schedule"
        )
    if asked.HasField("guidance") and not limits.HasField("guidance"):
        raise InvalidArgumentError(
            f"{field}.guidance", asked.guidance, "left out: the model was distilled to need none"
        )
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


def instruction(product: graph_pb2.EditVideo, field: str, limits: info_pb2.Limits) -> Instruction:
    """Return what an instruction asks for."""
    maximum = limits.prompt_bytes.maximum or validate.MAX_PROMPT_BYTES
    return understand(product.instruction, f"{field}.instruction", maximum)


def guidance_range(limits: info_pb2.Limits, *, of_picture: bool) -> info_pb2.FloatRange:
    """Return how closely a model may keep to what it is given: a video, or a picture to begin with."""
    if of_picture and limits.HasField("picture_guidance"):
        return limits.picture_guidance
    return limits.source_guidance


def source_guidance(product: Sourced, field: str, limits: info_pb2.Limits) -> float:
    """Return how closely to keep to the video or to the picture."""
    bound = guidance_range(limits, of_picture=isinstance(product, graph_pb2.ImageToVideo))
    if not product.HasField("source_guidance"):
        return bound.default_value
    if not limits.HasField("source_guidance"):
        asked = product.source_guidance
        raise InvalidArgumentError(f"{field}.source_guidance", asked, "left out: the model has no such scale")
    return validate.real(product.source_guidance, f"{field}.source_guidance", bound.minimum, bound.maximum)


def film_fps(product: Film, field: str, limits: info_pb2.Limits) -> int:
    """Return the frame rate in frames per second."""
    if not product.HasField("fps"):
        return round(limits.fps.default_value)
    validate.real(product.fps, f"{field}.fps", limits.fps.minimum, limits.fps.maximum)
    return product.fps


def film_frames(product: Film, field: str, limits: info_pb2.IntRange, fps: int) -> int:
    """Return the length in frames: at least two of a film with sound."""
    minimum = limits.minimum if product.silent else max(limits.minimum, MIN_SOUND_FRAMES)
    if limits.maximum < MIN_SOUND_FRAMES:
        raise InvalidArgumentError(field, "a film", "a picture: the model makes no more than one frame")
    if not product.HasField("seconds"):
        return limits.default_value
    bound = f"from {minimum / fps:.3g} to {limits.maximum / fps:.3g} at {fps} fps"
    try:
        frames = frames_for_seconds(product.seconds, fps)
    except (ValueError, OverflowError):
        raise InvalidArgumentError(f"{field}.seconds", product.seconds, bound) from None
    if not minimum <= frames <= limits.maximum:
        raise InvalidArgumentError(f"{field}.seconds", product.seconds, bound)
    return frames


def is_hd(product: graph_pb2.TextToVideo, field: str) -> bool:
    """Return whether a film is to be in full HD."""
    if product.quality not in graph_pb2.Quality.values():
        raise InvalidArgumentError(f"{field}.quality", product.quality, "STANDARD or HD")
    return product.quality == graph_pb2.QUALITY_HD


def upsampler_steps(product: graph_pb2.UpscaleVideo, field: str, limits: info_pb2.Limits) -> int:
    """Return the denoising steps of a video in full HD."""
    bound = limits.steps
    if not product.HasField("steps"):
        return bound.default_value
    return validate.whole(product.steps, f"{field}.steps", bound.minimum, bound.maximum)


def sound_words(product: Sound, field: str, limits: info_pb2.Limits) -> tuple[str, str]:
    """Return what is heard and its music, each in evened words or empty; without a video one of them has words."""
    maximum = limits.prompt_bytes.maximum or validate.MAX_PROMPT_BYTES
    description, music = (
        validate.prompt(getattr(product, name), f"{field}.{name}", max_bytes=maximum, blank=True)
        for name in ("description", "music")
    )
    if isinstance(product, graph_pb2.TextToSound) and not (description or music):
        raise InvalidArgumentError(f"{field}.description", "", "given where there is neither a video nor music")
    return description, music


def sound_seconds(product: graph_pb2.TextToSound, field: str, limits: info_pb2.Limits) -> float:
    """Return the length in seconds."""
    bound = limits.seconds
    if not product.HasField("seconds"):
        return bound.default_value
    return validate.real(product.seconds, f"{field}.seconds", bound.minimum, bound.maximum)


def sound_format(product: graph_pb2.TextToSound, field: str) -> "graph_pb2.ExportFormat.ValueType":
    """Return the form of a sound's file."""
    if product.format == graph_pb2.EXPORT_FORMAT_UNSPECIFIED:
        return graph_pb2.EXPORT_FORMAT_WAV
    if product.format not in _SOUND_FORMATS:
        raise InvalidArgumentError(f"{field}.format", product.format, "WAV, FLAC or M4A")
    return product.format
