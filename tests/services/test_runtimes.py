"""The shipped networks by both runtimes: the same rows, sentences, pixels and sounds, in process and served."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from kino import wire
from kino.exported import TOLERANCE
from kino.prompts import encode_prompts
from kino.registry import Registry
from kino.v1.encoder_pb2 import EncodeRequest, EncoderServiceDescribeRequest
from kino.v1.encoder_pb2_grpc import EncoderServiceStub
from kino.v1.rewriter_pb2 import RewriteRequest, RewriterServiceDescribeRequest
from kino.v1.rewriter_pb2_grpc import RewriterServiceStub
from kino.v1.tae_pb2 import DECODE_OUTPUT_FRAMES, TaeServiceDecodeRequest, TaeServiceDescribeRequest
from kino.v1.tae_pb2_grpc import TaeServiceStub
from kino.v1.tensor_pb2 import DTYPE_UINT8
from services.audio.engine import AudioEngine, Task
from services.encoder.engine import EncoderEngine
from services.rewriter.engine import RewriterEngine
from services.tae.engine import TaeEngine
from tests.services.conftest import Serve

MODELS = Path(__file__).parents[2] / "models"
SENTENCE = 'FPS-16 a red ball bounces in a meadow, a sign says "GO", the camera pans left'
WISHES = ["my cat zooming around in the snow!!", "surprise me", "two elephants on the moon at night"]
HEARD = ["a ball hits the ground, wind", "a bell rings. Music: slow and sad.", "é " * 300]
LATENTS = np.random.default_rng(0).standard_normal((16, 6, 2, 4), np.float32)
ONNX = {"preset": "mini", "version": "mini", "models": MODELS, "runtime": "onnx"}


@cache
def encoder(runtime: str) -> EncoderEngine:
    return EncoderEngine("mini", "mini", Registry(MODELS), runtime=runtime)


@cache
def rewriter(runtime: str) -> RewriterEngine:
    return RewriterEngine("mini", "mini", Registry(MODELS), runtime=runtime)


@cache
def tae(runtime: str) -> TaeEngine:
    return TaeEngine("mini", "mini", Registry(MODELS), runtime=runtime)


@pytest.mark.parametrize("text", [SENTENCE, "", "a cat", "é " * 300])
def test_towers_give_the_same_rows(text: str) -> None:
    by_torch, by_onnx = encoder("torch").encode(text), encoder("onnx").encode(text)
    assert list(by_onnx) == ["ul2", "byt5", "metaclip"]
    for name, rows in by_onnx.items():
        np.testing.assert_allclose(rows, by_torch[name], rtol=0, atol=TOLERANCE)


def test_the_rewriter_writes_the_same_sentences() -> None:
    by_torch, by_onnx = rewriter("torch"), rewriter("onnx")
    for seed, wish in enumerate(WISHES):
        assert by_onnx.rewrite(wish, seed) == by_torch.rewrite(wish, seed)


def test_the_tae_decodes_the_same_pixels_and_encodes_as_before() -> None:
    by_torch, by_onnx = tae("torch"), tae("onnx")
    ours, theirs = (np.concatenate(list(engine.decode(LATENTS, 45))) for engine in (by_torch, by_onnx))
    assert np.abs(ours.astype(int) - theirs).max() <= 1  # a value on the border of two may fall to either
    assert (ours != theirs).mean() < 1e-3
    for engine in (by_torch, by_onnx):
        assert np.array_equal(next(engine.encode(ours)), next(by_torch.encode(ours)))


def test_the_words_of_a_sound_are_read_alike_and_it_sounds_alike() -> None:
    rows, sounds = [], []
    for runtime, computed_by in (("torch", "torch"), ("auto", "onnx, torch")):
        engine = AudioEngine("mini", "mini", Registry(MODELS), runtime=runtime)
        assert engine.runtime == computed_by
        rows.append([encode_prompts(engine.tower, engine.tokenizer, [text])[0].detach() for text in HEARD])
        *_, last = engine.generate(Task(24_000, 3, description=HEARD[0], steps=2))
        assert last.made is not None
        sounds.append(last.made.sound)
    for ours, theirs in zip(*rows, strict=True):
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(sounds[1], sounds[0], rtol=0, atol=1e-3)
    assert np.abs(sounds[0]).max() > 0.01


def test_without_a_wish_the_faster_runtime_is_taken() -> None:
    registry = Registry(MODELS)
    assert set(EncoderEngine("mini", "mini", registry).runtimes.values()) == {"onnx"}
    assert RewriterEngine("mini", "mini", registry).runtime == "onnx"
    assert TaeEngine("mini", "mini", registry).runtime == "onnx"
    assert RewriterEngine("nano", "nano", registry).runtime == "torch"


async def test_served_rows_equal_those_in_process(serve: Serve) -> None:
    stub = EncoderServiceStub((await serve("encoder", **ONNX)).channel)
    assert (await stub.Describe(EncoderServiceDescribeRequest())).info.runtime == "onnx"
    response = await stub.Encode(EncodeRequest(prompt=SENTENCE))
    rows = encoder("onnx").encode(SENTENCE)
    for embedding in response.embeddings:
        array = wire.decode(embedding.embeddings, "embeddings", "n d")
        np.testing.assert_array_equal(array, rows[embedding.tower])


async def test_served_sentences_equal_those_in_process(serve: Serve) -> None:
    stub = RewriterServiceStub((await serve("rewriter", **ONNX)).channel)
    assert (await stub.Describe(RewriterServiceDescribeRequest())).info.runtime == "onnx"
    response = await stub.Rewrite(RewriteRequest(prompt=WISHES[0], seed=3))
    assert response.prompt == rewriter("onnx").rewrite(WISHES[0], 3).prompt


async def test_served_pixels_equal_those_in_process(serve: Serve) -> None:
    stub = TaeServiceStub((await serve("tae", **ONNX)).channel)
    assert (await stub.Describe(TaeServiceDescribeRequest())).info.runtime == "onnx"
    request = TaeServiceDecodeRequest(latents=wire.encode(LATENTS), frames=45, output=DECODE_OUTPUT_FRAMES)
    *_, last = [event async for event in stub.Decode(request)]
    frames = wire.decode(last.result.frames, "frames", "t h w 3", dtypes=(DTYPE_UINT8,))
    np.testing.assert_array_equal(frames, np.concatenate(list(tae("onnx").decode(LATENTS, 45))))
