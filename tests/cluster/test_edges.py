"""Who calls whom: the edges that NetworkPolicies allow are those that the traces of every kind of film show."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from kino.client import Kino
from kino.images import encode_png
from services.service import NAMES
from tests.cluster import release
from tests.cluster.place import NODE_ADDRESS
from tests.cluster.tools import get, until
from tests.people import picture

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
COMPONENT = "app.kubernetes.io/component"
Edge = tuple[str, str]


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the service and the parent of every span, by the span's id."""

    def __init__(self) -> None:
        self.spans: dict[bytes, tuple[str, bytes]] = {}

    def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_spans:
            (service,) = (row.value.string_value for row in resource.resource.attributes if row.key == "service.name")
            for scope in resource.scope_spans:
                self.spans |= {span.span_id: (service, span.parent_span_id) for span in scope.spans}
        return trace_service_pb2.ExportTraceServiceResponse()

    def edges(self) -> set[Edge]:
        """Services that called others."""
        pairs = {(self.spans[parent][0], service) for service, parent in self.spans.values() if parent in self.spans}
        return {(caller, called) for caller, called in pairs if caller != called}


@pytest.fixture
def collector(installed: None) -> Iterator[Collector]:
    """A collector that the release sends its spans to."""
    kept, server = Collector(), grpc.server(ThreadPoolExecutor(2))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(kept, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port(f"{NODE_ADDRESS}:4317")
    server.start()
    release.install({**release.TRIAL, "monitoring": {"traces": f"http://{NODE_ADDRESS}:{port}"}})
    yield kept
    release.install(release.TRIAL)
    server.stop(None)


def allowed() -> set[Edge]:
    """The edges between services that the policies of the release name."""
    edges = set()
    for policy in get("networkpolicies", f"--namespace={release.NAMESPACE}")["items"]:
        called = policy["spec"]["podSelector"]["matchLabels"].get(COMPONENT)
        for rule in policy["spec"].get("ingress", []):
            for peer in rule.get("from", []):
                caller = peer["podSelector"]["matchLabels"].get(COMPONENT)
                edges |= {(caller, called)} & {(a, b) for a in NAMES for b in NAMES}
    return edges


def test_policies_allow_the_edges_that_traces_show_and_no_others(collector: Collector, kino: Kino) -> None:
    few = {"seconds": 0.5, "steps": 2, "seed": 11}
    film = kino.film("a blue ball bounces", fresh=True, **few)  # type: ignore[arg-type]
    kino.edit(film.video, "make the ball red", fresh=True, steps=2)
    kino.personalize(encode_png(picture(1)), "she waves", fresh=True, **few)  # type: ignore[arg-type]
    kino.upscale(film.video, fresh=True, steps=1)
    expected = {("graph", name) for name in NAMES if name != "graph"}
    until(lambda: collector.edges() >= expected, 60, f"the spans of {sorted(expected - collector.edges())}")
    assert collector.edges() == expected == allowed()
