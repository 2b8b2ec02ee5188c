"""Whether the parts of a pipeline fit each other, and what they add to a request that leaves things open."""

from collections.abc import Mapping

from google.protobuf.message import Message

from kino import bounds
from kino.errors import FailedPreconditionError
from kino.v1 import (
    audio_pb2,
    editor_pb2,
    generator_pb2,
    graph_pb2,
    info_pb2,
    personalizer_pb2,
    tensor_pb2,
    upsampler_pb2,
)
from services.graph.pipeline import Node, Plan

Denoising = generator_pb2.GenerateRequest | editor_pb2.EditRequest | personalizer_pb2.PersonalizeRequest

_CHECKPOINT_SECONDS = 2.0  # of work is what a crash costs, and a step


def check_fit(plan: Plan, infos: Mapping[str, info_pb2.Info]) -> None:
    """Refuse a pipeline that joins parts trained on different spaces.

    Args:
        infos: what the services say of themselves, by component.

    Raises:
        FailedPreconditionError: a TAE would read latents of another space, a decoder of sound those of another or none,
            or a generator embeddings of other towers.
    """
    for node in plan.nodes.values():
        for field, source in node.inputs.items():
            origin = plan.nodes[source.node]
            if field == "latents":
                _check_latents(origin, node, infos)
            elif field == "embeddings":
                _check_text(origin, node, infos)
            elif field == "sound_latents":
                _check_sound(origin, node, infos)


def fill_defaults(pipeline: graph_pb2.Pipeline, infos: Mapping[str, info_pb2.Info]) -> None:
    """Write what the requests leave open into them, so that the pipeline means the same tomorrow.

    Everything large travels by uri, and what denoises pictures leaves checkpoints.
    """
    for node in pipeline.nodes:
        request: Message = getattr(node, node.WhichOneof("call") or "rewrite")
        if "delivery" in request.DESCRIPTOR.fields_by_name:
            request.delivery = tensor_pb2.DELIVERY_STORE  # type: ignore[attr-defined]
        if isinstance(request, generator_pb2.GenerateRequest):
            _fill_sampling(request, infos["generator"].limits)
        if isinstance(request, personalizer_pb2.PersonalizeRequest):
            _fill_sampling(request, infos["personalizer"].limits)
        if isinstance(request, editor_pb2.EditRequest):
            _fill_sampling(request, infos["editor"].limits)
            if not request.HasField("source_guidance"):
                of_picture = request.task == editor_pb2.EDIT_TASK_IMAGE
                bound = bounds.guidance_range(infos["editor"].limits, of_picture=of_picture)
                request.source_guidance = bound.default_value
        if isinstance(request, upsampler_pb2.UpsampleRequest) and not request.HasField("steps"):
            request.steps = infos["upsampler"].limits.steps.default_value
        if isinstance(request, audio_pb2.AudioServiceGenerateRequest):
            _fill_sound(request.sampling, infos["audio"].limits)


def _fill_sampling(request: Denoising, limits: info_pb2.Limits) -> None:
    sampling = request.sampling
    if not sampling.HasField("steps"):
        sampling.steps = limits.steps.default_value
    if not sampling.HasField("linear_steps") and limits.HasField("linear_steps"):
        sampling.linear_steps = max(sampling.steps, limits.linear_steps.default_value)
    if not sampling.HasField("guidance") and limits.HasField("guidance"):
        sampling.guidance = limits.guidance.default_value
    if not (request.HasField("checkpoint_every") or request.HasField("checkpoint_seconds")):
        request.checkpoint_seconds = _CHECKPOINT_SECONDS


def _fill_sound(sampling: generator_pb2.Sampling, limits: info_pb2.Limits) -> None:
    if not sampling.HasField("steps"):
        sampling.steps = limits.steps.default_value
    if not sampling.HasField("linear_steps"):
        sampling.linear_steps = sampling.steps
    if not sampling.HasField("guidance"):
        sampling.guidance = limits.guidance.default_value


def _check_latents(origin: Node, reader: Node, infos: Mapping[str, info_pb2.Info]) -> None:
    made, read = infos[origin.call.component], infos[reader.call.component]
    if made.latent_space.digest != read.latent_space.digest:
        raise FailedPreconditionError(
            f"{_told(made)} and {_told(read)} do not fit: {origin.name} gives latents of the space "
            f"{_short(made.latent_space.digest)}, {reader.name} reads {_short(read.latent_space.digest)}"
        )


def _check_sound(origin: Node, reader: Node, infos: Mapping[str, info_pb2.Info]) -> None:
    made, read = infos[origin.call.component], infos[reader.call.component]
    if made.sound_space.digest != read.sound_space.digest or not made.HasField("sound_space"):
        gives = _short(made.sound_space.digest) if made.HasField("sound_space") else "none"
        raise FailedPreconditionError(
            f"{_told(made)} and {_told(read)} do not fit: {reader.name} decodes sound of the space "
            f"{_short(read.sound_space.digest)}, {origin.name} gives {gives}"
        )


def _check_text(origin: Node, reader: Node, infos: Mapping[str, info_pb2.Info]) -> None:
    made, read = infos[origin.call.component], infos[reader.call.component]
    given = {space.tower: space for space in made.text_spaces}
    for space in read.text_spaces:
        found = given.get(space.tower)
        if found is not None and found.width != space.width:
            raise FailedPreconditionError(
                f"{_told(made)} and {_told(read)} do not fit: {reader.name} reads rows of {space.tower} that are "
                f"{space.width} wide, those of {origin.name} are {found.width}"
            )
        if found is None or found.digest != space.digest:
            gives = "none" if found is None else _short(found.digest)
            raise FailedPreconditionError(
                f"{_told(made)} and {_told(read)} do not fit: {reader.name} was trained on embeddings of "
                f"{space.tower} {_short(space.digest)}, {origin.name} gives {gives}"
            )


def _told(info: info_pb2.Info) -> str:
    return f"{info.component} {info.version}"


def _short(digest: str) -> str:
    return digest[:12] or "unknown"
