import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from kino.registry import Registry
from kino.v1.rewriter_pb2 import (
    REWRITE_SOURCE_GRAMMAR,
    REWRITE_SOURCE_MODEL,
    REWRITE_SOURCE_PROMPT,
    RewriteRequest,
    RewriterServiceDescribeRequest,
)
from kino.v1.rewriter_pb2_grpc import RewriterServiceStub
from services.rewriter.account import Rewriting
from services.rewriter.captions import CaptionEngine
from services.rewriter.engine import RewriterEngine, open_rewriter
from services.rewriter.rules import Shown
from tests import folders
from tests.services.conftest import Serve, Served
from training.adopt import adopt

if TYPE_CHECKING:
    from kino.v1.rewriter_pb2_grpc import RewriterServiceAsyncStub

CAPTION = "a red ball bounces ."


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with models that write a caption, never come to an end, and write at random."""
    root = tmp_path_factory.mktemp("adopted")
    registry = Registry(root / "models")
    written = folders.llama(root / "caption", chain="a red ball bounces . </s>")
    adopt("rewriter", written, registry, "caption", max_tokens=16)
    registry.set_alias("rewriter", "1b", "caption", None)
    endless = folders.llama(root / "endless", chain="a red ball . a", context=1024)
    adopt("rewriter", endless, registry, "endless", max_tokens=600)
    adopt("rewriter", folders.llama(root / "no_end", chain="a red a"), registry, "no_end", max_tokens=8)
    return registry.root


async def served_stub(serve: Serve, models: Path, version: str) -> "tuple[Served, RewriterServiceAsyncStub]":
    served = await serve("rewriter", preset="1b", version=version, models=models)
    return served, RewriterServiceStub(served.channel)


async def test_a_caption_of_the_model_is_served(serve: Serve, models: Path) -> None:
    _, stub = await served_stub(serve, models, "1b")
    response = await stub.Rewrite(RewriteRequest(prompt='a "GO" sign', seed=3))
    assert (response.prompt, response.source, response.fallback_reason) == (CAPTION, REWRITE_SOURCE_MODEL, "")
    assert [row.asked for row in response.substitutions] == ['"GO"']
    info = (await stub.Describe(RewriterServiceDescribeRequest())).info
    assert (info.preset, info.version, info.family) == ("1b", "caption", "llama")
    assert response.model_digest == info.digest == Registry(models).resolve("rewriter", "caption").digest


async def test_a_prompt_stays_as_it_was_where_the_model_writes_no_caption(serve: Serve, models: Path) -> None:
    _, stub = await served_stub(serve, models, "no_end")
    response = await stub.Rewrite(RewriteRequest(prompt="a blue cat"))
    assert (response.prompt, response.source) == ("a blue cat", REWRITE_SOURCE_PROMPT)
    assert response.fallback_reason.startswith("the model wrote no caption: answer is ''")
    response = await stub.Rewrite(RewriteRequest(prompt="cat " * 1000))
    assert response.prompt == "cat " * 999 + "cat"
    assert "tokens, there is room for 504 of 512 beside the answer" in response.fallback_reason


async def test_cancelling_ends_the_model_within_a_token(serve: Serve, models: Path) -> None:
    served, stub = await served_stub(serve, models, "endless")
    engine, taken, begun = served.servicer._engine, 0, asyncio.Event()
    loop = asyncio.get_running_loop()

    def counted(prompt: str, seed: int, shown: Shown) -> Iterator[Rewriting | None]:
        nonlocal taken
        for step in CaptionEngine.steps(engine, prompt, seed, shown):
            taken += 1
            loop.call_soon_threadsafe(begun.set)
            yield step

    served.servicer._engine.steps = counted
    call = stub.Rewrite(RewriteRequest(prompt="a cat"))
    waiting = asyncio.ensure_future(begun.wait())
    await asyncio.wait([waiting, asyncio.ensure_future(call.code())], return_when=asyncio.FIRST_COMPLETED)
    assert call.cancel()
    async with served.servicer._queue.turn():  # free again
        assert 0 < taken < 600
    del served.servicer._engine.steps
    assert (await stub.Rewrite(RewriteRequest(prompt="a cat"))).prompt.startswith("a red ball .")


def test_an_engine_is_chosen_by_the_version(models: Path) -> None:
    assert isinstance(open_rewriter("mini", "caption", Registry(models)), CaptionEngine)
    own = open_rewriter("nano", "nano", Registry(models))
    assert isinstance(own, RewriterEngine)
    assert [step.source for step in own.steps("a red cat", 0) if step] == ["grammar"]


async def test_a_grammar_says_that_it_wrote(serve: Serve) -> None:
    stub = RewriterServiceStub((await serve("rewriter")).channel)
    response = await stub.Rewrite(RewriteRequest(prompt="my blue elephant"))
    assert (response.source, response.fallback_reason) == (REWRITE_SOURCE_GRAMMAR, "")
