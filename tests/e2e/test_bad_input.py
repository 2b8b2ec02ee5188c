"""What must be refused, at the graph and at every service: a typed answer that says why, and the next call works."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from kino.client import Encoding, Kino, Latents, Pipeline, text_to_image, text_to_video
from kino.errors import InvalidArgumentError, KinoError, NotFoundError
from kino.v1.encoder_pb2 import EncodeRequest, EncodeResponse
from kino.v1.generator_pb2 import GenerateRequest
from kino.v1.graph_pb2 import ExportRequest, GenerationSpec, Port
from kino.v1.rewriter_pb2 import RewriteRequest
from kino.v1.tae_pb2 import TaeServiceDecodeRequest
from tests.e2e.conftest import Served

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

PROMPTS = {
    "empty": "",
    "blank": " \n",
    "100 kB": "ball " * 20_000,
    "control characters": "a ball\x00\x1b[2J",
    "emoji alone": "🎈🐱",
}
OPTIONS: dict[str, dict[str, Any]] = {
    "seconds": {"seconds": 0.0},
    "seconds below 0": {"seconds": -1.0},
    "seconds nan": {"seconds": math.nan},
    "seconds inf": {"seconds": math.inf},
    "seconds beyond": {"seconds": 1e6},
    "fps": {"fps": 0},
    "fps below 0": {"fps": -16},
    "fps beyond": {"fps": 100_000},
    "aspect": {"aspect": "2:7"},
    "height 0": {"size": (0, 32)},
    "width below 0": {"size": (32, -32)},
    "width beyond": {"size": (32, 1 << 20)},
    "width of no multiple": {"size": (32, 33)},
    "steps": {"steps": 0},
    "steps below 0": {"steps": -1},
    "steps beyond": {"steps": 1_000_000},
    "linear_steps": {"steps": 10, "linear_steps": 5},
    "guidance": {"guidance": -1.0},
    "guidance nan": {"guidance": math.nan},
    "guidance inf": {"guidance": math.inf},
    "seed": {"seed": -1},
}


@pytest.fixture(scope="module")
def kino(served: Served) -> Any:
    with Kino(served.graph, services=served.addresses) as client:
        yield client


@pytest.fixture(scope="module")
def text(kino: Kino) -> Encoding:
    return kino.encoder.encode("a red ball")


@pytest.mark.parametrize("prompt", PROMPTS.values(), ids=PROMPTS.keys())
def test_prompts(prompt: str, kino: Kino) -> None:
    calls: tuple[Callable[[], object], ...] = (
        lambda: kino.generations.create(text_to_video(prompt)),
        lambda: kino.generations.create(text_to_image(prompt)),
        lambda: kino.rewriter.rewrite(prompt),
        lambda: kino.encoder.encode(prompt),
    )
    for call in calls:
        with pytest.raises(InvalidArgumentError) as refused:
            call()
        assert refused.value.field.endswith("prompt")
        assert refused.value.bound
    assert kino.rewriter.rewrite("a red ball").prompt


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS.keys())
def test_options_of_a_film(options: dict[str, Any], kino: Kino) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        kino.generations.create(text_to_video("a red ball", **options))
    names = {name for option in options for name in ((option,) if option != "size" else ("height", "width"))}
    assert refused.value.field.rpartition(".")[2] in names
    assert refused.value.bound
    assert kino.encoder.describe().ready


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"frames": 0}, "frames"),
        ({"frames": -8}, "frames"),
        ({"frames": 1 << 30}, "frames"),
        ({"size": (32, 40)}, "width"),
        ({"seed": -1}, "seed"),
        ({"steps": 0}, "steps"),
        ({"guidance": math.nan}, "guidance"),
    ],
)
def test_the_generator_alone(options: dict[str, Any], field: str, kino: Kino, text: Encoding) -> None:
    order: dict[str, Any] = {"frames": 8, "size": (32, 32), "steps": 2}
    with pytest.raises(InvalidArgumentError) as refused:
        kino.generator.generate(text, **(order | options))
    assert refused.value.field.rpartition(".")[2] == field
    assert kino.generator.generate(text, **order).values.shape == (16, 1, 4, 4)


def test_embeddings_that_lie(kino: Kino, text: Encoding) -> None:
    """Tensors with a wrong byte count, rank, dtype or NaNs in them."""

    def refused(change: Callable[[Any], None]) -> str:
        response = EncodeResponse()
        response.CopyFrom(text.response)
        change(response.embeddings[0].embeddings)
        with pytest.raises(InvalidArgumentError) as error:
            kino.generator.generate(Encoding({}, {}, response), frames=8, size=(32, 32), steps=1)
        return error.value.field

    nan = np.full(1, np.nan, np.float32).tobytes()
    assert refused(lambda tensor: setattr(tensor, "data", tensor.data[:-1])).endswith("data")
    assert refused(lambda tensor: tensor.shape.append(1)).endswith("shape")
    assert refused(lambda tensor: setattr(tensor, "dtype", 99)).endswith("dtype")
    assert "[" in refused(lambda tensor: setattr(tensor, "data", nan + tensor.data[4:]))
    assert refused(lambda tensor: setattr(tensor, "uri", "../../etc/passwd"))
    assert kino.generator.generate(text, frames=8, size=(32, 32), steps=1).frames == 8


def test_latents_and_pixels_that_do_not_fit(kino: Kino) -> None:
    latents = Latents(np.zeros((16, 1, 4, 4), np.float32), 8, "")
    for wrong in (
        Latents(latents.values[:8], 8, ""),
        Latents(latents.values, 9, ""),
        Latents(latents.values, 0, ""),
        Latents(np.full_like(latents.values, np.inf), 8, ""),
    ):
        with pytest.raises(InvalidArgumentError):
            kino.tae.decode(wrong)
    with pytest.raises(InvalidArgumentError):
        kino.tae.encode(np.zeros((8, 33, 32, 3), np.uint8))
    assert kino.tae.decode(latents).shape == (8, 32, 32, 3)


def test_artifacts_that_are_not_there(kino: Kino) -> None:
    with pytest.raises(NotFoundError):
        kino.artifacts.download(f"kino://sha256/{'0' * 64}")
    for uri in ("", "../../etc/passwd", "file:///etc/passwd", "kino://sha256/../../etc"):
        with pytest.raises(InvalidArgumentError):
            kino.artifacts.download(uri)
    with pytest.raises(InvalidArgumentError):
        kino.artifacts.upload(b"", "video/mp4")
    with pytest.raises(InvalidArgumentError):
        kino.artifacts.upload(b"abc", "not a type")
    assert kino.artifacts.download(kino.artifacts.upload(b"abc", "text/plain")) == b"abc"


def cyclic() -> Pipeline:
    pipeline = Pipeline()
    pipeline.call("a", RewriteRequest(), prompt=Port(node="b", field="prompt"))
    b = pipeline.call("b", RewriteRequest(), prompt=Port(node="a", field="prompt"))
    pipeline.output("x", b["prompt"])
    return pipeline


def dangling() -> Pipeline:
    pipeline = Pipeline()
    text = pipeline.call("a", EncodeRequest(), prompt=Port(node="nobody", field="prompt"))
    pipeline.output("x", text["embeddings"])
    return pipeline


def mistyped() -> Pipeline:
    pipeline = Pipeline()
    text = pipeline.call("a", EncodeRequest(prompt="a ball"))
    video = pipeline.call("b", TaeServiceDecodeRequest(frames=8, fps=16), latents=text["model_digest"])
    pipeline.output("x", pipeline.call("c", ExportRequest(), video=video["video"])["media"])
    return pipeline


def crowded() -> Pipeline:
    pipeline = Pipeline()
    for index in range(1000):
        pipeline.call(f"n{index}", GenerateRequest(frames=8, height=32, width=32))
    pipeline.output("x", Port(node="n0", field="latents"))
    return pipeline


@pytest.mark.parametrize("make", [Pipeline, cyclic, dangling, mistyped, crowded])
def test_pipelines_that_cannot_run(make: Callable[[], Pipeline], kino: Kino) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        kino.generations.create(make().spec())
    assert "pipeline" in refused.value.field
    assert kino.describe().max_nodes > 0


def test_orders_that_are_none(kino: Kino) -> None:
    with pytest.raises(InvalidArgumentError):
        kino.generations.create(GenerationSpec())
    with pytest.raises(InvalidArgumentError):
        kino.generations.create(text_to_video("a ball"), idempotency_key="ä\n")
    for call in (kino.generations.get, kino.generations.cancel, kino.generations.delete):
        with pytest.raises(KinoError) as refused:
            call("no such generation")
        assert isinstance(refused.value, NotFoundError | InvalidArgumentError)
