import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROTOS = sorted((ROOT / "protos" / "kino" / "v1").glob("*.proto"))
SERVICES = [path for path in PROTOS if "\nservice " in path.read_text()]
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

pytestmark = pytest.mark.skipif(
    shutil.which("buf", path=ENVIRONMENT["PATH"]) is None, reason="the tools of the dev extra are not installed"
)


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def generate(folder: Path) -> None:
    protoc = (sys.executable, "-m", "grpc_tools.protoc", "-Iprotos")
    for outputs, protos in (
        ((f"--python_out={folder}", f"--mypy_out=quiet:{folder}"), PROTOS),
        ((f"--grpc_python_out={folder}", f"--mypy_grpc_out=quiet:{folder}"), SERVICES),
    ):
        done = run(*protoc, *outputs, *(str(path.relative_to(ROOT)) for path in protos))
        assert done.returncode == 0, done.stderr


def test_the_committed_code_is_what_the_protos_generate(tmp_path: Path) -> None:
    generate(tmp_path)
    fresh = {path.name: path.read_text() for path in (tmp_path / "kino" / "v1").iterdir()}
    committed = {path.name: path.read_text() for path in (ROOT / "kino" / "v1").glob("*_pb2*")}
    assert sorted(fresh) == sorted(committed)
    assert [name for name in fresh if fresh[name] != committed[name]] == []  # `make protos` mends it


def test_buf_finds_no_fault() -> None:
    done = run("buf", "lint")
    assert (done.returncode, done.stdout) == (0, "")


def test_nothing_breaks_the_released_protos() -> None:
    done = run("buf", "breaking", "--against", "protos/image.binpb")
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("int32 frames = 3;", "int64 frames = 3;", 'Field "3" with name "frames" on message "GenerateRequest"'),
        ("int64 seed = 6;", "int64 seed = 16;", 'Previously present field "6" with name "seed"'),
    ],
)
def test_a_breaking_change_is_noticed(tmp_path: Path, old: str, new: str, complaint: str) -> None:
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    path = tmp_path / "protos" / "kino" / "v1" / "generator.proto"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    done = run("buf", "breaking", "--against", "protos/image.binpb", cwd=tmp_path)
    assert done.returncode != 0
    assert complaint in done.stdout


def test_a_field_without_a_comment_is_noticed(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "protos", tmp_path / "protos")
    shutil.copy(ROOT / "buf.yaml", tmp_path)
    path = tmp_path / "protos" / "kino" / "v1" / "media.proto"
    path.write_text(path.read_text().replace("    // The whole file.\n", ""))
    done = run("buf", "lint", cwd=tmp_path)
    assert 'Field "data" should have a non-empty comment' in done.stdout
