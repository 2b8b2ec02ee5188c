"""What people ask the graph for, as the messages it takes."""

from collections.abc import Mapping
from typing import Any, TypedDict, TypeVar, Unpack

from google.protobuf.message import Message

from kino.errors import InvalidArgumentError
from kino.v1 import generator_pb2, graph_pb2, media_pb2


class SamplingOptions(TypedDict, total=False):
    """How the flow is integrated; what is left out is the served model's own value.

    Args:
        steps: denoising steps.
        linear_steps: steps of the uniform schedule whose beginning the sampler follows, at least `steps`.
        guidance: classifier-free guidance scale; 1 is none.
    """

    steps: int
    linear_steps: int
    guidance: float


class ImageOptions(SamplingOptions, total=False):
    """What may be said beside the prompt; what is left out is the served model's own value.

    Args:
        negative_prompt: what to move away from.
        aspect: width to height by name, for example "16:9"; or give `size`.
        size: height and width in pixels.
        seed: seed of every choice, 0 to 2^63 - 1; left out, the graph draws one and tells it.
        verbatim: give the prompt to the encoder as it is, without the rewriter.
        adapters: what changes the generator for this one alone: its weight by the adapter's name, in this order.
    """

    negative_prompt: str
    aspect: str
    size: tuple[int, int]
    seed: int
    verbatim: bool
    adapters: Mapping[str, float]


class FilmOptions(ImageOptions, total=False):
    """The options of an image, and those of time.

    Args:
        seconds: length, above 0.
        fps: frames per second.
        silent: leave the sound out.
        quality: "standard", or "hd" for full HD; of films of a sentence.
    """

    seconds: float
    fps: int
    silent: bool
    quality: str


class SoundOptions(SamplingOptions, total=False):
    """What may be said of a sound; what is left out is the served model's own value.

    Args:
        description: what is heard, effects and ambience, in free words.
        music: style and mood of the music, in free words; left out for none.
        seed: seed of the noise, 0 to 2^63 - 1; left out, the graph draws one and tells it.
    """

    description: str
    music: str
    seed: int


class SoundAloneOptions(SoundOptions, total=False):
    """The options of a sound, and those of one without a video.

    Args:
        seconds: length, above 0.
        form: of the file: "wav", "flac" or "m4a".
    """

    seconds: float
    form: str


class EditOptions(SamplingOptions, total=False):
    """What may be said of an edit beside the instruction; what is left out is the served model's own value.

    Args:
        seed: seed of the noise, 0 to 2^63 - 1; left out, the graph draws one and tells it.
        source_guidance: how closely to keep to the video; 1 is no more than the model does by itself.
        new_sound: make the sound anew; otherwise the video keeps what it has.
    """

    seed: int
    source_guidance: float
    new_sound: bool


class UpscaleOptions(TypedDict, total=False):
    """What may be said beside a video to be brought to full HD.

    Args:
        seed: seed of the noise, 0 to 2^63 - 1; left out, the graph draws one and tells it.
        steps: denoising steps; left out, the served model's own value.
    """

    seed: int
    steps: int


class AnimateOptions(SamplingOptions, total=False):
    """What may be said beside a picture and the prompt; as in `FilmOptions` and `EditOptions`.

    Without aspect and size the film has the size that is nearest to the picture.
    """

    negative_prompt: str
    aspect: str
    size: tuple[int, int]
    seconds: float
    fps: int
    seed: int
    source_guidance: float
    verbatim: bool
    silent: bool
    adapters: Mapping[str, float]


M = TypeVar("M", bound=Message)
Product = TypeVar(
    "Product", graph_pb2.TextToVideo, graph_pb2.TextToImage, graph_pb2.ImageToVideo, graph_pb2.PersonalizeVideo
)
Plain = TypeVar("Plain", graph_pb2.SoundForVideo, graph_pb2.TextToSound, graph_pb2.EditVideo)
SOUND_FORMS = ("wav", "flac", "m4a")
QUALITIES = ("standard", "hd")
_SAMPLING = tuple(SamplingOptions.__annotations__)


def text_to_video(prompt: str, **options: Unpack[FilmOptions]) -> graph_pb2.GenerationSpec:
    """Return the order for a film of `prompt`; raises `InvalidArgumentError` for what no message can hold."""
    return graph_pb2.GenerationSpec(text_to_video=_product(graph_pb2.TextToVideo(), prompt, options))


def text_to_image(prompt: str, **options: Unpack[ImageOptions]) -> graph_pb2.GenerationSpec:
    """Return the order for a picture of `prompt`; raises `InvalidArgumentError` for what no message can hold."""
    return graph_pb2.GenerationSpec(text_to_image=_product(graph_pb2.TextToImage(), prompt, options))


def sound_for_video(uri: str, media_type: str, **options: Unpack[SoundOptions]) -> graph_pb2.GenerationSpec:
    """Return the order for the sound of a video in the graph's store; raises as `text_to_video`."""
    product = graph_pb2.SoundForVideo(video=media_pb2.Media(media_type=media_type, uri=uri))
    return graph_pb2.GenerationSpec(sound_for_video=_plain(product, options))


def text_to_sound(**options: Unpack[SoundAloneOptions]) -> graph_pb2.GenerationSpec:
    """Return the order for a sound of words; raises as `text_to_video`, or for a form that there is not."""
    product, form = graph_pb2.TextToSound(), options.get("form")
    if form is not None:
        if form not in SOUND_FORMS:
            raise InvalidArgumentError("form", form, f"one of {', '.join(SOUND_FORMS)}")
        product.format = graph_pb2.ExportFormat.Value(f"EXPORT_FORMAT_{form.upper()}")
    return graph_pb2.GenerationSpec(text_to_sound=_plain(product, options))


def edit_video(uri: str, media_type: str, instruction: str, **options: Unpack[EditOptions]) -> graph_pb2.GenerationSpec:
    """Return the order for an edit of a video in the graph's store; raises as `text_to_video`."""
    product = graph_pb2.EditVideo(video=media_pb2.Media(media_type=media_type, uri=uri))
    return graph_pb2.GenerationSpec(edit_video=_plain(product, {"instruction": instruction, **options}))


def image_to_video(
    uri: str, media_type: str, prompt: str, **options: Unpack[AnimateOptions]
) -> graph_pb2.GenerationSpec:
    """Return the order for a film that begins with a picture in the graph's store; raises as `text_to_video`."""
    product = graph_pb2.ImageToVideo(image=media_pb2.Media(media_type=media_type, uri=uri))
    return graph_pb2.GenerationSpec(image_to_video=_product(product, prompt, options))


def personalize_video(
    uri: str, media_type: str, prompt: str, **options: Unpack[FilmOptions]
) -> graph_pb2.GenerationSpec:
    """Return the order for a film of the person of a picture in the graph's store; raises as `text_to_video`."""
    product = graph_pb2.PersonalizeVideo(image=media_pb2.Media(media_type=media_type, uri=uri))
    return graph_pb2.GenerationSpec(personalize_video=_product(product, prompt, options))


def upscale_video(uri: str, media_type: str, **options: Unpack[UpscaleOptions]) -> graph_pb2.GenerationSpec:
    """Return the order for a video of the graph's store in full HD; raises as `text_to_video`."""
    product = graph_pb2.UpscaleVideo(video=media_pb2.Media(media_type=media_type, uri=uri))
    return graph_pb2.GenerationSpec(upscale_video=fill(product, options))


def _plain(product: Plain, options: Mapping[str, Any]) -> Plain:
    """Fill in a product whose fields are called as the options, but for the sampling and the form."""
    fill(product, {name: value for name, value in options.items() if name not in (*_SAMPLING, "form")})
    if any(name in options for name in _SAMPLING):
        product.sampling.CopyFrom(sampling(options))
    return product


def sampling(options: Mapping[str, Any]) -> generator_pb2.Sampling:
    """Return the sampling that the options name among others; what they do not name stays unset."""
    return fill(generator_pb2.Sampling(), {name: options[name] for name in _SAMPLING if name in options})


def _product(product: Product, prompt: str, options: Mapping[str, Any]) -> Product:
    if "aspect" in options and "size" in options:
        raise InvalidArgumentError("size", options["size"], "left out where an aspect is given")
    plain = {name: value for name, value in options.items() if name not in (*_SAMPLING, "size", "adapters")}
    if "quality" in plain and "quality" in product.DESCRIPTOR.fields_by_name:
        plain["quality"] = _quality(plain["quality"])
    fill(product, {"prompt": prompt, **plain})
    if "size" in options:
        height, width = options["size"]
        fill(product.pixels, {"height": height, "width": width})
        product.pixels.SetInParent()
    if options.get("adapters"):
        if isinstance(product, graph_pb2.PersonalizeVideo):
            bound = f"left out: {product.DESCRIPTOR.name} takes none"
            raise InvalidArgumentError("adapters", ", ".join(options["adapters"]), bound)
        product.adapters.extend(adapters_of(options))
    if any(name in options for name in _SAMPLING):
        product.sampling.CopyFrom(sampling(options))
    return product


def adapters_of(options: Mapping[str, Any]) -> list[generator_pb2.Adapter]:
    """Return the adapters that the options name among others."""
    given = options.get("adapters", {}).items()
    return [fill(generator_pb2.Adapter(), {"name": name, "weight": weight}) for name, weight in given]


def _quality(name: str) -> int:
    if name not in QUALITIES:
        raise InvalidArgumentError("quality", name, f"one of {', '.join(QUALITIES)}")
    return graph_pb2.Quality.Value(f"QUALITY_{name.upper()}")


def fill(message: M, values: Mapping[str, Any]) -> M:
    """Return the message with scalar fields set; raises `InvalidArgumentError` for a value that a field cannot hold."""
    for name, value in values.items():
        if name not in message.DESCRIPTOR.fields_by_name:
            raise InvalidArgumentError(name, value, f"left out: {message.DESCRIPTOR.name} has no such field")
        try:
            setattr(message, name, value)
        except UnicodeEncodeError:
            raise InvalidArgumentError(name, value, "valid Unicode text") from None
        except (TypeError, ValueError) as error:
            field = message.DESCRIPTOR.fields_by_name[name]
            bound = "text" if field.type == field.TYPE_STRING else f"a number that the message can hold ({error})"
            raise InvalidArgumentError(name, value, bound) from None
    return message
