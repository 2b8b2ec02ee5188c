"""A pipeline as data: what makes one sound, in which order its nodes run, how values flow between them."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

from kino.errors import InvalidArgumentError
from kino.v1 import graph_pb2, media_pb2, tensor_pb2
from services.graph.calls import CALLS, Call

MAX_NODES = 100
MAX_BYTES = 512 << 10  # large contents are in the store by then; what is left is names, numbers and prompts
_MAX_OUTPUTS = 100
_NAME = re.compile(r"[a-z0-9_-]{1,63}")
_NAME_BOUND = '1 to 63 of a-z, 0-9, "_" and "-"'
_ARTIFACTS = ("kino.v1.Media", "kino.v1.Tensor")


@dataclass(frozen=True)
class Port:
    """A field of a node."""

    node: str
    field: str


@dataclass(frozen=True)
class Node:
    """One call of a sound pipeline: its request, and which outputs feed the fields that are not set in it."""

    name: str
    call: Call
    request: Message
    inputs: Mapping[str, Port]

    def bind(self, results: Mapping[str, Message]) -> Message:
        """Return the request with the outputs of other nodes filled in."""
        request = type(self.request)()
        request.CopyFrom(self.request)
        for field, source in self.inputs.items():
            _copy_field(results[source.node], source.field, request, field)
        return request


@dataclass(frozen=True)
class Plan:
    """A sound pipeline: its nodes in an order in which they can run, and its outputs by name."""

    nodes: Mapping[str, Node]
    outputs: Mapping[str, Port]

    def sorter(self) -> TopologicalSorter[str]:
        """Return a sorter that tells which nodes are ready as others are done."""
        return _sorter(self.nodes)

    @property
    def components(self) -> list[str]:
        """Every service that the pipeline calls, each once."""
        return list(dict.fromkeys(node.call.component for node in self.nodes.values()))


def check(pipeline: graph_pb2.Pipeline, field: str = "spec.pipeline") -> Plan:
    """Return the plan of a pipeline.

    Args:
        field: where the pipeline stands in the client's request, for messages.

    Raises:
        InvalidArgumentError: it has no nodes or outputs or too many, names that are malformed or taken twice, a node
            without a call, an edge that dangles, joins two types or feeds an input twice, an input that nothing sets,
            an output that does not exist or is no artifact, or a cycle.
    """
    _check_counts(pipeline, field)
    nodes: dict[str, Node] = {}
    inputs: dict[str, dict[str, Port]] = {}
    for index, entry in enumerate(pipeline.nodes):
        place = f"{field}.nodes[{index}]"
        _check_name(entry.name, f"{place}.name", nodes)
        kind = entry.WhichOneof("call")
        if kind is None:
            raise InvalidArgumentError(f"{place}.call", None, f"one of {', '.join(CALLS)}")
        inputs[entry.name] = {}
        nodes[entry.name] = Node(entry.name, CALLS[kind], getattr(entry, kind), inputs[entry.name])
    for index, edge in enumerate(pipeline.edges):
        _connect(edge, nodes, inputs, f"{field}.edges[{index}]")
    for index, node in enumerate(nodes.values()):
        _check_complete(node, f"{field}.nodes[{index}].{node.call.name}")
    outputs = _outputs(pipeline, nodes, field)
    try:
        order = list(_sorter(nodes).static_order())
    except CycleError as error:
        raise InvalidArgumentError(f"{field}.edges", " -> ".join(error.args[1]), "free of cycles") from None
    return Plan({name: nodes[name] for name in order}, outputs)


def contents(message: Message, field: str) -> Iterator[tuple[media_pb2.Media | tensor_pb2.Tensor, str]]:
    """Yield every `Tensor` and `Media` inside a message, with its place."""
    for descriptor, value in message.ListFields():
        if descriptor.message_type is None:
            continue
        place = f"{field}.{descriptor.name}"
        entries = [(value, place)]
        if descriptor.is_repeated:
            entries = [(entry, f"{place}[{index}]") for index, entry in enumerate(value)]
        for entry, entry_place in entries:
            if isinstance(entry, media_pb2.Media | tensor_pb2.Tensor):
                yield entry, entry_place
            else:
                yield from contents(entry, entry_place)


def _check_counts(pipeline: graph_pb2.Pipeline, field: str) -> None:
    for name, count, maximum in (
        ("nodes", len(pipeline.nodes), MAX_NODES),
        ("outputs", len(pipeline.outputs), _MAX_OUTPUTS),
    ):
        if not 1 <= count <= maximum:
            raise InvalidArgumentError(f"{field}.{name}", f"{count} {name}", f"1 to {maximum} {name}")
    if pipeline.ByteSize() > MAX_BYTES:
        raise InvalidArgumentError(field, f"{pipeline.ByteSize()} bytes", f"at most {MAX_BYTES} bytes")


def _check_name(name: str, field: str, taken: Mapping[str, object]) -> None:
    if not _NAME.fullmatch(name):
        raise InvalidArgumentError(field, name, _NAME_BOUND)
    if name in taken:
        raise InvalidArgumentError(field, name, "a name that nothing else in the pipeline has")


def _connect(
    edge: graph_pb2.PipelineEdge, nodes: Mapping[str, Node], inputs: Mapping[str, dict[str, Port]], field: str
) -> None:
    source = _find(edge.source, nodes, f"{field}.source", output=True)
    target = _find(edge.target, nodes, f"{field}.target", output=False)
    if _type_name(source) != _type_name(target):
        raise InvalidArgumentError(
            field, f"{_type_name(source)} to {_type_name(target)}", "two fields of the same type"
        )
    node, fed = nodes[edge.target.node], inputs[edge.target.node]
    if edge.target.field in fed:
        raise InvalidArgumentError(f"{field}.target", _name(edge.target), "an input that no other edge feeds")
    group = target.containing_oneof
    rivals = [member.name for member in group.fields] if group is not None else [target.name]
    if any(_is_set(node.request, rival) or rival in fed for rival in rivals):
        raise InvalidArgumentError(f"{field}.target", _name(edge.target), "an input that is not set already")
    fed[edge.target.field] = Port(edge.source.node, edge.source.field)


def _find(port: graph_pb2.Port, nodes: Mapping[str, Node], field: str, *, output: bool) -> FieldDescriptor:
    if port.node not in nodes:
        raise InvalidArgumentError(f"{field}.node", port.node, "the name of a node of the pipeline")
    call = nodes[port.node].call
    fields = (call.result if output else call.request).DESCRIPTOR.fields_by_name
    if port.field not in fields:
        raise InvalidArgumentError(f"{field}.field", port.field, f"one of {', '.join(fields)}")
    return cast(FieldDescriptor, fields[port.field])


def _check_complete(node: Node, field: str) -> None:
    for group in node.call.required:
        choices = group.split("|")
        if not any(choice in node.inputs or _is_set(node.request, choice) for choice in choices):
            raise InvalidArgumentError(f"{field}.{choices[0]}", "", "set, or fed by an edge")


def _outputs(pipeline: graph_pb2.Pipeline, nodes: Mapping[str, Node], field: str) -> dict[str, Port]:
    outputs: dict[str, Port] = {}
    for index, output in enumerate(pipeline.outputs):
        place = f"{field}.outputs[{index}]"
        _check_name(output.name, f"{place}.name", outputs)
        found = _find(output.source, nodes, f"{place}.source", output=True)
        if _type_name(found) not in _ARTIFACTS:
            raise InvalidArgumentError(f"{place}.source", _name(output.source), "a Media or a Tensor")
        outputs[output.name] = Port(output.source.node, output.source.field)
    return outputs


def _sorter(nodes: Mapping[str, Node]) -> TopologicalSorter[str]:
    return TopologicalSorter({name: [port.node for port in node.inputs.values()] for name, node in nodes.items()})


def _type_name(field: FieldDescriptor) -> str:
    kind = field.message_type or field.enum_type
    name = kind.full_name if kind is not None else _SCALARS[field.type]
    return f"repeated {name}" if field.is_repeated else name


_SCALARS = {
    getattr(FieldDescriptor, name): name.removeprefix("TYPE_").lower()
    for name in dir(FieldDescriptor)
    if name.startswith("TYPE_")
}


def _is_set(message: Message, field: str) -> bool:
    return any(descriptor.name == field for descriptor, _ in message.ListFields())


def _copy_field(source: Message, source_field: str, target: Message, target_field: str) -> None:
    descriptor = target.DESCRIPTOR.fields_by_name[target_field]
    value = getattr(source, source_field)
    if descriptor.is_repeated:
        getattr(target, target_field).extend(value)
    elif descriptor.message_type is not None:
        getattr(target, target_field).CopyFrom(value)
    else:
        setattr(target, target_field, value)


def _name(port: graph_pb2.Port) -> str:
    return f"{port.node}.{port.field}"
