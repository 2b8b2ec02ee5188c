"""The chart as Helm renders it; that it installs is for a cluster to show."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from services.service import NAMES
from tests.cluster import binaries

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "kino"
URL = "s3://kino/artifacts?endpoint=http://minio:9000"
NEEDED = {"store": URL, "storeSecret": "kino-s3"}
APIS = ("keda.sh/v1alpha1", "monitoring.coreos.com/v1")
Manifest = dict[str, Any]


def helm(
    tmp_path: Path, values: Manifest, *files: str, apis: tuple[str, ...] = APIS
) -> subprocess.CompletedProcess[str]:
    """What `helm template` says, with these values over those of the chart's files."""
    program = binaries.path("helm")
    if not program.exists():
        pytest.skip("needs Helm: python -m tests.cluster.binaries helm")
    (tmp_path / "values.yaml").write_text(yaml.safe_dump({**NEEDED, **values}))
    command: list[str | Path] = [program, "template", "demo", CHART, "--namespace", "films", "--kube-version", "1.35.0"]
    for file in (*(CHART / name for name in files), tmp_path / "values.yaml"):
        command += ["--values", file]
    for api in apis:
        command += ["--api-versions", api]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def render(tmp_path: Path, values: Manifest, *files: str) -> dict[tuple[str, str], Manifest]:
    """Every manifest, by kind and name."""
    done = helm(tmp_path, values, *files)
    assert done.returncode == 0, done.stderr
    found = [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]
    return {(manifest["kind"], manifest["metadata"]["name"]): manifest for manifest in found}


def pod(found: dict[tuple[str, str], Manifest], service: str) -> Manifest:
    spec: Manifest = found["Deployment", f"demo-kino-{service}"]["spec"]["template"]["spec"]
    return spec


def test_every_service_has_its_own_pods_and_name(tmp_path: Path) -> None:
    found = render(tmp_path, {}, "values-cpu.yaml")
    for kind in ("Deployment", "Service"):
        assert {name for known, name in found if known == kind} == {f"demo-kino-{name}" for name in NAMES}
    assert pod(found, "tae")["containers"][0]["image"] == "kino-tae:0.1.0"
    assert pod(found, "tae")["containers"][0]["args"] == [
        *("tae=7000", "--host=0.0.0.0", "--preset=nano", f"--store={URL}"),
        *("--reload-seconds=30", "--queue=16", "--drain-seconds=60", "--metrics-port=9090"),
    ]
    args = pod(found, "graph")["containers"][0]["args"]
    peers = {name: f"demo-kino-{name}:7000" for name in NAMES if name != "graph"}
    assert dict(re.findall(r"--peer=(\w+)=(\S+)", " ".join(args))) == peers
    assert found["Service", "demo-kino-tae"]["spec"]["clusterIP"] == "None"


def test_a_service_that_is_switched_off_is_nowhere(tmp_path: Path) -> None:
    found = render(tmp_path, {"services": {"audio": {"enabled": False}}}, "values-cpu.yaml")
    assert not [name for _, name in found if "audio" in name]
    assert "audio" not in " ".join(pod(found, "graph")["containers"][0]["args"])


def test_a_service_says_only_what_differs(tmp_path: Path) -> None:
    values = {"services": {"tae": {"replicas": 0, "args": ["--threads", "2"], "gpu": {"mode": "devicePlugin"}}}}
    found = render(
        tmp_path, {"defaults": {"args": ["--x"], "tolerations": [{"key": "a"}]}, **values}, "values-cpu.yaml"
    )
    tae, encoder = pod(found, "tae"), pod(found, "encoder")
    assert found["Deployment", "demo-kino-tae"]["spec"]["replicas"] == 0
    assert (tae["containers"][0]["args"][-2:], encoder["containers"][0]["args"][-1]) == (["--threads", "2"], "--x")
    assert tae["containers"][0]["resources"]["limits"] == {"memory": "2Gi", "nvidia.com/gpu": "1"}
    assert encoder["containers"][0]["resources"]["limits"] == {"memory": "2Gi"}
    assert tae["tolerations"] == encoder["tolerations"] == [{"key": "a"}]


def test_pods_keep_to_the_restricted_profile_and_hold_no_token(tmp_path: Path) -> None:
    found = render(tmp_path, {}, "values-cpu.yaml")
    specs = [pod(found, name) for name in NAMES] + [found["Pod", "demo-kino-film"]["spec"]]
    for spec in specs:
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["resources"]["limits"]["memory"]
            writable = {mount["name"] for mount in container["volumeMounts"]}
            assert writable <= {volume["name"] for volume in spec["volumes"]}


def test_probes_wait_for_loading_and_ask_no_neighbour(tmp_path: Path) -> None:
    container = pod(render(tmp_path, {"defaults": {"startupSeconds": 901}}, "values-cpu.yaml"), "generator")[
        "containers"
    ][0]
    probes = [container[f"{name}Probe"] for name in ("startup", "readiness", "liveness")]
    assert [probe["grpc"] for probe in probes] == [{"port": 7000}] * 3
    assert probes[0]["periodSeconds"] * probes[0]["failureThreshold"] >= 901
    assert container["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}


def test_secrets_are_named_and_never_held(tmp_path: Path) -> None:
    found = render(tmp_path, {"ledger": {"secret": "pg", "volume": {"enabled": False}}}, "values-cpu.yaml")
    assert not [kind for kind, _ in found if kind == "Secret"]
    graph = pod(found, "graph")["containers"][0]
    assert graph["envFrom"] == [{"secretRef": {"name": "kino-s3"}}]
    assert {"name": "KINO_LEDGER", "valueFrom": {"secretKeyRef": {"name": "pg", "key": "url"}}} in graph["env"]
    assert "--ledger=$(KINO_LEDGER)" in graph["args"]


def test_a_ledger_in_a_file_has_one_owner_and_outlives_the_release(tmp_path: Path) -> None:
    found = render(tmp_path, {}, "values-cpu.yaml")
    claim = found["PersistentVolumeClaim", "demo-kino-ledger"]
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert found["Deployment", "demo-kino-graph"]["spec"]["strategy"] == {"type": "Recreate"}
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "demo-kino-ledger"}}
    assert volume in pod(found, "graph")["volumes"]
    assert volume not in pod(found, "tae")["volumes"]


def test_gpu_services_go_to_h100_nodes_and_the_graph_does_not(tmp_path: Path) -> None:
    found = render(tmp_path, {}, "values-h100.yaml")
    for name in NAMES:
        spec, on_cpu = pod(found, name), name in ("rewriter", "graph")
        container = spec["containers"][0]
        assert ("nvidia.com/gpu" in container["resources"]["limits"]) is not on_cpu, name
        assert ("--device" in container["args"]) is not on_cpu, name
        assert spec.get("nodeSelector") == (None if on_cpu else {"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"}), (
            name
        )
        assert ("tolerations" in spec) is not on_cpu, name
    assert "--version=production" in pod(found, "tae")["containers"][0]["args"]


def test_gpus_may_be_claimed_by_dra(tmp_path: Path) -> None:
    values = {"services": {"tae": {"gpu": {"mode": "dra", "claimTemplate": "h100"}}}}
    spec = pod(render(tmp_path, values, "values-cpu.yaml"), "tae")
    assert spec["resourceClaims"] == [{"name": "gpu", "resourceClaimTemplateName": "h100"}]
    assert spec["containers"][0]["resources"]["claims"] == [{"name": "gpu"}]
    assert "nvidia.com/gpu" not in spec["containers"][0]["resources"]["limits"]


def test_only_what_has_replicas_has_a_disruption_budget(tmp_path: Path) -> None:
    found = render(tmp_path, {}, "values-h100.yaml")
    budgets = {name for kind, name in found if kind == "PodDisruptionBudget"}
    assert budgets == {"demo-kino-generator", "demo-kino-rewriter", "demo-kino-graph"}
    assert not [name for kind, name in render(tmp_path, {}, "values-cpu.yaml") if kind == "PodDisruptionBudget"]


def test_queues_scale_by_keda_or_hpa_and_the_deployment_leaves_the_count_to_them(tmp_path: Path) -> None:
    scaled = {"services": {"tae": {"autoscaling": {"mode": "hpa", "maxReplicas": 6}}}}
    found = render(tmp_path, scaled, "values-h100.yaml")
    hpa = found["HorizontalPodAutoscaler", "demo-kino-tae"]["spec"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (1, 6)
    assert hpa["metrics"][0]["pods"]["metric"] == {"name": "kino_compute_waiting"}
    trigger = found["ScaledObject", "demo-kino-generator"]["spec"]["triggers"][0]["metadata"]
    assert trigger["query"] == 'sum(kino_compute_waiting{namespace="films",component="generator"})'
    for name in ("tae", "generator"):
        assert "replicas" not in found["Deployment", f"demo-kino-{name}"]["spec"]
    assert ("PodMonitor", "demo-kino") in found


def test_network_policies_name_the_edges_of_the_graph_alone(tmp_path: Path) -> None:
    clients = [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}]
    found = render(tmp_path, {"networkPolicy": {"clients": clients}}, "values-cpu.yaml")
    everyone = found["NetworkPolicy", "demo-kino"]["spec"]
    assert everyone["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in everyone  # nobody may call anybody
    for name in NAMES:
        policy = found["NetworkPolicy", f"demo-kino-{name}"]["spec"]
        assert policy["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == name
        (rule,) = policy["ingress"]
        assert rule["ports"] == [{"protocol": "TCP", "port": 7000}]
        if name == "graph":
            assert rule["from"] == clients
        else:
            assert rule["from"][0]["podSelector"]["matchLabels"]["app.kubernetes.io/component"] == "graph"
            assert "egress" not in policy


def test_only_the_submitter_of_jobs_may_create_them(tmp_path: Path) -> None:
    assert not [kind for kind, _ in render(tmp_path, {}, "values-cpu.yaml") if kind.startswith(("Role", "Cluster"))]
    found = render(tmp_path, {"jobs": {"enabled": True}}, "values-cpu.yaml")
    rules = found["Role", "demo-kino-jobs"]["rules"]
    assert rules[0] == {
        "apiGroups": ["kubeflow.org"],
        "resources": ["pytorchjobs"],
        "verbs": ["create", "get", "list", "watch", "delete"],
    }
    assert {verb for rule in rules[1:] for verb in rule["verbs"]} == {"get", "list", "watch"}
    binding = found["RoleBinding", "demo-kino-jobs"]
    assert [row["name"] for row in binding["subjects"]] == ["demo-kino-jobs"]
    accounts = {name for kind, name in found if kind == "ServiceAccount"}
    assert accounts == {"demo-kino", "demo-kino-jobs"}
    assert pod(found, "graph")["serviceAccountName"] == "demo-kino"


def test_helm_test_makes_a_film(tmp_path: Path) -> None:
    film = render(tmp_path, {}, "values-cpu.yaml")["Pod", "demo-kino-film"]
    assert film["metadata"]["annotations"]["helm.sh/hook"] == "test"
    container = film["spec"]["containers"][0]
    assert (container["command"][:2], container["args"]) == (["kino", "film"], ["--address", "demo-kino-graph:7000"])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"store": ""}, r"store.*does not match pattern"),
        ({"store": "https://bucket"}, r"store.*does not match pattern"),
        ({"store": "s3://key:secret@bucket"}, r"store.*does not match pattern"),
        ({"storeSecret": ""}, r"storeSecret.*(minLength|length must be >= 1)"),
        ({"stores": URL}, r"additional properties 'stores' not allowed"),
        ({"image": {"repo": "kino"}}, r"image.*additional properties 'repo' not allowed"),
        ({"image": {"tag": "latest"}}, r"image/tag.*'not' failed"),
        ({"image": {"pullPolicy": "Sometimes"}}, r"image/pullPolicy.*must be one of 'Always', 'IfNotPresent', 'Never'"),
        ({"preset": "Mini"}, r"preset.*does not match pattern"),
        ({"version": "-1"}, r"version.*does not match pattern"),
        ({"reloadSeconds": -1}, r"reloadSeconds.*minimum: got -1, want 0"),
        ({"services": {"encodr": {}}}, r"services.*additional properties 'encodr' not allowed"),
        ({"services": {"tae": {"replica": 2}}}, r"services/tae.*additional properties 'replica' not allowed"),
        ({"services": {"tae": {"replicas": "2"}}}, r"services/tae/replicas.*got string, want integer"),
        ({"services": {"tae": {"gpu": {"mode": "mig"}}}}, r"gpu/mode.*must be one of 'none', 'devicePlugin', 'dra'"),
        ({"services": {"tae": {"gpu": {"mode": "dra"}}}}, r"services.tae.gpu.claimTemplate is empty, must name a Res"),
        (
            {"services": {"tae": {"resources": {"limits": {"memory": "4 GB"}}}}},
            r"limits/memory.*not match pattern",
        ),
        (
            {"services": {"tae": {"autoscaling": {"minReplicas": 5}}}},
            r"minReplicas is 5, must be at most max",
        ),
        ({"services": {"tae": {"autoscaling": {"mode": "keda"}}}}, r"monitoring.prometheus is empty, must be a URL"),
        ({"services": {"graph": {"replicas": 2}}}, r"services.graph has several replicas, must have one"),
        ({"ledger": {"volume": {"enabled": False}}}, r"ledger is empty, must be ledger.secret"),
        ({"ledger": {"secret": "pg"}}, r"ledger has a secret and a volume, must be one of them"),
        ({"networkPolicy": {"storePorts": []}}, r"networkPolicy/storePorts.*minItems: got 0, want 1"),
        ({"monitoring": {"interval": "often"}}, r"monitoring/interval.*does not match pattern"),
    ],
)
def test_bad_values_are_refused_with_the_reason(tmp_path: Path, values: Manifest, message: str) -> None:
    done = helm(tmp_path, values, "values-cpu.yaml")
    assert done.returncode != 0
    assert re.search(message, done.stderr, re.DOTALL), done.stderr


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"services": {"tae": {"autoscaling": {"mode": "keda"}}}}, "must be hpa or none: this cluster has no keda.sh"),
        (
            {"monitoring": {"enabled": True}},
            "monitoring.enabled is true, must be false: this cluster has no mon",
        ),
    ],
)
def test_what_the_cluster_lacks_is_told(tmp_path: Path, values: Manifest, message: str) -> None:
    done = helm(tmp_path, values, "values-cpu.yaml", apis=())
    assert done.returncode != 0
    assert message in done.stderr


def test_the_chart_has_nothing_that_helm_warns_of(tmp_path: Path) -> None:
    program = binaries.path("helm")
    if not program.exists():
        pytest.skip("needs Helm: python -m tests.cluster.binaries helm")
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(NEEDED))
    files = [CHART / "values-cpu.yaml", tmp_path / "values.yaml"]
    command: list[str | Path] = [
        program,
        "lint",
        "--strict",
        CHART,
        "--kube-version",
        "1.35.0",
        *(f"--values={file}" for file in files),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert "1 chart(s) linted, 0 chart(s) failed" in done.stdout
