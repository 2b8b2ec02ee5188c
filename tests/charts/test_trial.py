"""What the chart brings besides its services: servers for trials, Ray, volumes, a dashboard, an entrance, traces."""

import json
import re
from importlib import import_module
from typing import Any

import pytest
import yaml
from prometheus_client import REGISTRY

from services.graph.ray_service import application
from services.service import NAMES
from tests.charts.rendering import APIS, CHART, ROOT, Chart, pod

GRPC_ROUTE = "gateway.networking.k8s.io/v1/GRPCRoute"
SECRET = {"secretKeyRef": {"name": "kino-trial", "key": "password"}}


def environment(spec: dict[str, Any]) -> dict[str, Any]:
    return {row["name"]: row.get("value", row.get("valueFrom")) for row in spec["containers"][0]["env"]}


def test_a_trial_needs_nothing_but_one_secret(chart: Chart) -> None:
    found = chart.render({}, "values-cpu.yaml", own=True)
    assert {name for kind, name in found if kind == "StatefulSet"} == {"demo-kino-minio", "demo-kino-postgresql"}
    assert not [name for kind, name in found if kind in ("Secret", "PersistentVolumeClaim")]
    store = "s3://kino/artifacts?endpoint=http://demo-kino-minio:9000"
    for name in NAMES:
        assert f"--store={store}" in pod(found, name)["containers"][0]["args"]
    minio = pod(found, "minio", "StatefulSet")
    assert environment(minio)["MINIO_ROOT_PASSWORD"] == {
        "secretKeyRef": {"name": "kino-trial", "key": "AWS_SECRET_ACCESS_KEY"}
    }
    graph = environment(pod(found, "graph"))
    assert graph["KINO_LEDGER"] == "postgresql://kino:$(KINO_DATABASE_PASSWORD)@demo-kino-postgresql:5432/kino"
    assert graph["KINO_DATABASE_PASSWORD"] == SECRET
    assert environment(pod(found, "postgresql", "StatefulSet"))["POSTGRES_PASSWORD"] == SECRET
    bucket = pod(found, "minio-bucket-1", "Job")
    assert bucket["containers"][0]["command"] == ["kino", "store", "prepare", store]
    assert found["Deployment", "demo-kino-graph"]["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_production_brings_no_servers(chart: Chart) -> None:
    found = chart.render({}, "values-h100.yaml")
    assert not [name for kind, name in found if kind in ("StatefulSet", "Job")]
    assert not [name for _, name in found if "minio" in name or "postgresql" in name]


def test_servers_of_a_trial_keep_to_the_restricted_profile(chart: Chart) -> None:
    found = chart.render({}, "values-cpu.yaml", own=True)
    for name, kind in (("minio", "StatefulSet"), ("postgresql", "StatefulSet"), ("minio-bucket-1", "Job")):
        spec = pod(found, name, kind)
        (container,) = spec["containers"]
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert container["resources"]["limits"]["memory"]


def test_data_of_a_trial_lies_on_volumes_or_goes_with_its_pod(chart: Chart) -> None:
    found = chart.render({"minio": {"volume": {"size": "20Gi", "storageClass": "fast"}}}, "values-cpu.yaml", own=True)
    (claim,) = found["StatefulSet", "demo-kino-minio"]["spec"]["volumeClaimTemplates"]
    assert claim["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "storageClassName": "fast",
        "resources": {"requests": {"storage": "20Gi"}},
    }
    values = {name: {"volume": {"enabled": False}} for name in ("minio", "postgresql")}
    found = chart.render(values, "values-cpu.yaml", own=True)
    for name in values:
        assert "volumeClaimTemplates" not in found["StatefulSet", f"demo-kino-{name}"]["spec"]
        assert {"name": "data", "emptyDir": {}} in pod(found, name, "StatefulSet")["volumes"]


def test_only_who_needs_a_server_of_the_trial_may_call_it(chart: Chart) -> None:
    found = chart.render({}, "values-cpu.yaml", own=True)
    (rule,) = found["NetworkPolicy", "demo-kino-postgresql"]["spec"]["ingress"]
    (peer,) = rule["from"]
    assert peer["podSelector"]["matchExpressions"][0]["values"] == ["graph", "graph-worker"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 5432}]
    (rule,) = found["NetworkPolicy", "demo-kino-minio"]["spec"]["ingress"]
    assert rule["from"] == [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": "kino"}}}]


@pytest.mark.parametrize(("ray", "apis"), [("head", ("ray.io/v1/RayService",)), ("auto", ())])
def test_a_head_runs_ray_within_the_pod_of_the_graph(chart: Chart, ray: str, apis: tuple[str, ...]) -> None:
    found = chart.render({"graph": {"ray": ray}}, "values-cpu.yaml", apis=apis)
    assert not [name for kind, name in found if kind == "RayService"]
    container = pod(found, "graph")["containers"][0]
    assert "--ray" in container["args"]
    assert "--metrics-port=9090" not in container["args"]
    # Serve answers no health checks of gRPC
    assert container["readinessProbe"]["tcpSocket"] == container["livenessProbe"]["tcpSocket"] == {"port": 7000}
    assert container["startupProbe"]["exec"]["command"][:2] == ["kino", "generations"]
    assert {"name": "shm", "mountPath": "/dev/shm"} in container["volumeMounts"]
    assert "--ray" not in pod(found, "tae")["containers"][0]["args"]
    assert pod(found, "tae")["containers"][0]["readinessProbe"]["grpc"] == {"port": 7000}


@pytest.mark.parametrize("ray", ["service", "auto"])
def test_a_ray_service_takes_the_place_of_the_graphs_deployment(chart: Chart, ray: str) -> None:
    values = {"graph": {"ray": ray, "rayWorkers": 2}, "services": {"audio": {"enabled": False}}}
    found = chart.render(values, "values-cpu.yaml", own=True)
    assert ("Deployment", "demo-kino-graph") not in found
    spec = found["RayService", "demo-kino-graph"]["spec"]
    head = spec["rayClusterConfig"]["headGroupSpec"]["template"]
    selector = found["Service", "demo-kino-graph"]["spec"]["selector"]
    assert selector.items() <= head["metadata"]["labels"].items()
    ports = {row["name"]: row["containerPort"] for row in head["spec"]["containers"][0]["ports"]}
    assert ports["serve-grpc"] == 7000  # without a port of such a name KubeRay gives the service up
    (workers,) = spec["rayClusterConfig"]["workerGroupSpecs"]
    assert (workers["minReplicas"], workers["maxReplicas"]) == (2, 2)
    assert not selector.items() <= workers["template"]["metadata"]["labels"].items()
    for template in (head, workers["template"]):
        (container,) = template["spec"]["containers"]
        assert template["spec"]["automountServiceAccountToken"] is False
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert environment(template["spec"])["KINO_DATABASE_PASSWORD"] == SECRET
    policy = found["NetworkPolicy", "demo-kino-ray"]["spec"]
    assert policy["ingress"][0]["from"] == [{"podSelector": policy["podSelector"]}]


def test_what_ray_serve_is_told_makes_the_application(chart: Chart, monkeypatch: pytest.MonkeyPatch) -> None:
    found = chart.render({"graph": {"ray": "service"}, "version": "v1"}, "values-cpu.yaml", own=True)
    told = yaml.safe_load(found["RayService", "demo-kino-graph"]["spec"]["serveConfigV2"])
    assert told["grpc_options"] == {
        "port": 7000,
        "grpc_servicer_functions": ["kino.v1.graph_pb2_grpc.add_GraphServiceServicer_to_server"],
    }
    (app,) = told["applications"]
    module, _, name = app["import_path"].partition(":")
    assert getattr(import_module(module), name) is application
    peers = {name: f"demo-kino-{name}:7000" for name in NAMES if name != "graph"}
    assert app["args"]["peers"] == peers
    monkeypatch.setenv("KINO_LEDGER", "sqlite:////tmp/ledger.sqlite")
    assert type(application(app["args"])).__name__ == "Application"
    for args, message in (
        ({**app["args"], "peer": {}}, r"args are .*: \['peer'\]"),
        ({"preset": "nano", "peers": peers}, r"must have preset, store, peers .*: \['store'\]"),
    ):
        with pytest.raises(ValueError, match=message):
            application(args)
    monkeypatch.delenv("KINO_LEDGER")
    with pytest.raises(ValueError, match="KINO_LEDGER is empty, must be the URL of the ledger"):
        application(app["args"])


def test_the_version_of_ray_is_that_of_the_image(chart: Chart) -> None:
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    assert f"\nray=={values['graph']['rayVersion']}\n" in (ROOT / "constraints.txt").read_text()


@pytest.mark.parametrize(
    ("place", "volume"),
    [
        ({"claim": "weights"}, {"persistentVolumeClaim": {"claimName": "weights", "readOnly": True}}),
        (
            {"image": "registry:5000/weights:1"},
            {"image": {"reference": "registry:5000/weights:1", "pullPolicy": "IfNotPresent"}},
        ),
    ],
)
def test_models_may_lie_on_a_volume_that_is_only_read(
    chart: Chart, place: dict[str, str], volume: dict[str, Any]
) -> None:
    found = chart.render({"modelsVolume": place}, "values-cpu.yaml")
    for name in NAMES:
        spec = pod(found, name)
        assert "--models=/models" in spec["containers"][0]["args"]
        assert {"name": "models", "mountPath": "/models", "readOnly": True} in spec["containers"][0]["volumeMounts"]
        assert {"name": "models", **volume} in spec["volumes"]


def test_the_dashboard_shows_what_the_services_measure(chart: Chart) -> None:
    for module in ("kino.interceptors", "kino.compute", "kino.batches", "services.graph.director"):
        import_module(module)
    measured = {name for metric in REGISTRY.collect() for name in _series(metric.name, metric.type)}
    found = chart.render({}, "values-h100.yaml")
    config = found["ConfigMap", "demo-kino-dashboard"]
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    board = json.loads(config["data"]["kino.json"])
    shown = {target["expr"] for panel in board["panels"] for target in panel["targets"]}
    named = {name for expression in shown for name in re.findall(r"(?:kino|grpc_server)_\w+", expression)}
    assert named <= measured
    assert {name for name in measured if name.startswith("kino_") and not name.endswith(("_sum", "_count"))} <= named
    assert ("ConfigMap", "demo-kino-dashboard") not in chart.render({}, "values-cpu.yaml")


def _series(name: str, kind: str) -> list[str]:
    endings = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}
    return [name + ending for ending in endings.get(kind, [""])]


def test_clients_outside_have_an_entrance_of_every_kind(chart: Chart) -> None:
    found = chart.render({"entrance": {"type": "LoadBalancer", "annotations": {"pool": "films"}}}, "values-cpu.yaml")
    entrance = found["Service", "demo-kino"]
    annotations = {"pool": "films", "traefik.ingress.kubernetes.io/service.serversscheme": "h2c"}
    assert (entrance["spec"]["type"], entrance["metadata"]["annotations"]) == ("LoadBalancer", annotations)
    assert entrance["spec"]["ports"][0]["appProtocol"] == "kubernetes.io/h2c"
    assert entrance["spec"]["selector"]["app.kubernetes.io/component"] == "graph"
    assert not [kind for kind, _ in found if kind in ("Ingress", "GRPCRoute")]
    ingress = {"host": "films.example", "className": "nginx", "tlsSecret": "films-tls"}
    route = {"gateway": "edge", "namespace": "net", "listener": "tls", "host": "films.example"}
    entrance = {"ingress": ingress, "route": route}
    found = chart.render({"entrance": entrance}, "values-cpu.yaml", apis=(*APIS, GRPC_ROUTE))
    made = found["Ingress", "demo-kino"]
    assert made["spec"]["tls"] == [{"hosts": ["films.example"], "secretName": "films-tls"}]
    assert made["metadata"]["annotations"]["nginx.ingress.kubernetes.io/backend-protocol"] == "GRPC"
    assert made["metadata"]["annotations"]["traefik.ingress.kubernetes.io/router.tls"] == "true"
    (rule,) = made["spec"]["rules"]
    backend = {"service": {"name": "demo-kino", "port": {"name": "grpc"}}}
    assert (rule["host"], rule["http"]["paths"][0]["backend"]) == ("films.example", backend)
    route = found["GRPCRoute", "demo-kino"]["spec"]
    assert route["parentRefs"] == [{"name": "edge", "namespace": "net", "sectionName": "tls"}]
    assert route["hostnames"] == ["films.example"]
    assert route["rules"] == [{"backendRefs": [{"name": "demo-kino", "port": 7000}]}]


def test_traces_go_where_a_collector_is_named(chart: Chart) -> None:
    collector = "http://collector.monitoring:4317"
    found = chart.render({"monitoring": {"traces": collector}}, "values-cpu.yaml")
    variable = {"name": "OTEL_EXPORTER_OTLP_ENDPOINT", "value": collector}
    assert all(variable in pod(found, name)["containers"][0]["env"] for name in NAMES)
    trace = {"ports": [{"protocol": "TCP", "port": 4317}]}
    assert trace in found["NetworkPolicy", "demo-kino"]["spec"]["egress"]
    assert trace not in chart.render({}, "values-cpu.yaml")["NetworkPolicy", "demo-kino"]["spec"]["egress"]
