from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from kino import wire
from kino.errors import FailedPreconditionError
from kino.registry import Registry
from kino.v1.encoder_pb2 import EncodeRequest, EncoderServiceDescribeRequest
from kino.v1.encoder_pb2_grpc import EncoderServiceStub
from kino.v1.info_pb2 import Info, TextSpace
from services.encoder.engine import EncoderEngine
from services.graph.fit import check_fit
from services.graph.pipeline import check
from tests import folders
from tests.services.conftest import Serve, Served
from tests.services.graph.test_fit import infos, pipeline
from training.adopt import adopt

if TYPE_CHECKING:
    from kino.v1.encoder_pb2_grpc import EncoderServiceAsyncStub

PROMPT = 'a red ball and a sign says "GO"'


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry with towers as wide as those of the paper's rows, and a narrow one."""
    root = tmp_path_factory.mktemp("adopted")
    registry = Registry(root / "models")
    adopt("ul2", folders.t5(root / "ul2", width=4096), registry, "real")
    adopt("byt5", folders.byt5(root / "byt5", width=1472), registry, "real")
    adopt("metaclip", folders.clip(root / "metaclip", width=1280), registry, "real")
    for component in ("ul2", "byt5", "metaclip"):
        registry.set_alias(component, "1b", "real", None)
    adopt("ul2", folders.t5(root / "narrow", width=64), registry, "narrow")
    return registry.root


@pytest.fixture(scope="module")
def engine(models: Path) -> EncoderEngine:
    return EncoderEngine("1b", "1b", Registry(models))


@pytest.fixture
async def served(serve: Serve, models: Path) -> Served:
    return await serve("encoder", preset="1b", version="1b", models=models)


@pytest.fixture
def stub(served: Served) -> "EncoderServiceAsyncStub":
    return EncoderServiceStub(served.channel)


def test_each_tower_gives_rows_of_the_papers_width(engine: EncoderEngine) -> None:
    shapes = {name: rows.shape for name, rows in engine.encode(PROMPT).items()}
    assert shapes == {
        "ul2": (11, 4096),
        "byt5": (3, 1472),
        "metaclip": (1, 1280),
    }  # UL2: ten words or signs, and the end
    assert {name: rows.shape[0] for name, rows in engine.encode("").items()} == {"ul2": 1, "byt5": 0, "metaclip": 1}


def test_the_frame_rate_is_words_before_the_prompt(engine: EncoderEngine) -> None:
    stated, written = engine.encode("a red ball", fps=16), engine.encode("FPS-16 a red ball")
    for name, rows in stated.items():
        np.testing.assert_array_equal(rows, written[name])
    assert stated["ul2"].shape[0] == engine.encode("a red ball")["ul2"].shape[0] + 3  # FPS, - and 16


def test_a_text_repeats_bit_for_bit_and_a_new_engine_agrees(engine: EncoderEngine, models: Path) -> None:
    other = EncoderEngine("1b", "real", Registry(models))
    first = engine.encode(PROMPT)
    engine.encode("a cat in between")
    for name, rows in first.items():
        np.testing.assert_array_equal(rows, engine.encode(PROMPT)[name])
        np.testing.assert_array_equal(rows, other.encode(PROMPT)[name])
    assert other.digest == engine.digest


def test_a_tower_that_is_too_narrow_or_missing_is_named(models: Path) -> None:
    with pytest.raises(ValueError, match=r"width of ul2/narrow is 64, must be 4096: .* the generator of 1b reads"):
        EncoderEngine("1b", "narrow", Registry(models))


async def test_served_equals_in_process(stub: "EncoderServiceAsyncStub", engine: EncoderEngine) -> None:
    calls = [stub.Encode(EncodeRequest(prompt=text, fps=16)) for text in ("a cat", PROMPT, "red " * 600)]
    response = [await call for call in calls][1]
    rows = engine.encode(PROMPT, fps=16)
    assert [embedding.tower for embedding in response.embeddings] == ["ul2", "byt5", "metaclip"]
    for embedding in response.embeddings:
        array = wire.decode(embedding.embeddings, "embeddings", "n d")
        np.testing.assert_array_equal(array, rows[embedding.tower])
        assert embedding.text_space == engine.manifests[embedding.tower].digest
    assert response.model_digest == engine.digest


async def test_it_describes_its_towers(stub: "EncoderServiceAsyncStub") -> None:
    info = (await stub.Describe(EncoderServiceDescribeRequest())).info
    assert (info.preset, info.version) == ("1b", "real")
    assert [(space.tower, space.width, space.max_tokens) for space in info.text_spaces] == [
        ("ul2", 4096, 512),
        ("byt5", 1472, 100),
        ("metaclip", 1280, 1),
    ]


async def test_a_generator_of_another_width_is_refused(stub: "EncoderServiceAsyncStub") -> None:
    encoder = (await stub.Describe(EncoderServiceDescribeRequest())).info
    generator = infos()["generator"]
    generator.text_spaces[0].CopyFrom(TextSpace(tower="ul2", digest=encoder.text_spaces[0].digest, width=4096))
    fitting: dict[str, Info] = infos() | {"encoder": encoder, "generator": generator}
    check_fit(check(pipeline()), fitting)
    generator.text_spaces[0].width = 2048
    words = (
        "encoder real and generator 2 do not fit: sample reads rows of ul2 that are 2048 wide, those of text are 4096"
    )
    with pytest.raises(FailedPreconditionError, match=words):
        check_fit(check(pipeline()), fitting)
