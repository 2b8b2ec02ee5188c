"""The operators of Kubeflow's training jobs and of Ray, and Traefik, which lets clients in, by manifests of modules."""

import json
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.cluster.binaries import BINARIES, MODULES, cache
from tests.cluster.place import CONFIG, HOME, TAG
from tests.cluster.tools import apply, kubectl


@dataclass(frozen=True)
class Operator:
    """An operator: its binary's name, the folder of manifests in a module, and what runs it in which namespace."""

    name: str
    module: str
    manifests: str
    namespace: str
    deployment: str

    def install(self) -> None:
        """Ask the cluster to run it.

        Raises:
            FileNotFoundError: its manifests have not been read yet, and Go is not installed.
        """
        version = BINARIES[self.name].version
        overlay = HOME / "etc" / self.name
        shutil.copytree(CONFIG / self.name, overlay, dirs_exist_ok=True)
        shutil.copytree(self._kept(version), overlay / "manifests", dirs_exist_ok=True)
        file = overlay / "kustomization.yaml"
        file.write_text(file.read_text().replace("VERSION", version).replace("TAG", TAG))
        apply(kubectl("kustomize", str(overlay)))

    def wait(self) -> None:
        """Wait until it runs."""
        where = (f"deployment/{self.deployment}", f"--namespace={self.namespace}")
        kubectl("rollout", "status", *where, "--timeout=120s")

    def _kept(self, version: str) -> Path:
        """The manifests of the module, kept beside the binaries."""
        kept = cache() / "manifests" / f"{self.name}-{version}"
        if not kept.exists():
            told = subprocess.run(self._download(version), capture_output=True, check=True)
            folder = Path(json.loads(told.stdout)["Dir"]) / self.manifests
            shutil.copytree(folder, kept, copy_function=shutil.copyfile)
            for path in (kept, *(path for path in kept.rglob("*") if path.is_dir())):
                path.chmod(0o755)  # Go keeps its own read-only
        return kept

    def _download(self, version: str) -> list[str]:
        """The command of Go that says where the module lies, as a module of ours pins it or at the binary's version."""
        pinned = BINARIES[self.name].module
        if pinned:
            return ["go", "mod", "download", "-C", str(MODULES / pinned), "-json", self.module]
        return ["go", "mod", "download", "-json", f"{self.module}@{version}"]


OPERATORS = (
    Operator(
        "training-operator",
        module="github.com/kubeflow/training-operator",
        manifests="manifests",
        namespace="kubeflow",
        deployment="training-operator",
    ),
    Operator(
        "ray-operator",
        module="github.com/ray-project/kuberay/ray-operator",
        manifests="config",
        namespace="ray-system",
        deployment="kuberay-operator",
    ),
)
TRAEFIK = Operator(
    "traefik",
    module="sigs.k8s.io/gateway-api",
    manifests="config/crd",
    namespace="traefik",
    deployment="traefik",
)
