"""Adapters that an order names: given to its generator, with the digests that make it mean the same tomorrow."""

from collections.abc import Iterator, Mapping, Sequence

from kino import adapter_requests
from kino.errors import InvalidArgumentError
from kino.v1 import generator_pb2, graph_pb2, info_pb2


def named(spec: graph_pb2.GenerationSpec) -> bool:
    """Whether an order names adapters."""
    if spec.WhichOneof("product") == "pipeline":
        return any(request.adapters for _, request in _generators(spec.pipeline))
    return bool(of_product(spec))


def of_product(spec: graph_pb2.GenerationSpec) -> Sequence[generator_pb2.Adapter]:
    """The adapters that a product names; none of one that cannot."""
    kind = spec.WhichOneof("product")
    return getattr(getattr(spec, kind), "adapters", ()) if kind else ()


def give(pipeline: graph_pb2.Pipeline, adapters: Sequence[generator_pb2.Adapter], field: str) -> None:
    """Give the adapters of a product to its generator.

    Args:
        field: where they stand in the client's request.

    Raises:
        InvalidArgumentError: nothing that is made of it takes any.
    """
    requests = [request for _, request in _generators(pipeline)]
    if adapters and not requests:
        names = ", ".join(adapter.name for adapter in adapters)
        raise InvalidArgumentError(field, names, "left out: it is not made by the generator")
    for request in requests:
        request.adapters.extend(adapters)


def settle(pipeline: graph_pb2.Pipeline, infos: Mapping[str, info_pb2.Info], field: str = "") -> None:
    """Check the adapters of every generator, and write their digests and weights into its request.

    Args:
        infos: what the services say of themselves, by component.
        field: where adapters stand in the client's request; in the pipeline itself if empty.

    Raises:
        InvalidArgumentError, FailedPreconditionError: as `kino.adapter_requests.check`.
    """
    for place, request in _generators(pipeline):
        if not request.adapters:
            continue
        digests = {adapter.name: adapter.digest for adapter in infos["generator"].adapters}
        adapter_requests.check(request.adapters, field or place, digests)
        for adapter in request.adapters:
            adapter.weight = adapter_requests.weight_of(adapter)
            adapter.digest = digests[adapter.name]


def _generators(pipeline: graph_pb2.Pipeline) -> Iterator[tuple[str, generator_pb2.GenerateRequest]]:
    """Every request to the generator, with the place of its adapters."""
    for index, node in enumerate(pipeline.nodes):
        if node.WhichOneof("call") == "generate":
            yield f"spec.pipeline.nodes[{index}].generate.adapters", node.generate
