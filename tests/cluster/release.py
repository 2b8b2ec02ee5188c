"""A release of the chart in a namespace of its own, which enforces the restricted profile of Pod Security."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import yaml

from tests.cluster.binaries import path
from tests.cluster.place import HOME, INSIDE, KEYS, KUBECONFIG, STORE_ENDPOINT
from tests.cluster.tools import apply, get, kubectl

CHART = Path(__file__).parents[2] / "charts" / "kino"
NAMESPACE = "films"
NAME = "kino"
SECRET = "kino-s3"
STORE = f"s3://kino-cluster/artifacts?endpoint={STORE_ENDPOINT}"
USER = 10001  # as the image and the chart have it
Values = Mapping[str, object]
# The values of a trial with the cluster's own MinIO.
TRIAL: Values = {
    "store": STORE,
    "storeSecret": SECRET,
    "minio": {"enabled": False},
    "postgresql": {"enabled": False},
    "ledger": {"volume": {"enabled": True}},
    "jobs": {"enabled": True},
}


def prepare() -> None:
    """Make what the chart asks for: the namespace, the keys of the store, a volume for the ledger."""
    volume = HOME / "volumes" / "ledger"
    volume.mkdir(parents=True, exist_ok=True)
    shutil.chown(volume, USER, USER)
    (HOME / "volumes").chmod(0o755)
    level = {"pod-security.kubernetes.io/enforce": "restricted"}
    objects: list[dict[str, object]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": level}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": NAMESPACE},
            "stringData": KEYS,
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": "ledger"},
            "spec": {
                "capacity": {"storage": "1Gi"},
                "accessModes": ["ReadWriteOnce"],
                "hostPath": {"path": str(volume)},
            },
        },
    ]
    apply(yaml.safe_dump_all(objects))


def install(values: Values, *, wait: bool = True) -> None:
    """Install or upgrade the release, and wait until every pod is Ready unless told not to.

    Raises:
        RuntimeError: Helm refuses or gives up, with what it says of that.
    """
    given = yaml.safe_dump(dict(values))
    flags = ("--install", f"--values={CHART / 'values-cpu.yaml'}", "--values=-", *(("--wait",) if wait else ()))
    helm("upgrade", NAME, str(CHART), *flags, "--timeout=10m", stdin=given)


def helm(*arguments: str, stdin: str | None = None) -> str:
    """Run Helm on the cluster and return what it says.

    Raises:
        RuntimeError: it failed, with what it says of that.
    """
    command = [*INSIDE, str(path("helm")), *arguments, f"--namespace={NAMESPACE}"]
    environment = {**os.environ, "KUBECONFIG": str(KUBECONFIG)}
    done = subprocess.run(command, input=stdin, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"helm {arguments[0]}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout


def pods(service: str) -> dict[str, str]:
    """Addresses of the running pods of a service, by their names."""
    labels = f"app.kubernetes.io/instance={NAME},app.kubernetes.io/component={service}"
    found = get("pods", f"--namespace={NAMESPACE}", f"--selector={labels}", "--field-selector=status.phase=Running")
    return {row["metadata"]["name"]: row["status"]["podIP"] for row in found["items"]}


def outside() -> str:
    """The address of the graph for clients outside: a service with an address of its own, as a load balancer has it."""
    selector = {"app.kubernetes.io/instance": NAME, "app.kubernetes.io/component": "graph"}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "outside", "namespace": NAMESPACE},
        "spec": {"selector": selector, "ports": [{"port": 7000}]},
    }
    apply(yaml.safe_dump(service))
    return f"{get('service', 'outside', f'--namespace={NAMESPACE}')['spec']['clusterIP']}:7000"


def clear() -> None:
    """Uninstall the release, and remove what it leaves."""
    helm("uninstall", NAME, "--wait", "--ignore-not-found")
    kubectl("delete", "namespace", NAMESPACE, "--wait", "--ignore-not-found", "--timeout=120s")
    kubectl("delete", "persistentvolume", "ledger", "--wait", "--ignore-not-found")
    shutil.rmtree(HOME / "volumes" / "ledger")
