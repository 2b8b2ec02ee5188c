"""Servers and tools of the cluster's tests, built from their Go modules: python -m tests.cluster.binaries [NAME...].

Each is built once per version, at the lowest priority, into $XDG_CACHE_HOME/kino/bin or ~/.cache/kino/bin. It takes Go
1.26 and access to Go modules, whose checksums Go verifies. Programs that Go cannot install by version, since their
modules replace others, are built from a module of our own under modules/, which pins all that they are made of.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

MODULES = Path(__file__).parent / "modules"
KUBERNETES = "v1.35.4"


@dataclass(frozen=True)
class Binary:
    """A main package at one version: of its own module, or of a module of ours that pins it."""

    package: str
    version: str
    module: str = ""

    def command(self, target: Path) -> list[str]:
        """The command of Go that builds it."""
        options = ["-p", "2", "-trimpath", "-ldflags", self.linking()]
        if self.module:
            return ["go", "build", "-C", str(MODULES / self.module), *options, "-o", str(target), self.package]
        return ["go", "install", *options, f"{self.package}@{self.version}"]

    def linking(self) -> str:
        """No symbols; and what Kubernetes says of its own version, which its components compare."""
        if not self.package.startswith("k8s.io/kubernetes/"):
            return "-s -w"
        major, minor, _ = self.version.removeprefix("v").split(".")
        said = {
            "gitVersion": self.version,
            "gitMajor": major,
            "gitMinor": minor,
            "gitTreeState": "clean",
            "gitCommit": "module",
            "buildDate": "1970-01-01T00:00:00Z",
        }
        packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
        return " ".join(
            ["-s -w", *(f"-X {package}.{name}={text}" for package in packages for name, text in said.items())]
        )


def _kubernetes(name: str) -> Binary:
    return Binary(f"k8s.io/kubernetes/cmd/{name}", KUBERNETES, "kubernetes")


BINARIES = {
    "minio": Binary("github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c"),
    "helm": Binary("helm.sh/helm/v3/cmd/helm", "v3.22.0"),
    "helm4": Binary("helm.sh/helm/v4/cmd/helm", "v4.3.1"),
    "etcd": Binary("go.etcd.io/etcd/server/v3", "v3.6.5", "kubernetes"),
    "kube-apiserver": _kubernetes("kube-apiserver"),
    "kube-controller-manager": _kubernetes("kube-controller-manager"),
    "kube-scheduler": _kubernetes("kube-scheduler"),
    "kubelet": _kubernetes("kubelet"),
    "kube-proxy": _kubernetes("kube-proxy"),
    "kubectl": _kubernetes("kubectl"),
    "coredns": Binary(".", "v1.14.7", "coredns"),
    "pause": Binary(".", "v1", "pause"),
    "training-operator": Binary("github.com/kubeflow/training-operator/cmd/training-operator.v1", "v1.9.3"),
    "ray-operator": Binary("github.com/ray-project/kuberay/ray-operator", "v1.6.1", "kuberay"),
    "traefik": Binary("github.com/traefik/traefik/v3/cmd/traefik", "v3.7.13", "traefik"),
}


def cache() -> Path:
    """The folder of what is kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "kino"


def path(name: str) -> Path:
    """Where a binary of its version lies, once it was built."""
    return cache() / "bin" / f"{name}-{BINARIES[name].version}"


def build(name: str) -> Path:
    """Build a binary unless it is there, and return its path.

    Raises:
        FileNotFoundError: Go is not installed.
        subprocess.CalledProcessError: Go cannot build it; it has said why.
    """
    binary, target = BINARIES[name], path(name)
    if target.exists():
        return target
    if shutil.which("go") is None:
        raise FileNotFoundError(f"{name} is built by Go, which is not installed")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        settings = {"CGO_ENABLED": "0", "GOBIN": folder, "GOFLAGS": "-buildvcs=false"}
        command = ["nice", "-n", "19", *binary.command(Path(folder) / name)]
        subprocess.run(command, env={**os.environ, **settings}, check=True)
        (built,) = Path(folder).iterdir()
        built.replace(target)
    return target


def main() -> int:
    """Build what is named, or everything, and say where it lies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BINARIES)} (all of them)")
    names = parser.parse_args().names or list(BINARIES)
    if odd := [name for name in names if name not in BINARIES]:
        parser.error(f"{odd[0]!r} is none of {', '.join(BINARIES)}")
    for name in names:
        started = time.monotonic()
        try:
            built = build(name)
        except (FileNotFoundError, subprocess.CalledProcessError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            return 1
        print(f"{name}: {built} ({time.monotonic() - started:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
