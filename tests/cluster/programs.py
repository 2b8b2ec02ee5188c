"""Images of one static program each: the cluster's own parts, and MinIO under the name that the chart asks for."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import yaml

from tests.cluster import oci
from tests.cluster.binaries import BINARIES, path
from tests.cluster.place import CHART
from tests.cluster.tools import ctr

VALUES = CHART / "values.yaml"


@dataclass(frozen=True)
class Program:
    """A program that runs as a pod, and where it lies in its image."""

    binary: str
    inside: str
    user: str = "0:0"
    known_as: str = ""  # where others name its image

    @property
    def file(self) -> Path:
        """The program as Go has built it."""
        return path(self.binary)

    @property
    def image(self) -> str:
        """The name of its image."""
        return self.known_as or f"localhost/{self.binary}:{BINARIES[self.binary].version}"


PAUSE = Program("pause", "/pause")
COREDNS = Program("coredns", "/coredns")
TRAINING_OPERATOR = Program("training-operator", "/manager")
RAY_OPERATOR = Program("ray-operator", "/manager", user="65532:65532")
TRAEFIK = Program("traefik", "/traefik")
MINIO = Program("minio", "/usr/bin/minio", known_as=yaml.safe_load(VALUES.read_text())["minio"]["image"])
PROGRAMS = (PAUSE, COREDNS, TRAINING_OPERATOR, RAY_OPERATOR, MINIO)
"""What every cluster has; Traefik comes with the tests of entrances, as it takes minutes to build."""


def load(program: Program) -> None:
    """Give the image of a program to containerd, unless it has it."""
    if program.image in ctr("images", "list", "--quiet").split():
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "image.tar"
        oci.write(archive, program.image, {program.inside: program.file}, [program.inside], program.user)
        ctr("images", "import", str(archive))
