"""The house rules that no linter knows, checked on every file that git tracks."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAX_FILE_LINES = 300
MAX_NETWORK_LINES = 400
MAX_FUNCTION_LINES = 60
GENERATED = ("kino/v1/", "protos/google/")

UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
BARE_IGNORE = re.compile(r"#\s*type:\s*ignore(?!\[)|#\s*noqa(?!:)")
MACHINE_PATH = re.compile(r"(?<![\w.~/-])/(?:home|root|work|Users|opt|mnt|tmp)/\w")
ADDRESS = re.compile(r"\w+://|--(extra-)?index-url|--find-links|@\s*file:")


def tracked(*suffixes: str) -> list[str]:
    """Paths git tracks that still exist, generated files left out; all of them if no suffix is named."""
    listed = subprocess.run(
        ["git", "-c", "safe.directory=*", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    paths = (path for path in listed.stdout.split("\0") if path and (ROOT / path).is_file())
    return [path for path in paths if path.endswith(suffixes or "") and not path.startswith(GENERATED)]


def lines(path: str) -> list[str]:
    return (ROOT / path).read_text(encoding="utf-8").splitlines()


def matching(pattern: re.Pattern[str], paths: list[str]) -> list[str]:
    """`path:line` of each line the pattern is found in, these rules themselves left out."""
    return [
        f"{path}:{number}"
        for path in paths
        if path != "tests/test_house.py"
        for number, line in enumerate(lines(path), start=1)
        if pattern.search(line)
    ]


PYTHON = tracked(".py")
TEXT = tracked(
    ".py", ".md", ".proto", ".toml", ".yaml", ".yml", ".json", ".txt", ".cfg", "Makefile", ".ci/run", "Dockerfile"
)


def test_files_stay_short() -> None:
    limits = {path: MAX_NETWORK_LINES if path.startswith("kino/models/") else MAX_FILE_LINES for path in PYTHON}
    assert {path: size for path in PYTHON if (size := len(lines(path))) > limits[path]} == {}


def test_functions_fit_a_screen() -> None:
    assert {name: size for path in PYTHON for name, size in functions(path) if size > MAX_FUNCTION_LINES} == {}


def functions(path: str) -> Iterator[tuple[str, int]]:
    """Name and length in lines of every function of a file."""
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield f"{path}:{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1


def test_package_markers_are_empty() -> None:
    assert [path for path in PYTHON if path.endswith("__init__.py") and (ROOT / path).stat().st_size > 0] == []


def test_nothing_is_left_unfinished() -> None:
    assert matching(UNFINISHED, TEXT) == []


def test_every_silenced_check_is_named() -> None:
    assert matching(BARE_IGNORE, PYTHON) == []


def test_no_file_names_a_folder_of_one_machine() -> None:
    assert matching(MACHINE_PATH, TEXT) == []


def test_packages_come_from_wherever_the_installer_is_pointed() -> None:
    assert matching(ADDRESS, ["constraints.txt", "pyproject.toml", "Makefile", ".ci/run"]) == []


def test_every_dependency_is_pinned_exactly() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(entry for extra in project["optional-dependencies"].values() for entry in extra),
    ]
    names = {re.split(r"[^\w.-]", entry)[0].lower() for entry in wanted} - {"kino"}
    pinned = {line.split("==")[0] for line in lines("constraints.txt") if re.match(r"[\w.-]+==\d", line)}
    assert names - pinned == set()
    assert "onnxruntime" not in pinned  # it installs over onnxruntime-gpu, file by file


def test_every_service_has_an_extra_of_its_name() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    services = {path.split("/")[1] for path in PYTHON if path.startswith("services/") and path.count("/") > 1}
    assert services - set(extras) == set()


@pytest.mark.parametrize("document", tracked(".md"))
def test_documents_name_only_targets_that_exist(document: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    commands = re.compile(r"(?:^|^ {4}|`|\$ |&& )make ([a-z][a-z-]*)", flags=re.MULTILINE)
    named = set(commands.findall((ROOT / document).read_text()))
    assert named - targets == set()
