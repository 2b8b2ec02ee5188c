from pathlib import Path

import numpy as np
import pytest

from kino.registry import Registry
from services.encoder.engine import EncoderEngine
from training.world.captions import canonical, caption
from training.world.scene import sample

MODELS = Path(__file__).parents[3] / "models"


@pytest.fixture(scope="module")
def engine() -> EncoderEngine:
    return EncoderEngine("mini", "mini", Registry(MODELS))


@pytest.mark.parametrize("tower", ["ul2", "metaclip"])
def test_wordings_of_a_scene_are_nearer_than_other_scenes(engine: EncoderEngine, tower: str) -> None:
    scenes = [sample(3, index, "held_out") for index in range(12)]
    rng = np.random.default_rng(0)
    plain, free = (
        np.stack([engine.encode(text, 16, [tower])[tower][0] for text in texts])
        for texts in ([canonical(scene) for scene in scenes], [caption(scene, rng, "sentence") for scene in scenes])
    )
    plain, free = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (plain, free))
    found = (plain @ free.T).argmax(axis=1)
    assert (found == np.arange(12)).mean() >= 11 / 12


def test_one_letter_changes_what_is_read_of_a_sign(engine: EncoderEngine) -> None:
    first, second = (engine.encode(f'a sign says "{word}"')["byt5"] for word in ("CAFE", "CAVE"))
    assert first.shape == second.shape == (4, 96)
    assert np.abs(first[2] - second[2]).max() > 0.1
