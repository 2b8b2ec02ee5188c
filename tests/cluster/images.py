"""The project's image, built by its own Dockerfile and given to the cluster: python -m tests.cluster.images.

One image of all extras has every service's name. Its dependencies are built and imported again only when they change; a
change of the project is laid over them in seconds, as in a registry. Their base is a stand-in from Debian's packages,
with this machine's certificates, for the image that the Dockerfile names; and they lack what only a GPU would load, a
third of their size. PostgreSQL, which the chart brings for trials, is Debian's under the name that the chart asks for.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from services.service import NAMES
from tests.cluster import oci
from tests.cluster.binaries import cache
from tests.cluster.place import CONFIG, TAG
from tests.cluster.programs import VALUES
from tests.cluster.tools import ctr

ROOT = Path(__file__).parents[2]
FOLDER = cache() / "images"
BASE = "docker.io/library/python:3.11-slim-bookworm"
RUNTIME = "localhost/runtime"  # what `FROM runtime` finds
POSTGRESQL = "localhost/postgresql"
IMAGE = "docker.io/library/kino-graph"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PACKAGES = ("python3", "python3-venv", "python3-pip", "ca-certificates")
OMIT = (
    *("triton/_C", "triton/backends", "torch/include", "torch/bin/protoc*", "nvidia/cu13/include"),
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
    if BASE not in _buildah("images", "--format={{.Name}}:{{.Tag}}").split():
        _build_base()
    runtime = f"{RUNTIME}:{_lock()}"
    if runtime not in ctr("images", "list", "--quiet").split():
        _build_runtime(runtime)
    _provide_postgresql()
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        layers, config = _build_project(Path(folder))
        archive = Path(folder) / "image.tar"
        oci.write_over(archive, f"{IMAGE}:{tag}", _known(runtime), layers, config)
        ctr("images", "import", str(archive))
    for name in (*NAMES, "train"):
        ctr("images", "tag", "--force", f"{IMAGE}:{tag}", f"docker.io/library/kino-{name}:{tag}")


def _build_runtime(name: str) -> None:
    """Build the stages of the dependencies, give them to containerd, and keep no other copy."""
    omitted = ("--build-arg", f"OMIT={' '.join(OMIT)}")
    _bud(name, _stages(lambda stage: True), "--target=runtime", "--build-arg=EXTRA=all", *omitted)
    _give(name)


def _provide_postgresql() -> None:
    """Build what stands in for PostgreSQL's image, unless containerd has it."""
    folder = CONFIG / "postgresql"
    made_of = b"".join(file.read_bytes() for file in sorted(folder.iterdir()))
    name = f"{POSTGRESQL}:{hashlib.sha256(made_of).hexdigest()[:12]}"
    if name not in ctr("images", "list", "--quiet").split():
        _bud(name, (folder / "Dockerfile").read_text(), context=folder)
        _give(name)
    ctr("images", "tag", "--force", name, yaml.safe_load(VALUES.read_text())["postgresql"]["image"])


def _give(name: str) -> None:
    """Give an image to containerd in the place of what was there under other tags, and keep no other copy."""
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        archive = Path(folder) / "image.tar"
        _buildah("push", "--quiet", name, f"docker-archive:{archive}:{name}")
        _buildah("rmi", "--force", name)
        _buildah("rmi", "--prune", "--force")
        for old in ctr("images", "list", "--quiet").split():
            if old.startswith(f"{name.rpartition(':')[0]}:"):
                ctr("images", "remove", old)
        ctr("images", "import", str(archive))


def _build_project(folder: Path) -> tuple[list[bytes], dict[str, Any]]:
    """Build the Dockerfile's other stages on nothing, and return the layers and configuration of the last."""
    container = _buildah("from", "scratch").strip()
    _buildah("config", f"--env=PATH={PATH}", container)
    _buildah("commit", "--quiet", "--rm", container, RUNTIME)
    image, archive = f"{IMAGE}:thin", folder / "thin.tar"
    _bud(image, _stages(lambda name: name not in ("dependencies", "runtime")))
    _buildah("push", "--quiet", image, f"docker-archive:{archive}:{image}")
    _buildah("rmi", "--force", image, RUNTIME)
    with tarfile.open(archive) as tar:

        def content(name: str) -> bytes:
            file = tar.extractfile(name)
            assert file is not None, name
            return file.read()

        (manifest,) = json.loads(content("manifest.json"))
        return [content(name) for name in manifest["Layers"]], json.loads(content(manifest["Config"]))


def _known(name: str) -> oci.Image:
    """An image that containerd has."""
    _, row = ctr("images", "list", f"name=={name}").splitlines()
    manifest = json.loads(ctr("content", "get", row.split()[2]))
    return oci.Image(manifest["layers"], json.loads(ctr("content", "get", manifest["config"]["digest"])))


def _lock() -> str:
    """A name for the dependencies: what is installed, and how."""
    resolve = (str(Path(sys.executable).parent / "uv"), "pip", "compile", "--quiet", "--no-header", "--no-annotate")
    asked = ("pyproject.toml", "--extra=all", "--constraints=constraints.txt", "--python-version=3.11")
    pinned = subprocess.run([*resolve, *asked], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True).stdout
    told = _stages(lambda name: name in ("installer", "dependencies", "runtime"))
    stages = re.sub(r"^#.*\n", "", told, flags=re.MULTILINE)  # what a comment says changes nothing
    return hashlib.sha256(json.dumps([pinned, stages, OMIT]).encode()).hexdigest()[:12]


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
    _buildah("config", '--cmd=["python3"]', f"--env=SSL_CERT_FILE={CERTIFICATES}", f"--env=PATH={PATH}", container)
    _buildah("commit", "--quiet", "--rm", container, BASE)


def _bud(image: str, dockerfile: str, *flags: str, context: Path = ROOT) -> None:
    """Build an image from these stages, in a chroot: there is no engine here."""
    with tempfile.NamedTemporaryFile("w", suffix=".Dockerfile") as file:
        file.write(dockerfile)
        file.flush()
        common = ("--isolation=chroot", "--pull-never", f"--file={file.name}", f"--tag={image}")
        _buildah("bud", "--quiet", *common, *flags, str(context))


def _buildah(*arguments: str) -> str:
    command = ["nice", "buildah", *arguments]
    return subprocess.run(command, env=_environment(), stdout=subprocess.PIPE, text=True, check=True).stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "CONTAINERS_STORAGE_CONF": str(FOLDER / "storage.conf")}


def main() -> int:
    """Build the image of the chart's version."""
    started = time.monotonic()
    build(TAG)
    print(f"{IMAGE}:{TAG} ({time.monotonic() - started:.0f} s)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
