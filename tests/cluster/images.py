"""The project's image, built by its own Dockerfile and given to the cluster: python -m tests.cluster.images.

One image of all extras has every service's name. Its dependencies are a layer that is built and imported again only
when they change. Its base is a stand-in from Debian's packages, with this machine's certificates, for the image that
the Dockerfile names; and it leaves out what only a GPU would load, a third of its size.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Callable
from pathlib import Path

import yaml

from services.service import NAMES
from tests.cluster.binaries import cache
from tests.cluster.tools import ctr

ROOT = Path(__file__).parents[2]
FOLDER = cache() / "images"
BASE = "docker.io/library/python:3.11-slim-bookworm"
RUNTIME = "localhost/runtime"  # what `FROM runtime` finds
IMAGE = "docker.io/library/kino-graph"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
PACKAGES = ("python3", "python3-venv", "python3-pip", "ca-certificates")
OMIT = (
    *("triton/_C", "triton/backends", "torch/include", "torch/bin", "nvidia/cu13/include"),
    *("nvidia/cudnn/lib/libcudnn_*.so.9", "nvidia/cu13/lib/libcusolver*"),
    "onnxruntime/capi/libonnxruntime_providers_cuda.so",
)


def build(tag: str) -> None:
    """Build the image of the working tree and give it to containerd as kino-SERVICE:TAG for every service.

    Raises:
        subprocess.CalledProcessError: a step failed; it has said why.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    (FOLDER / "storage.conf").write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{FOLDER}/storage"\nrunroot = "/run/kino-images"\n'
    )
    if not _has(BASE):
        _build_base()
    lock = f"{RUNTIME}:{_lock()}"
    if not _has(lock):
        omitted = ("--build-arg", f"OMIT={' '.join(OMIT)}")
        _bud(lock, _stages(lambda name: True), "--target=runtime", "--build-arg=EXTRA=all", *omitted)
    _buildah("tag", lock, RUNTIME)
    image = f"{IMAGE}:{tag}"
    _bud(image, _stages(lambda name: name not in ("dependencies", "runtime")))
    _import(image)
    for name in (*NAMES, "train"):
        ctr("images", "tag", "--force", image, f"docker.io/library/kino-{name}:{tag}")
    _buildah("rmi", "--prune", "--force")


def _lock() -> str:
    """A name for the dependencies: what is installed, and how."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = {name: project[name] for name in ("dependencies", "optional-dependencies")}
    stages = _stages(lambda name: name in ("installer", "dependencies", "runtime"))
    told = json.dumps([wanted, (ROOT / "constraints.txt").read_text(), stages, OMIT], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def _stages(wanted: Callable[[str], bool]) -> str:
    """The Dockerfile's stages whose names are wanted; the last one, which has none, always is."""
    head, *stages = re.split(r"^(?=FROM )", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    named = [(re.match(r"FROM \S+(?: AS (\S+))?$", stage, flags=re.MULTILINE), stage) for stage in stages]
    return head + "".join(stage for found, stage in named if found and (found[1] is None or wanted(found[1])))


def _build_base() -> None:
    """Make the stand-in of the Dockerfile's base."""
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        root = Path(folder) / "root.tar"
        hooks = ('ln -s python3 "$1/usr/bin/python"', 'rm "$1"/usr/lib/python3.*/EXTERNALLY-MANAGED')
        settings = (f"--include={','.join(PACKAGES)}", *(f"--customize-hook={hook}" for hook in hooks))
        subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", *settings, "bookworm", str(root)], check=True)
        container = _buildah("from", "scratch").strip()
        _buildah("add", "--quiet", container, str(root), "/")
    _buildah("copy", "--quiet", container, CERTIFICATES, CERTIFICATES)
    paths = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    _buildah("config", '--cmd=["python3"]', f"--env=SSL_CERT_FILE={CERTIFICATES}", f"--env=PATH={paths}", container)
    _buildah("commit", "--quiet", "--rm", container, BASE)


def _bud(image: str, dockerfile: str, *flags: str) -> None:
    """Build an image from these stages, in a chroot: there is no engine here."""
    with tempfile.NamedTemporaryFile("w", suffix=".Dockerfile") as file:
        file.write(dockerfile)
        file.flush()
        common = ("--isolation=chroot", "--pull-never", f"--file={file.name}", f"--tag={image}")
        _buildah("bud", "--quiet", *common, *flags, str(ROOT))


def _import(image: str) -> None:
    """Give an image to containerd, as an archive of layers that are not compressed."""
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        archive = Path(folder) / "image.tar"
        _buildah("push", "--quiet", image, f"docker-archive:{archive}:{image}")
        ctr("images", "import", str(archive))


def _has(image: str) -> bool:
    return image in _buildah("images", "--all", "--format={{.Name}}:{{.Tag}}").split()


def _buildah(*arguments: str) -> str:
    command = ["nice", "buildah", *arguments]
    return subprocess.run(command, env=_environment(), stdout=subprocess.PIPE, text=True, check=True).stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "CONTAINERS_STORAGE_CONF": str(FOLDER / "storage.conf")}


def main() -> int:
    """Build the image of the chart's version."""
    chart = (ROOT / "charts" / "kino" / "Chart.yaml").read_text()
    tag = yaml.safe_load(chart)["appVersion"]
    started = time.monotonic()
    build(tag)
    print(f"{IMAGE}:{tag} ({time.monotonic() - started:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
