"""The images of the cluster's own parts: one static program each."""

import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import oci
from tests.cluster.binaries import BINARIES, path
from tests.cluster.tools import ctr


@dataclass(frozen=True)
class Program:
    """A program that runs as a pod, and where it lies in its image."""

    binary: str
    inside: str
    user: str = "0:0"

    @property
    def file(self) -> Path:
        """The program as Go has built it."""
        return path(self.binary)

    @property
    def image(self) -> str:
        """The name of its image."""
        return f"localhost/{self.binary}:{BINARIES[self.binary].version}"


PAUSE = Program("pause", "/pause")
COREDNS = Program("coredns", "/coredns")
TRAINING_OPERATOR = Program("training-operator", "/manager")
PROGRAMS = (PAUSE, COREDNS, TRAINING_OPERATOR)


def load(program: Program) -> None:
    """Give the image of a program to containerd, unless it has it."""
    if program.image in ctr("images", "list", "--quiet").split():
        return
    with tempfile.TemporaryDirectory() as folder:
        archive = Path(folder) / "image.tar"
        oci.write(archive, program.image, {program.inside: program.file}, [program.inside], program.user)
        ctr("images", "import", str(archive))
