"""A release of the chart in a namespace of its own, which enforces the restricted profile of Pod Security."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.cluster.binaries import path
from tests.cluster.place import HOME, INSIDE, KEYS, KUBECONFIG
from tests.cluster.tools import apply, get, kubectl

CHART = Path(__file__).parents[2] / "charts" / "kino"
NAMESPACE = "films"
NAME = "kino"
Values = Mapping[str, object]
# What a trial is told besides values-cpu.yaml: its pods may train.
TRIAL: Values = {"jobs": {"enabled": True}}
SECRET = "kino-trial"  # as values-cpu.yaml names it
PASSWORD = "films"


@dataclass(frozen=True)
class Volume:
    """A folder of this machine that a pod of the release keeps its data in, which belongs to the pod's user."""

    claim: str
    size: str
    user: int

    @property
    def folder(self) -> Path:
        """Where the data lies."""
        return HOME / "volumes" / self.claim

    def manifest(self) -> dict[str, object]:
        """The volume, for this claim alone."""
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": self.claim},
            "spec": {
                "capacity": {"storage": self.size},
                "accessModes": ["ReadWriteOnce"],
                "persistentVolumeReclaimPolicy": "Retain",
                "claimRef": {"namespace": NAMESPACE, "name": self.claim},
                "hostPath": {"path": str(self.folder)},
            },
        }


OBJECTS = Volume("data-kino-minio-0", "10Gi", user=10001)
LEDGER = Volume("data-kino-postgresql-0", "1Gi", user=999)


def prepare() -> None:
    """Make what the chart asks for: the namespace, the secret, volumes."""
    for volume in (OBJECTS, LEDGER):
        volume.folder.mkdir(parents=True)
        shutil.chown(volume.folder, volume.user, volume.user)
    level = {"pod-security.kubernetes.io/enforce": "restricted"}
    objects: list[dict[str, object]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": level}},
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": NAMESPACE},
            "stringData": {**KEYS, "password": PASSWORD},
        },
        *(volume.manifest() for volume in (OBJECTS, LEDGER)),
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
    """The address of the graph for clients outside."""
    return f"{_address(NAME)}:7000"


def store(prefix: str) -> str:
    """The URL of a place in the bucket of the release, by an address that pods and this process both reach."""
    return f"s3://kino/{prefix}?endpoint=http://{_address(f'{NAME}-minio')}:9000"


def _address(service: str) -> str:
    address: str = get("service", service, f"--namespace={NAMESPACE}")["spec"]["clusterIP"]
    return address


def clear() -> None:
    """Uninstall the release, and remove what it leaves."""
    helm("uninstall", NAME, "--wait", "--ignore-not-found")
    kubectl("delete", "namespace", NAMESPACE, "--wait", "--ignore-not-found", "--timeout=120s")
    for volume in (OBJECTS, LEDGER):
        kubectl("delete", "persistentvolume", volume.claim, "--wait", "--ignore-not-found")
        shutil.rmtree(volume.folder)
