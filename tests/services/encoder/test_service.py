from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
import numpy as np
import pytest

from kino import wire
from kino.errors import InvalidArgumentError, from_rpc_error
from kino.registry import Registry
from kino.v1.encoder_pb2 import EncodeRequest, EncoderServiceDescribeRequest
from kino.v1.encoder_pb2_grpc import EncoderServiceStub
from kino.v1.tensor_pb2 import DELIVERY_STORE
from services.encoder.engine import EncoderEngine
from tests.services.conftest import Serve, Served

if TYPE_CHECKING:
    from kino.v1.encoder_pb2_grpc import EncoderServiceAsyncStub

PROMPT = 'a red ball and a sign "GO"'


@pytest.fixture
async def served(serve: Serve) -> Served:
    return await serve("encoder")


@pytest.fixture
def stub(served: Served) -> "EncoderServiceAsyncStub":
    return EncoderServiceStub(served.channel)


@pytest.fixture
def engine(tmp_path: Path) -> EncoderEngine:
    return EncoderEngine("nano", "nano", Registry(tmp_path))


async def test_served_equals_in_process(stub: "EncoderServiceAsyncStub", engine: EncoderEngine) -> None:
    response = await stub.Encode(EncodeRequest(prompt=PROMPT, fps=16))
    for served, text in ((response.embeddings, f"FPS-16 {PROMPT}"), (response.unconditional, "")):
        rows = engine.encode(text)
        assert [embedding.tower for embedding in served] == list(rows)
        for embedding in served:
            array = wire.decode(embedding.embeddings, "embeddings", "n d")
            np.testing.assert_array_equal(array, rows[embedding.tower])
            assert embedding.text_space == engine.manifests[embedding.tower].digest
    assert response.model_digest == engine.digest


async def test_calls_side_by_side_do_not_touch_each_other(stub: "EncoderServiceAsyncStub") -> None:
    alone = await stub.Encode(EncodeRequest(prompt=PROMPT))
    calls = [stub.Encode(EncodeRequest(prompt=text)) for text in ("a cat", PROMPT, "b" * 300)]
    together = [await call for call in calls]
    assert together[1].SerializeToString(deterministic=True) == alone.SerializeToString(deterministic=True)


async def test_embeddings_come_from_the_store_where_asked(stub: "EncoderServiceAsyncStub", served: Served) -> None:
    inline = await stub.Encode(EncodeRequest(prompt=PROMPT, towers=["ul2"]))
    stored = await stub.Encode(EncodeRequest(prompt=PROMPT, towers=["ul2"], delivery=DELIVERY_STORE))
    tensor = stored.embeddings[0].embeddings
    assert tensor.WhichOneof("content") == "uri"
    assert served.store.get(tensor.uri) == inline.embeddings[0].embeddings.data
    assert len(stored.embeddings) == 1


async def test_it_describes_its_towers(stub: "EncoderServiceAsyncStub", engine: EncoderEngine) -> None:
    info = (await stub.Describe(EncoderServiceDescribeRequest())).info
    assert (info.component, info.version, info.preset, info.ready) == ("encoder", "nano", "nano", True)
    assert info.digest == engine.digest
    assert [(space.tower, space.width, space.max_tokens) for space in info.text_spaces] == [
        ("ul2", 32, 64),
        ("byt5", 32, 32),
        ("metaclip", 32, 1),
    ]
    assert info.limits.prompt_bytes.maximum == 4096


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (EncodeRequest(prompt=""), "prompt"),
        (EncodeRequest(prompt="   "), "prompt"),
        (EncodeRequest(prompt="x" * 100_000), "prompt"),
        (EncodeRequest(prompt="a \x07 bell"), "prompt"),
        (EncodeRequest(prompt="🐱🐱🐱"), "prompt"),
        (EncodeRequest(prompt="a cat", negative_prompt="\x00"), "negative_prompt"),
        (EncodeRequest(prompt="a cat", fps=0), "fps"),
        (EncodeRequest(prompt="a cat", fps=61), "fps"),
        (EncodeRequest(prompt="a cat", towers=["t5"]), "towers"),
        (EncodeRequest(prompt="a cat", towers=["ul2", "ul2"]), "towers"),
    ],
)
async def test_bad_input_is_named_and_the_next_request_works(
    stub: "EncoderServiceAsyncStub", request_: EncodeRequest, field: str
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Encode(request_)
    error = from_rpc_error(caught.value)
    assert isinstance(error, InvalidArgumentError)
    assert error.field == field
    assert len((await stub.Encode(EncodeRequest(prompt="a cat"))).embeddings) == 3


async def test_bytes_that_are_no_utf8_are_refused(served: Served, stub: "EncoderServiceAsyncStub") -> None:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = served.channel.unary_unary("/kino.v1.EncoderService/Encode")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call(b"\x0a\x02\xff\xfe")  # field 1: two bytes that are in no UTF-8 text
    assert caught.value.code() in (grpc.StatusCode.INTERNAL, grpc.StatusCode.INVALID_ARGUMENT)
    assert len((await stub.Encode(EncodeRequest(prompt="a cat"))).embeddings) == 3
