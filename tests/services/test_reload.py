import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from kino import rpc, weights
from kino.manifest import Manifest
from kino.registry import Registry
from kino.v1.rewriter_pb2 import RewriteRequest
from kino.v1.rewriter_pb2_grpc import RewriterServiceStub
from services.host import Host, Plan
from services.reload import COMPONENTS, Reloading
from services.service import NAMES, ServiceConfig, load
from tests import folders
from tests.cluster import minio
from tests.cluster.place import KEYS
from training.adopt import adopt

BALL, CAT = "a red ball .", "a blue cat ."


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry with two rewriters that tell by what they write which one they are; production is the first."""
    return filled(Registry(tmp_path / "models"), tmp_path)


@pytest.fixture(params=["folder", "bucket"])
def shared(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """The same in a folder, and in a bucket of a real MinIO."""
    if request.param == "folder":
        yield filled(Registry(tmp_path / "models"), tmp_path)
        return
    for name, value in {**KEYS, "KINO_CACHE": str(tmp_path / "cache")}.items():
        monkeypatch.setenv(name, value)
    with minio.served(tmp_path / "server") as server:
        minio.make_bucket(server.url("models"))
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.endpoint)
        yield filled(Registry("s3://models"), tmp_path)


def filled(registry: Registry, folder: Path) -> Registry:
    for version, caption in (("ball", BALL), ("cat", CAT)):
        adopt("rewriter", folders.llama(folder / version, chain=f"{caption} </s>"), registry, version, max_tokens=16)
    registry.set_alias("rewriter", "production", "ball", None)
    return registry


def plan(name: str, registry: Registry, folder: Path, seconds: float) -> Plan:
    config = ServiceConfig("1b", "production", str(folder / "store"), registry.name)
    return Plan({name: 0}, config, reload_seconds=seconds)


@asynccontextmanager
async def hosted(plan: Plan) -> AsyncIterator[Host]:
    host = Host(plan)
    try:
        await host.open()
        await host.load()
        yield host
    finally:
        await host.stop()


async def reach(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(100):
        while not condition():  # noqa: ASYNC110 - what is waited for happens elsewhere
            await asyncio.sleep(0.01)


async def test_a_moved_alias_is_served_without_losing_a_request(shared: Registry, tmp_path: Path) -> None:
    answers: list[tuple[str, str]] = []
    done = asyncio.Event()

    async def ask(address: str, number: int) -> None:
        async with rpc.channel(address) as channel:
            stub = RewriterServiceStub(channel)
            while not done.is_set():
                response = await stub.Rewrite(RewriteRequest(prompt="a sign", seed=number))
                answers.append((response.prompt, response.model_digest))

    async with hosted(plan("rewriter", shared, tmp_path, seconds=0.05)) as host:
        clients = [asyncio.create_task(ask(host.addresses["rewriter"], number)) for number in range(3)]
        for version in ("cat", "ball"):
            count = len(answers)
            await reach(lambda count=count: len(answers) > count + 10)  # type: ignore[misc]
            shared.set_alias("rewriter", "production", version, shared.aliases("rewriter")["production"])
            digest = shared.resolve("rewriter", version).digest
            await reach(lambda digest=digest: answers[-1][1] == digest)  # type: ignore[misc]
        done.set()
        await asyncio.gather(*clients)  # a single call that failed would raise here
    texts = {shared.resolve("rewriter", version).digest: text for version, text in (("ball", BALL), ("cat", CAT))}
    assert {(texts[digest], digest) for _, digest in answers} == set(answers)
    assert {text for text, _ in answers} == {BALL, CAT}


async def test_a_version_that_cannot_be_loaded_leaves_the_old_one(
    registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    weights_file = registry.root / "rewriter" / "cat" / "model.safetensors"
    content = weights_file.read_bytes()
    weights_file.write_bytes(b"damaged")
    async with hosted(plan("rewriter", registry, tmp_path, seconds=0.05)) as host:
        with caplog.at_level(logging.INFO, "kino.reload"):
            registry.set_alias("rewriter", "production", "cat", "ball")
            await reach(lambda: "cannot load" in caplog.messages)
            async with rpc.channel(host.addresses["rewriter"]) as channel:
                stub = RewriterServiceStub(channel)
                assert (await stub.Rewrite(RewriteRequest(prompt="a sign"))).prompt == BALL
                weights_file.write_bytes(content)
                registry.set_alias("rewriter", "production", "ball", "cat")
                await reach(lambda: "reloaded" in caplog.messages)
                registry.set_alias("rewriter", "production", "cat", "ball")
                await reach(lambda: caplog.messages.count("reloaded") == 2)
                assert (await stub.Rewrite(RewriteRequest(prompt="a sign"))).prompt == CAT
    assert caplog.messages.count("cannot load") == 1


async def test_a_random_preset_has_nothing_to_follow(tmp_path: Path) -> None:
    config = ServiceConfig("nano", "nano", str(tmp_path / "store"), str(tmp_path / "models"))
    service = Reloading("encoder", config, load("encoder").create)
    await service.start()
    assert not await service.refresh()
    await service.stop()


@pytest.mark.parametrize("name", NAMES)
async def test_the_components_are_those_that_a_service_loads(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "graph":
        assert COMPONENTS[name] == ()
        return
    loaded: set[str] = set()
    random_manifest = weights.random_manifest

    def find(component: str, version: str, registry: Any) -> Manifest:
        loaded.add(component)
        return random_manifest(component, version)

    monkeypatch.setattr(weights, "find", find)
    service = load(name).create(ServiceConfig("nano", "nano", str(tmp_path / "store"), str(tmp_path / "models")))
    await service.start()
    await service.stop()
    assert loaded == set(COMPONENTS.get(name, (name,))) - {
        "towers"
    }  # of published families, which no random preset has
