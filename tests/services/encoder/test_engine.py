from pathlib import Path

import numpy as np
import pytest

from kino.presets import PRESETS
from kino.registry import Registry
from services.encoder.engine import EncoderEngine


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> EncoderEngine:
    return EncoderEngine("nano", "nano", Registry(tmp_path_factory.mktemp("models")))


def test_each_tower_gives_its_own_rows(engine: EncoderEngine) -> None:
    rows = engine.encode('a sign says "GO"')
    assert list(rows) == list(PRESETS["nano"].towers) == ["ul2", "byt5", "metaclip"]
    assert {name: array.shape for name, array in rows.items()} == {
        "ul2": (17, 32),  # BEGIN and 16 bytes
        "byt5": (2, 32),
        "metaclip": (1, 32),
    }
    assert all(array.dtype == np.float32 for array in rows.values())


def test_nothing_quoted_gives_no_rows(engine: EncoderEngine) -> None:
    assert engine.encode("a red ball")["byt5"].shape == (0, 32)
    assert engine.encode("")["byt5"].shape == (0, 32)
    assert engine.encode("")["ul2"].shape == (1, 32)


def test_the_frame_rate_is_words_before_the_prompt(engine: EncoderEngine) -> None:
    stated, written = engine.encode("a red ball", fps=16), engine.encode("FPS-16 a red ball")
    plain = engine.encode("a red ball")
    for name in stated:
        np.testing.assert_array_equal(stated[name], written[name])
    assert np.abs(stated["metaclip"] - plain["metaclip"]).max() > 1e-3
    np.testing.assert_array_equal(engine.encode("", fps=16)["ul2"], engine.encode("")["ul2"])


def test_a_text_repeats_bit_for_bit_and_a_new_engine_agrees(engine: EncoderEngine, tmp_path: Path) -> None:
    other = EncoderEngine("nano", "nano", Registry(tmp_path))
    engine.encode("in between")
    for name, array in engine.encode("a blue cat").items():
        np.testing.assert_array_equal(array, engine.encode("a blue cat")[name])
        np.testing.assert_array_equal(array, other.encode("a blue cat")[name])
    assert other.digest == engine.digest


def test_long_texts_are_cut(engine: EncoderEngine) -> None:
    assert engine.encode("x" * 500)["ul2"].shape == (PRESETS["nano"].towers["ul2"].max_tokens, 32)


def test_towers_can_be_named(engine: EncoderEngine) -> None:
    rows = engine.encode("a red ball", towers=["metaclip"])
    np.testing.assert_array_equal(rows["metaclip"], engine.encode("a red ball")["metaclip"])
    assert list(rows) == ["metaclip"]
    with pytest.raises(ValueError, match="towers is 't5', must be among ul2, byt5, metaclip"):
        engine.encode("a", towers=["t5"])
    with pytest.raises(ValueError, match="towers is 'ul2' twice"):
        engine.encode("a", towers=["ul2", "ul2"])
