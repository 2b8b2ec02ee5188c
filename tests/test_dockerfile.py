"""What the one Dockerfile promises; that it builds is for a machine with an engine to show."""

import fnmatch
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from services.service import NAMES

ROOT = Path(__file__).parents[1]
LINES = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if line and not line.startswith("#")]
STAGES = "\n".join(LINES).split("FROM ")[1:]


def test_the_image_runs_as_nobody_and_holds_nothing_that_builds() -> None:
    *_, runtime, image = STAGES
    assert runtime.startswith("python:3.11-slim-bookworm AS runtime\n")
    assert image.startswith("runtime\n")
    assert "RUN " not in runtime + image  # nothing is installed beside what was built
    assert "USER 10001:10001" in image
    assert image.rstrip().endswith('ENTRYPOINT ["python", "-m", "services"]')


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    copied = [words[1:-1] for line in LINES if (words := line.split())[0] == "COPY" and "--from" not in line]
    for name in (name for names in copied for name in names):
        assert (ROOT / name).exists(), name
        assert any(fnmatch.fnmatch(name, pattern) for pattern in allowed), name


def test_the_installer_is_the_one_of_the_makefile() -> None:
    versions = [
        re.search(r"^(?:ARG )?UV_VERSION *:?= *(\S+)$", (ROOT / name).read_text(), re.MULTILINE) for name in FILES
    ]
    assert len({found[1] for found in versions if found}) == 1
    assert all(versions)


FILES = ("Dockerfile", "Makefile")


def test_dependencies_do_not_change_with_the_code() -> None:
    (dependencies,) = (stage for stage in STAGES if "AS dependencies\n" in stage)
    copied = [line.split()[1:-1] for line in dependencies.splitlines() if line.startswith("COPY")]
    assert copied == [["pyproject.toml", "constraints.txt"]]
    assert STAGES[-1].index("COPY models") < STAGES[-1].index("COPY --from=project")  # what changes most often is last


def test_the_image_of_all_serves_as_any_service_and_trains() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (row,) = (Requirement(entry) for entry in extras["all"])
    assert row.extras == {*NAMES, "train", "s3"}


@pytest.mark.parametrize("extra", [*NAMES, "all", "train"])
def test_every_service_has_an_extra_to_build_with(extra: str) -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert {extra, "s3"} <= extras.keys()


def test_the_locked_versions_satisfy_what_the_image_installs() -> None:
    """The command of the Dockerfile finds all that it asks for in this environment, which constraints.txt made."""
    (line,) = (line for line in LINES if "--requirements" in line)
    words = shlex.split(line.partition("&&")[2].replace("${EXTRA}", "tae"))
    command = [sys.executable, "-m", *words, "--dry-run", "--offline", "--python", sys.executable]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert re.search(r"Would make no changes|Audited \d+ packages", done.stderr), done.stderr
