"""The chart as Helm renders it; that it installs is for a cluster to show."""

import re

import pytest

from services.service import NAMES
from tests.charts.rendering import CHART, URL, Chart, Manifest, pod
from tests.cluster.place import TAG


def test_every_service_has_its_own_pods_and_name(chart: Chart) -> None:
    found = chart.render({}, "values-cpu.yaml")
    own = {f"demo-kino-{name}" for name in NAMES}
    assert {name for kind, name in found if kind == "Deployment"} == own
    assert {name for kind, name in found if kind == "Service"} == {"demo-kino", *own}
    assert pod(found, "tae")["containers"][0]["image"] == f"kino-tae:{TAG}"
    assert pod(found, "tae")["containers"][0]["args"] == [
        *("tae=7000", "--host=0.0.0.0", "--preset=nano", f"--store={URL}", "--store-patience-seconds=120"),
        *("--reload-seconds=30", "--queue=16", "--drain-seconds=60", "--metrics-port=9090"),
    ]
    args = pod(found, "graph")["containers"][0]["args"]
    peers = {name: f"demo-kino-{name}:7000" for name in NAMES if name != "graph"}
    assert dict(re.findall(r"--peer=(\w+)=(\S+)", " ".join(args))) == peers
    assert found["Service", "demo-kino-tae"]["spec"]["clusterIP"] == "None"


def test_a_service_that_is_switched_off_is_nowhere(chart: Chart) -> None:
    found = chart.render({"services": {"audio": {"enabled": False}}}, "values-cpu.yaml")
    assert not [name for _, name in found if "audio" in name]
    assert "audio" not in " ".join(pod(found, "graph")["containers"][0]["args"])


def test_a_service_says_only_what_differs(chart: Chart) -> None:
    values = {"services": {"tae": {"replicas": 0, "args": ["--threads", "2"], "gpu": {"mode": "devicePlugin"}}}}
    found = chart.render({"defaults": {"args": ["--x"], "tolerations": [{"key": "a"}]}, **values}, "values-cpu.yaml")
    tae, encoder = pod(found, "tae"), pod(found, "encoder")
    assert found["Deployment", "demo-kino-tae"]["spec"]["replicas"] == 0
    assert (tae["containers"][0]["args"][-2:], encoder["containers"][0]["args"][-1]) == (["--threads", "2"], "--x")
    assert tae["containers"][0]["resources"]["limits"] == {"memory": "2Gi", "nvidia.com/gpu": "1"}
    assert encoder["containers"][0]["resources"]["limits"] == {"memory": "2Gi"}
    assert tae["tolerations"] == encoder["tolerations"] == [{"key": "a"}]


def test_pods_keep_to_the_restricted_profile_and_hold_no_token(chart: Chart) -> None:
    found = chart.render({}, "values-cpu.yaml")
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


def test_probes_wait_for_loading_and_ask_no_neighbour(chart: Chart) -> None:
    container = pod(chart.render({"defaults": {"startupSeconds": 901}}, "values-cpu.yaml"), "generator")["containers"][
        0
    ]
    probes = [container[f"{name}Probe"] for name in ("startup", "readiness", "liveness")]
    assert [probe["grpc"] for probe in probes] == [{"port": 7000}] * 3
    assert probes[0]["periodSeconds"] * probes[0]["failureThreshold"] >= 901
    assert container["lifecycle"] == {"preStop": {"sleep": {"seconds": 5}}}


def test_secrets_are_named_and_never_held(chart: Chart) -> None:
    found = chart.render({"ledger": {"secret": "pg", "volume": {"enabled": False}}}, "values-cpu.yaml")
    assert not [kind for kind, _ in found if kind == "Secret"]
    graph = pod(found, "graph")["containers"][0]
    assert graph["envFrom"] == [{"secretRef": {"name": "kino-s3"}}]
    assert {"name": "KINO_LEDGER", "valueFrom": {"secretKeyRef": {"name": "pg", "key": "url"}}} in graph["env"]
    assert "--ledger=$(KINO_LEDGER)" in graph["args"]


def test_a_ledger_in_a_file_has_one_owner_and_outlives_the_release(chart: Chart) -> None:
    found = chart.render({}, "values-cpu.yaml")
    claim = found["PersistentVolumeClaim", "demo-kino-ledger"]
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert found["Deployment", "demo-kino-graph"]["spec"]["strategy"] == {"type": "Recreate"}
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "demo-kino-ledger"}}
    assert volume in pod(found, "graph")["volumes"]
    assert volume not in pod(found, "tae")["volumes"]


def test_gpu_services_go_to_h100_nodes_and_the_graph_does_not(chart: Chart) -> None:
    found = chart.render({}, "values-h100.yaml")
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


def test_gpus_may_be_claimed_by_dra(chart: Chart) -> None:
    values = {"services": {"tae": {"gpu": {"mode": "dra", "claimTemplate": "h100"}}}}
    spec = pod(chart.render(values, "values-cpu.yaml"), "tae")
    assert spec["resourceClaims"] == [{"name": "gpu", "resourceClaimTemplateName": "h100"}]
    assert spec["containers"][0]["resources"]["claims"] == [{"name": "gpu"}]
    assert "nvidia.com/gpu" not in spec["containers"][0]["resources"]["limits"]


def test_only_what_has_replicas_has_a_disruption_budget(chart: Chart) -> None:
    found = chart.render({}, "values-h100.yaml")
    budgets = {name for kind, name in found if kind == "PodDisruptionBudget"}
    assert budgets == {"demo-kino-generator", "demo-kino-rewriter", "demo-kino-graph"}
    assert not [name for kind, name in chart.render({}, "values-cpu.yaml") if kind == "PodDisruptionBudget"]


def test_queues_scale_by_keda_or_hpa_and_the_deployment_leaves_the_count_to_them(chart: Chart) -> None:
    scaled = {"services": {"tae": {"autoscaling": {"mode": "hpa", "maxReplicas": 6}}}}
    found = chart.render(scaled, "values-h100.yaml")
    hpa = found["HorizontalPodAutoscaler", "demo-kino-tae"]["spec"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (1, 6)
    assert hpa["metrics"][0]["pods"]["metric"] == {"name": "kino_compute_waiting"}
    trigger = found["ScaledObject", "demo-kino-generator"]["spec"]["triggers"][0]["metadata"]
    assert trigger["query"] == 'sum(kino_compute_waiting{namespace="films",component="generator"})'
    for name in ("tae", "generator"):
        assert "replicas" not in found["Deployment", f"demo-kino-{name}"]["spec"]
    assert ("PodMonitor", "demo-kino") in found


def test_network_policies_name_the_edges_of_the_graph_alone(chart: Chart) -> None:
    clients = [{"namespaceSelector": {"matchLabels": {"name": "ingress"}}}]
    found = chart.render({"networkPolicy": {"clients": clients}}, "values-cpu.yaml")
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


def test_only_the_submitter_of_jobs_may_create_them(chart: Chart) -> None:
    assert not [kind for kind, _ in chart.render({}, "values-cpu.yaml") if kind.startswith(("Role", "Cluster"))]
    found = chart.render({"jobs": {"enabled": True}}, "values-cpu.yaml")
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


def test_helm_test_makes_a_film(chart: Chart) -> None:
    film = chart.render({}, "values-cpu.yaml")["Pod", "demo-kino-film"]
    assert film["metadata"]["annotations"]["helm.sh/hook"] == "test"
    container = film["spec"]["containers"][0]
    assert (container["command"][:2], container["args"]) == (["kino", "film"], ["--address", "demo-kino:7000"])


def test_helm_test_makes_a_film_through_the_ingress_too(chart: Chart) -> None:
    entrance = {"ingress": {"host": "films.example", "tlsSecret": "films-tls"}}
    found = chart.render({"entrance": entrance}, "values-cpu.yaml")
    direct, film = found["Pod", "demo-kino-film"]["spec"], found["Pod", "demo-kino-film-ingress"]["spec"]
    container = film["containers"][0]
    assert container["command"][3:] == direct["containers"][0]["command"]
    assert container["args"] == ["--address", "https://films.example"]
    authority = {"secretName": "films-tls", "items": [{"key": "ca.crt", "path": "ca.crt"}], "optional": True}
    assert {"name": "tls", "secret": authority} in film["volumes"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"store": ""}, r"store is empty, must be s3://bucket or, for a trial, minio.enabled"),
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
        (
            {"ledger": {}},
            r"the ledger is nowhere, must be one of ledger.secret \(PostgreSQL\) or, for a trial, ledger.",
        ),
        (
            {"ledger": {"secret": "pg", "volume": {"enabled": True}}},
            r"the ledger is ledger.secret and ledger.volume, must be one of",
        ),
        ({"postgresql": {"enabled": True}}, r"the ledger is ledger.volume and postgresql, must be one of"),
        ({"postgresql": {"enabled": True, "secret": ""}, "ledger": {}}, r"postgresql.secret is empty, must name a sec"),
        ({"postgresql": {"image": "postgres"}}, r"postgresql/image.*does not match pattern"),
        ({"minio": {"enabled": True}}, r"store is given with minio.enabled, must be one of them"),
        ({"minio": {"image": "minio:latest"}}, r"minio/image.*'not' failed"),
        ({"minio": {"volum": {}}}, r"minio.*additional properties 'volum' not allowed"),
        ({"graph": {"ray": "yes"}}, r"graph/ray.*must be one of 'none', 'head', 'service', 'auto'"),
        (
            {"graph": {"ray": "service"}},
            r"ledger.volume is enabled, must be ledger.secret or postgresql with graph.ray",
        ),
        ({"graph": {"rayVersion": "2.6"}}, r"graph/rayVersion.*does not match pattern"),
        ({"modelsVolume": {"claims": "m"}}, r"modelsVolume.*additional properties 'claims' not allowed"),
        ({"modelsVolume": {"claim": "m"}, "models": URL}, r"models are in several places, must be in one of models, m"),
        ({"monitoring": {"dashboards": True}}, r"monitoring.*additional properties 'dashboards' not allowed"),
        ({"networkPolicy": {"storePorts": []}}, r"networkPolicy/storePorts.*minItems: got 0, want 1"),
        ({"monitoring": {"traces": "collector:4317"}}, r"monitoring/traces.*does not match pattern"),
        ({"entrance": {"type": "Host"}}, r"entrance/type.*must be one of 'ClusterIP', 'NodePort', 'LoadBalancer'"),
        ({"entrance": {"ingress": {"host": "a.b"}}}, r"entrance.ingress.tlsSecret is empty, must name a secret"),
        ({"entrance": {"route": {"listeners": "a"}}}, r"entrance/route.*additional properties 'listeners' not allowed"),
        ({"entrance": {"annotations": {"a": 1}}}, r"entrance/annotations/a.*want string"),
        ({"monitoring": {"interval": "often"}}, r"monitoring/interval.*does not match pattern"),
    ],
)
def test_bad_values_are_refused_with_the_reason(chart: Chart, values: Manifest, message: str) -> None:
    done = chart.template(values, "values-cpu.yaml")
    assert done.returncode != 0
    assert re.search(message, done.stderr, re.DOTALL), done.stderr


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"services": {"tae": {"autoscaling": {"mode": "keda"}}}}, "must be hpa or none: this cluster has no keda.sh"),
        (
            {"graph": {"ray": "service"}, "ledger": {"secret": "pg"}},
            "graph.ray is service, must be head, auto or none: this cluster has no ray.io/v1",
        ),
        (
            {"monitoring": {"enabled": True}},
            "monitoring.enabled is true, must be false: this cluster has no mon",
        ),
        (
            {"entrance": {"route": {"gateway": "edge"}}},
            "entrance.route.gateway is given, must be empty: this cluster has no gateway.networking.k8s.io/v1",
        ),
    ],
)
def test_what_the_cluster_lacks_is_told(chart: Chart, values: Manifest, message: str) -> None:
    done = chart.template(values, "values-cpu.yaml", apis=())
    assert done.returncode != 0
    assert message in done.stderr


def test_the_chart_has_nothing_that_helm_warns_of(chart: Chart) -> None:
    for file in ("values-cpu.yaml", "values-h100.yaml"):
        done = chart.helm("lint", "--strict", CHART, "--kube-version", "1.35.0", *chart.values({}, file))
        assert done.returncode == 0, done.stdout
        assert "1 chart(s) linted, 0 chart(s) failed" in done.stdout
