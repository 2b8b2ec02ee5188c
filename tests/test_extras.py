"""A service starts with the packages of its own extra: the image of a service has no others."""

import json
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from services.service import NAMES

ROOT = Path(__file__).parents[1]
PROGRAM = """
import json, os, sys, traceback
from importlib import import_module

class Refused:
    absent = set()

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] in cls.absent:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

def started(name, absent):
    Refused.absent = absent
    try:
        import_module("services.__main__")
        import_module(f"services.{name}.service")
    except Exception:
        return traceback.format_exc()
    return ""

sys.meta_path.insert(0, Refused)
absent = {name: set(modules) for name, modules in json.load(sys.stdin).items()}
computing = [name for name in absent if "torch" not in absent[name]]
for name in sorted(absent, key=computing.count):
    if name in computing and "torch" not in sys.modules:
        Refused.absent = set().union(*(absent[other] for other in computing))
        import torch
    if os.fork() == 0:
        os.write(1, (json.dumps([name, started(name, absent[name])]) + "\\n").encode())
        os._exit(0)
    os.wait()
"""
"""Tells why each service does not start: every one in a process of its own, forked once torch is there, which is slow
to import and does without everything that one of those that need it is without."""


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


def absent(name: str) -> list[str]:
    """Every module here that the extra of a service does not bring."""
    present = installed_by(name)
    assert "grpcio" in present
    found = {
        module
        for module, owners in packages_distributions().items()
        if not {canonicalize_name(owner) for owner in owners} & present
    } - {"kino", "services", "training", "tests"}
    assert "pytest" in found
    return sorted(found)


def test_every_service_starts_with_the_packages_of_its_extra() -> None:
    given = json.dumps({name: absent(name) for name in NAMES})
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=ROOT, input=given, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert dict(json.loads(line) for line in done.stdout.splitlines()) == dict.fromkeys(NAMES, "")
