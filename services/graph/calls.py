"""The kinds of call a pipeline may hold: one row each."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from google.protobuf.message import Message

from kino.v1 import (
    audio_pb2,
    audio_pb2_grpc,
    editor_pb2,
    editor_pb2_grpc,
    encoder_pb2,
    encoder_pb2_grpc,
    generator_pb2,
    generator_pb2_grpc,
    graph_pb2,
    personalizer_pb2,
    personalizer_pb2_grpc,
    progress_pb2,
    rewriter_pb2,
    rewriter_pb2_grpc,
    tae_pb2,
    tae_pb2_grpc,
    upsampler_pb2,
    upsampler_pb2_grpc,
)

Event: TypeAlias = progress_pb2.Progress | generator_pb2.Checkpoint | Message
"""What a call tells: how far it is, a state to go on from, and last its result."""

GRAPH = "graph"  # the component of calls that the graph answers itself


@dataclass(frozen=True)
class Call:
    """One kind of call.

    Args:
        name: the field of `PipelineNode.call`.
        component: the service that answers it.
        method: its name in that service.
        request: the message whose fields are its inputs.
        result: the message whose fields are its outputs.
        required: inputs that must be set or fed; of a group joined by `|`, one.
        streams: whether the answer is a stream of events; otherwise the result is the answer.
        timeout_seconds: time allowed for one call, waiting in the service's queue included.
    """

    name: str
    component: str
    method: str
    request: type[Message]
    result: type[Message]
    required: tuple[str, ...]
    streams: bool
    timeout_seconds: float

    @property
    def resumes(self) -> bool:
        """Whether a broken call can go on from its last checkpoint."""
        return "resume_from" in self.request.DESCRIPTOR.fields_by_name


CALLS = {
    call.name: call
    for call in (
        Call(
            "rewrite", "rewriter", "Rewrite", rewriter_pb2.RewriteRequest, rewriter_pb2.RewriteResponse,
            ("prompt",), streams=False, timeout_seconds=300,
        ),
        Call(
            "encode", "encoder", "Encode", encoder_pb2.EncodeRequest, encoder_pb2.EncodeResponse,
            ("prompt",), streams=False, timeout_seconds=300,
        ),
        Call(
            "generate", "generator", "Generate", generator_pb2.GenerateRequest, generator_pb2.GenerateResult,
            ("embeddings", "frames", "height", "width"), streams=True, timeout_seconds=6 * 3600,
        ),
        Call(
            "tae_encode", "tae", "Encode", tae_pb2.TaeServiceEncodeRequest, tae_pb2.TaeServiceEncodeResult,
            ("video|frames",), streams=True, timeout_seconds=3600,
        ),
        Call(
            "tae_decode", "tae", "Decode", tae_pb2.TaeServiceDecodeRequest, tae_pb2.TaeServiceDecodeResult,
            ("latents", "frames"), streams=True, timeout_seconds=3600,
        ),
        Call(
            "sound", "audio", "Generate", audio_pb2.AudioServiceGenerateRequest, audio_pb2.AudioServiceGenerateResult,
            ("video|seconds",), streams=True, timeout_seconds=6 * 3600,
        ),
        Call(
            "sound_decode", "audio", "Decode", audio_pb2.AudioServiceDecodeRequest, audio_pb2.AudioServiceDecodeResult,
            ("sound_latents", "frames", "fps"), streams=True, timeout_seconds=3600,
        ),
        Call(
            "interpret", "editor", "Interpret", editor_pb2.InterpretRequest, editor_pb2.InterpretResponse,
            ("instruction",), streams=False, timeout_seconds=60,
        ),
        Call(
            "edit", "editor", "Edit", editor_pb2.EditRequest, editor_pb2.EditResult,
            ("embeddings", "task", "latents", "frames"), streams=True, timeout_seconds=6 * 3600,
        ),
        Call(
            "identify", "personalizer", "Identify", personalizer_pb2.IdentifyRequest,
            personalizer_pb2.IdentifyResponse, ("image",), streams=False, timeout_seconds=3600,
        ),
        Call(
            "personalize", "personalizer", "Personalize", personalizer_pb2.PersonalizeRequest,
            personalizer_pb2.PersonalizeResult, ("embeddings", "identity", "frames", "height", "width"),
            streams=True, timeout_seconds=6 * 3600,
        ),
        Call(
            "upsample", "upsampler", "Upsample", upsampler_pb2.UpsampleRequest, upsampler_pb2.UpsampleResult,
            ("video",), streams=True, timeout_seconds=6 * 3600,
        ),
        Call(
            "conform", GRAPH, "", graph_pb2.ConformRequest, graph_pb2.ConformResponse,
            ("media", "sizes", "max_frames"), streams=True, timeout_seconds=3600,
        ),
        Call(
            "export", GRAPH, "", graph_pb2.ExportRequest, graph_pb2.ExportResponse,
            ("video|sound",), streams=True, timeout_seconds=3600,
        ),
    )
}  # fmt: skip


@dataclass(frozen=True)
class Component:
    """How one service is called."""

    stub: Callable[[Any], Any]
    describe_request: type[Message]


COMPONENTS = {
    "rewriter": Component(rewriter_pb2_grpc.RewriterServiceStub, rewriter_pb2.RewriterServiceDescribeRequest),
    "encoder": Component(encoder_pb2_grpc.EncoderServiceStub, encoder_pb2.EncoderServiceDescribeRequest),
    "generator": Component(generator_pb2_grpc.GeneratorServiceStub, generator_pb2.GeneratorServiceDescribeRequest),
    "tae": Component(tae_pb2_grpc.TaeServiceStub, tae_pb2.TaeServiceDescribeRequest),
    "audio": Component(audio_pb2_grpc.AudioServiceStub, audio_pb2.AudioServiceDescribeRequest),
    "editor": Component(editor_pb2_grpc.EditorServiceStub, editor_pb2.EditorServiceDescribeRequest),
    "personalizer": Component(
        personalizer_pb2_grpc.PersonalizerServiceStub, personalizer_pb2.PersonalizerServiceDescribeRequest
    ),
    "upsampler": Component(upsampler_pb2_grpc.UpsamplerServiceStub, upsampler_pb2.UpsamplerServiceDescribeRequest),
}


def progress(step: int, of: int) -> progress_pb2.Progress:
    """Return how far a call is that the graph answers itself."""
    return progress_pb2.Progress(phase=progress_pb2.PHASE_RUNNING, step=step, of=of)
