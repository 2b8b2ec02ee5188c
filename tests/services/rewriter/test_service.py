from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
import pytest

from kino.errors import InvalidArgumentError, from_rpc_error
from kino.registry import Registry
from kino.v1.rewriter_pb2 import RewriteRequest, RewriterServiceDescribeRequest
from kino.v1.rewriter_pb2_grpc import RewriterServiceStub
from services.rewriter.engine import RewriterEngine
from tests.services.conftest import Serve, Served

if TYPE_CHECKING:
    from kino.v1.rewriter_pb2_grpc import RewriterServiceAsyncStub


@pytest.fixture
async def served(serve: Serve) -> Served:
    return await serve("rewriter")


@pytest.fixture
def stub(served: Served) -> "RewriterServiceAsyncStub":
    return RewriterServiceStub(served.channel)


@pytest.fixture
def engine(tmp_path: Path) -> RewriterEngine:
    return RewriterEngine("nano", "nano", Registry(tmp_path))


async def test_served_equals_in_process(stub: "RewriterServiceAsyncStub", engine: RewriterEngine) -> None:
    prompt = "my blue elephant in the snow!!"
    response = await stub.Rewrite(RewriteRequest(prompt=prompt, seed=3))
    rewriting = engine.rewrite(prompt, 3)
    assert response.prompt == rewriting.prompt
    assert list(response.kept) == rewriting.account.kept
    assert [(row.asked, row.drawn, row.reason) for row in response.substitutions] == [
        (row.asked, row.drawn, row.reason) for row in rewriting.account.substitutions
    ]
    assert response.model_digest == engine.manifest.digest
    assert response.substitutions


async def test_it_describes_itself(stub: "RewriterServiceAsyncStub") -> None:
    info = (await stub.Describe(RewriterServiceDescribeRequest())).info
    assert (info.component, info.preset, info.ready) == ("rewriter", "nano", True)
    assert (info.limits.prompt_bytes.minimum, info.limits.prompt_bytes.maximum) == (1, 4096)
    assert len(info.digest) == 64


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (RewriteRequest(prompt=""), "prompt"),
        (RewriteRequest(prompt=" \n\t "), "prompt"),
        (RewriteRequest(prompt="x" * 100_000), "prompt"),
        (RewriteRequest(prompt="a \x1b[31m cat"), "prompt"),
        (RewriteRequest(prompt="🐱🚀"), "prompt"),
        (RewriteRequest(prompt="a cat", seed=-1), "seed"),
    ],
)
async def test_bad_input_is_named_and_the_next_request_works(
    stub: "RewriterServiceAsyncStub", request_: RewriteRequest, field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Rewrite(request_)
    error = from_rpc_error(caught.value)
    assert isinstance(error, InvalidArgumentError)
    assert error.field == field
    assert (await stub.Rewrite(RewriteRequest(prompt="a red cat spins in the snow"))).prompt == (
        "a red cat spins in the snow"
    )


async def test_the_longest_prompt_is_taken(stub: "RewriterServiceAsyncStub") -> None:
    response = await stub.Rewrite(RewriteRequest(prompt="zebra " * 682))
    assert response.prompt.startswith(("a ", "an "))
    assert response.substitutions
    assert all("zebra" in row.asked for row in response.substitutions)
