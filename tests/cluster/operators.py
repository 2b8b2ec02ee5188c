"""The training operator of Kubeflow, from the manifests of its own module."""

import json
import shutil
import subprocess
from pathlib import Path

from tests.cluster.binaries import BINARIES, cache
from tests.cluster.place import CONFIG, HOME
from tests.cluster.tools import apply, kubectl


def install_training_operator() -> None:
    """Ask the cluster to run the operator for PyTorchJobs.

    Raises:
        FileNotFoundError: its manifests have not been read yet, and Go is not installed.
    """
    name = "training-operator"
    overlay = HOME / "etc" / name
    shutil.copytree(CONFIG / name, overlay, dirs_exist_ok=True)
    manifests = _manifests("github.com/kubeflow/training-operator", BINARIES[name].version)
    shutil.copytree(manifests, overlay / "manifests", dirs_exist_ok=True)
    file = overlay / "kustomization.yaml"
    file.write_text(file.read_text().replace("VERSION", BINARIES[name].version))
    apply(kubectl("kustomize", str(overlay)))


def wait_for_training_operator() -> None:
    """Wait until the operator takes jobs."""
    kubectl("rollout", "status", "deployment/training-operator", "--namespace=kubeflow", "--timeout=120s")


def _manifests(module: str, version: str) -> Path:
    """The manifests of a module, kept beside the binaries."""
    kept = cache() / "manifests" / f"{module.rpartition('/')[2]}-{version}"
    if not kept.exists():
        told = subprocess.run(
            ["go", "mod", "download", "-json", f"{module}@{version}"], capture_output=True, check=True
        )
        shutil.copytree(Path(json.loads(told.stdout)["Dir"]) / "manifests", kept, copy_function=shutil.copyfile)
        for folder in (kept, *(path for path in kept.rglob("*") if path.is_dir())):
            folder.chmod(0o755)  # Go keeps its own read-only
    return kept
