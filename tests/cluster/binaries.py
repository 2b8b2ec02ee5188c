"""Servers and tools of the cluster's tests, built from their Go modules: python -m tests.cluster.binaries [NAME...].

Each is built once per version, at the lowest priority, into $XDG_CACHE_HOME/kino/bin or ~/.cache/kino/bin. It takes Go
1.26 and access to Go modules, whose checksums Go verifies.
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


@dataclass(frozen=True)
class Binary:
    """A main package of a module at one version."""

    package: str
    version: str

    @property
    def name(self) -> str:
        """What Go calls the program."""
        return self.package.rpartition("/")[2]


BINARIES = {
    "minio": Binary("github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c"),
    "helm": Binary("helm.sh/helm/v3/cmd/helm", "v3.22.0"),
}


def path(name: str) -> Path:
    """Where a binary of its version lies, once it was built."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    return cache / "kino" / "bin" / f"{name}-{BINARIES[name].version}"


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
        command = ["nice", "-n", "19", "go", "install", "-p", "1", "-trimpath", "-ldflags", "-s -w"]
        subprocess.run([*command, f"{binary.package}@{binary.version}"], env={**os.environ, **settings}, check=True)
        (Path(folder) / binary.name).replace(target)
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
