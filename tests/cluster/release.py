"""A release of the chart in a namespace of its own, which enforces the restricted profile of Pod Security."""

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.cluster.binaries import path
from tests.cluster.place import CHART, HOME, INSIDE, KEYS, KUBECONFIG
from tests.cluster.tools import apply, get, kubectl, processes

NAMESPACE = "films"
NAME = "kino"
Values = Mapping[str, object]
# What a trial is told besides values-cpu.yaml: its pods may train.
TRIAL: Values = {"jobs": {"enabled": True}}
SECRET = "kino-trial"  # as values-cpu.yaml names it
PASSWORD = "films"


@dataclass(frozen=True)
class Volume:
    """A file system of this machine, in a file, that a pod of the release keeps its data in."""

    claim: str
    size: str
    num_bytes: int
    user: int

    @property
    def folder(self) -> Path:
        """Where the data lies."""
        return HOME / "volumes" / self.claim

    def make(self) -> None:
        """Make it, for the pod's user. It is as large as it may become, and takes what is written."""
        image = self.folder.with_suffix(".img")
        self.folder.mkdir(parents=True)
        with image.open("wb") as file:
            file.truncate(self.num_bytes)
        subprocess.run(["mkfs.ext4", "-q", image], check=True)
        subprocess.run(["mount", "-o", "loop", image, self.folder], check=True)
        shutil.rmtree(self.folder / "lost+found")
        shutil.chown(self.folder, self.user, self.user)

    def remove(self) -> None:
        """Remove it with all that it holds."""
        subprocess.run(["umount", self.folder], check=True)
        self.folder.rmdir()
        self.folder.with_suffix(".img").unlink()

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


OBJECTS = Volume("data-kino-minio-0", "10Gi", 4 << 30, user=10001)
LEDGER = Volume("data-kino-postgresql-0", "1Gi", 1 << 30, user=999)


def prepare() -> None:
    """Make what the chart asks for: the namespace, the secret, volumes."""
    for volume in (OBJECTS, LEDGER):
        volume.make()
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
    """Addresses of the running pods of a service, by their names; those that are ending are left out."""
    labels = f"app.kubernetes.io/instance={NAME},app.kubernetes.io/component={service}"
    found = get("pods", f"--namespace={NAMESPACE}", f"--selector={labels}", "--field-selector=status.phase=Running")
    lasting = [row for row in found["items"] if "deletionTimestamp" not in row["metadata"]]
    return {row["metadata"]["name"]: row["status"]["podIP"] for row in lasting}


def outside() -> str:
    """The address of the graph for clients outside."""
    return f"{_address(NAME)}:7000"


@contextmanager
def hanging_store() -> Iterator[None]:
    """The store answers nobody; it goes on when the block ends."""
    pid = _process("minio", "server", "/data")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _process(*command: str) -> int:
    """The process on this machine that runs a command."""
    wanted = [word.encode() for word in command]
    for pid, words in processes():
        if words[: len(wanted)] == wanted:
            return pid
    raise LookupError(f"nothing runs {' '.join(command)}")


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
        volume.remove()
