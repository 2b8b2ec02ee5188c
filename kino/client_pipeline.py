"""Pipelines of a client's own, put together call by call."""

from google.protobuf.message import Message

from kino.errors import InvalidArgumentError
from kino.v1 import (
    audio_pb2,
    editor_pb2,
    encoder_pb2,
    generator_pb2,
    graph_pb2,
    personalizer_pb2,
    rewriter_pb2,
    tae_pb2,
    upsampler_pb2,
)

Request = (
    rewriter_pb2.RewriteRequest
    | encoder_pb2.EncodeRequest
    | generator_pb2.GenerateRequest
    | tae_pb2.TaeServiceEncodeRequest
    | tae_pb2.TaeServiceDecodeRequest
    | audio_pb2.AudioServiceGenerateRequest
    | audio_pb2.AudioServiceDecodeRequest
    | editor_pb2.InterpretRequest
    | editor_pb2.EditRequest
    | personalizer_pb2.IdentifyRequest
    | personalizer_pb2.PersonalizeRequest
    | upsampler_pb2.UpsampleRequest
    | graph_pb2.ConformRequest
    | graph_pb2.ExportRequest
)
_CALLS = {
    field.message_type.full_name: field.name
    for field in graph_pb2.PipelineNode.DESCRIPTOR.oneofs_by_name["call"].fields
    if field.message_type is not None
}


class Outputs:
    """What a call gives: `outputs["latents"]` is a field of its response, to be fed to later calls."""

    def __init__(self, node: str) -> None:
        self._node = node

    def __getitem__(self, field: str) -> graph_pb2.Port:
        return graph_pb2.Port(node=self._node, field=field)


class Pipeline:
    """Calls and how their outputs flow into each other's inputs; the graph checks the whole when it is created."""

    def __init__(self) -> None:
        self._pipeline = graph_pb2.Pipeline()

    def call(self, name: str, request: Request, **inputs: graph_pb2.Port) -> Outputs:
        """Add a call and return what it gives.

        Args:
            name: of the call within the pipeline, 1 to 63 of a-z, 0-9, "_" and "-".
            request: everything that no earlier call feeds.
            inputs: the request's fields that earlier calls feed.
        """
        node = self._pipeline.nodes.add(name=name)
        _request_of(node, request).CopyFrom(request)
        for field, source in inputs.items():
            self._pipeline.edges.add(source=source, target=graph_pb2.Port(node=name, field=field))
        return Outputs(name)

    def output(self, name: str, source: graph_pb2.Port) -> None:
        """Make a medium or a tensor an artifact of the generation."""
        self._pipeline.outputs.add(name=name, source=source)

    def spec(self) -> graph_pb2.GenerationSpec:
        """Return the order for `generations.create` or `generations.run`."""
        return graph_pb2.GenerationSpec(pipeline=self._pipeline)


def _request_of(node: graph_pb2.PipelineNode, request: Message) -> Message:
    if request.DESCRIPTOR.full_name not in _CALLS:
        raise InvalidArgumentError("request", request.DESCRIPTOR.name, f"one of {', '.join(_CALLS)}")
    message: Message = getattr(node, _CALLS[request.DESCRIPTOR.full_name])
    message.SetInParent()
    return message
