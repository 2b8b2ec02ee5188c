"""A service starts with the packages of its own extra: the image of a service has no others."""

import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from services.service import NAMES

ROOT = Path(__file__).parents[1]
PROGRAM = """
import sys

class Refused:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {absent}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Refused)
import services.__main__
import services.{name}.service
"""


def installed_by(extra: str) -> set[str]:
    """Every distribution that kino brings with an extra, and those that these bring."""
    found: set[tuple[str, str]] = set()
    waiting = [Requirement(f"kino[{extra}]")]
    while waiting:
        wanted = waiting.pop()
        for part in ("", *wanted.extras):
            key = canonicalize_name(wanted.name), part
            if key not in found:
                found.add(key)
                waiting += requirements(*key)
    return {name for name, _ in found}


def requirements(name: str, extra: str) -> list[Requirement]:
    """What a distribution wants on this platform, kino's own as pyproject.toml has it now."""
    if name == "kino":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        rows = project["optional-dependencies"][extra] if extra else project["dependencies"]
    else:
        try:
            rows = distribution(name).requires or []
        except PackageNotFoundError:
            return []  # for another platform
    parsed = map(Requirement, rows)
    return [row for row in parsed if row.marker is None or row.marker.evaluate({"extra": extra})]


@pytest.mark.parametrize("name", NAMES)
def test_a_service_starts_with_the_packages_of_its_extra(name: str) -> None:
    present = installed_by(name)
    assert "grpcio" in present
    absent = {
        module
        for module, owners in packages_distributions().items()
        if not {canonicalize_name(owner) for owner in owners} & present
    } - {"kino", "services", "training", "tests"}
    assert "pytest" in absent
    program = PROGRAM.format(absent=sorted(absent), name=name)
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
