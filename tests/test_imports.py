"""Who may import whom: one row per group of files, enforced on every import statement in the tree."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Names of modules that belong together; `a.b` also stands for everything under it.
NETWORKS = ("kino.models",)
NUMBERS = (
    *("kino.flow", "kino.shapes", "kino.presets", "kino.weights", "kino.adopted", "kino.exported", "kino.parallel"),
    *("kino.denoising", "kino.windows", "kino.conditions"),
)
STORES = ("kino.store", "kino.bucket", "kino.bucket_store")
MEDIA = ("kino.media", "kino.containers", "kino.footage", "kino.sound", "kino.soundtrack", "kino.images")
BYTES = ("kino.wire", *STORES, *MEDIA)
CALLS = ("kino.rpc", "kino.errors")
MESSAGES = ("kino.v1",)
TORCH = ("torch", "torchvision")
GRPC = ("grpc", "grpc_health", "grpc_reflection", "grpc_status")
FACES = ("kino.client", "kino.client_async", "kino.client_services", "kino.client_specs", "kino.cli")
LISTED = (*NETWORKS, *NUMBERS, *BYTES, *CALLS, *MESSAGES, *TORCH, *GRPC, *FACES)


@dataclass(frozen=True)
class Row:
    """The files of a group, and which of the LISTED modules they may import; the rest of the world is open to all."""

    files: tuple[str, ...]
    allowed: tuple[str, ...]

    def refuses(self, imported: str) -> bool:
        return under(imported, LISTED) and not under(imported, self.allowed)


MODELS = Row(("kino/models/*.py",), (*NETWORKS, "kino.shapes", *TORCH))
ENGINE = Row(("services/*/engine.py",), (*NETWORKS, *NUMBERS, *MEDIA, *TORCH))
SERVICE = Row(("services/*/service.py",), ("kino.presets", "kino.shapes", *BYTES, *CALLS, *MESSAGES, *GRPC))
GRAPH = Row(("services/graph/*.py",), ("kino.shapes", *STORES, *MEDIA, *CALLS, *MESSAGES, *GRPC))
OPERATOR = Row(("kino/cli_store.py",), (*STORES, "kino.errors", *FACES))
CLIENT = Row(("kino/client.py", "kino/client_*.py"), ("kino.wire", *CALLS, *MESSAGES, *GRPC, *FACES))
COMMANDS = Row(("kino/cli.py", "kino/cli_*.py"), ("kino.shapes", "kino.wire", *MEDIA, *CALLS, *MESSAGES, *GRPC, *FACES))
TRAINING = Row(("training/*.py",), (*NETWORKS, *NUMBERS, *STORES, *MEDIA, *TORCH))
WORLD = Row(("training/world/*.py",), ("kino.shapes", *STORES, *MEDIA))
ROWS = (
    WORLD,
    GRAPH,
    MODELS,
    ENGINE,
    SERVICE,
    OPERATOR,
    CLIENT,
    COMMANDS,
    TRAINING,
)  # the first row that matches a file counts


def under(module: str, parents: tuple[str, ...]) -> bool:
    """True if a module is one of the parents or lies under one."""
    return any(module == parent or module.startswith(f"{parent}.") for parent in parents)


def imports(source: str) -> Iterator[str]:
    """The dotted names a source imports, anywhere in it; `from a import b` gives `a.b`, right for both readings."""
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                yield from (name.name for name in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield from (f"{module}.{name.name}" for name in names)
            case ast.Call(func=ast.Attribute(attr="import_module"), args=[ast.Constant(value=str(module)), *_]):
                yield module


def violations(path: str, source: str) -> list[str]:
    """What a file imports against the rules, as `path imports module`."""
    imported = set(imports(source))
    refused = {module for module in imported if foreign(path, module)}
    row = next((row for row in ROWS if any(fnmatch(path, pattern) for pattern in row.files)), None)
    if row is not None:
        refused |= {module for module in imported if row.refuses(module)}
    elif fnmatch(path, "services/*/*.py"):  # a part of a service serves its engine or its servicer, never both
        as_engine, as_service = ({m for m in imported if row.refuses(m)} for row in (ENGINE, SERVICE))
        refused |= min(as_engine, as_service, key=len)
    return [f"{path} imports {module}" for module in sorted(refused)]


def foreign(path: str, module: str) -> bool:
    """True if an import crosses between kino, services and training, or from one service into another."""
    package, _, rest = path.partition("/")
    if package == "kino":
        return under(module, ("services", "training"))
    if package == "training":
        return under(module, ("services",))
    in_a_service = "/" in rest
    if in_a_service and under(module, ("services",)):
        own = f"services.{rest.partition('/')[0]}"
        return not under(module, (own, "services.service", "services.description", "services.denoising"))
    return under(module, ("training",))


SOURCES = [
    path.relative_to(ROOT).as_posix()
    for package in ("kino", "services", "training")
    for path in sorted((ROOT / package).rglob("*.py"))
    if not path.is_relative_to(ROOT / "kino" / "v1")
]


@pytest.mark.parametrize("path", SOURCES)
def test_imports_follow_the_table(path: str) -> None:
    assert violations(path, (ROOT / path).read_text()) == []


@pytest.mark.parametrize(
    ("path", "source", "expected"),
    [
        ("kino/models/dit.py", "from kino import flow", ["kino.flow"]),
        ("kino/models/dit.py", "from kino.shapes import Grid\nimport torch", []),
        ("kino/models/dit.py", "def f():\n    import kino.wire", ["kino.wire"]),
        ("kino/flow.py", "from training.data import clips", ["training.data.clips"]),
        ("kino/cli_serve.py", "import importlib\nimportlib.import_module('services.local')", ["services.local"]),
        ("kino/client.py", "import torch\nfrom kino import rpc, store, wire", ["kino.store", "torch"]),
        ("services/tae/engine.py", "import grpc\nfrom kino.v1 import tae_pb2", ["grpc", "kino.v1.tae_pb2"]),
        ("services/tae/engine.py", "from kino import media, presets, weights\nfrom kino.models.tae import TAE", []),
        ("services/tae/service.py", "import torch.nn as nn\nfrom kino import flow", ["kino.flow", "torch.nn"]),
        ("services/tae/service.py", "from services.tae.engine import Engine\nfrom kino import wire, rpc", []),
        ("services/tae/service.py", "from services.service import ServiceConfig\nfrom services import description", []),
        ("services/tae/service.py", "from services.encoder.engine import Engine", ["services.encoder.engine.Engine"]),
        ("services/tae/tiles.py", "import torch, grpc", ["grpc"]),
        ("services/graph/products/image.py", "from kino import wire\nfrom kino.v1 import graph_pb2", ["kino.wire"]),
        ("services/local.py", "from services.tae import service", []),
        ("training/train.py", "from kino import flow, rpc\nimport services", ["kino.rpc", "services"]),
        ("training/world/render.py", "import torch", ["torch"]),
    ],
)
def test_the_checker_finds_what_it_should(path: str, source: str, expected: list[str]) -> None:
    assert violations(path, source) == [f"{path} imports {module}" for module in expected]


TORCHLESS = ["kino.client", "kino.cli", "kino.wire", "services.graph.service", "training.world.render"]


@pytest.mark.parametrize("module", TORCHLESS)
def test_what_needs_no_torch_starts_without_it(module: str) -> None:
    """A client on a small machine, and a director pod, never load torch, however it would come in."""
    program = f"import sys, {module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
