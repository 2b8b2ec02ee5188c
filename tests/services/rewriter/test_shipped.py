from pathlib import Path

import numpy as np
import pytest

from kino.registry import Registry
from services.rewriter.engine import RewriterEngine
from training.world.captions import canonical, caption
from training.world.scene import sample

MODELS = Path(__file__).parents[3] / "models"


@pytest.fixture(scope="module")
def engine() -> RewriterEngine:
    return RewriterEngine("mini", "mini", Registry(MODELS))


def test_captions_come_out_canonical(engine: RewriterEngine) -> None:
    rng = np.random.default_rng(0)
    for index in range(8):
        scene = sample(5, index, "held_out")
        assert engine.rewrite(caption(scene, rng, "sentence"), 0).prompt == canonical(scene)


@pytest.mark.parametrize(
    ("prompt", "kept", "stand_ins"),
    [
        ("my cat zooming around in the snow!!", ["cat", "zooming around", "in the snow"], {}),
        ("an elephant dancing on mars", [], {"elephant": "cat", "mars": "desert"}),
        ("a hippopotamus in the forest", ["in the forest"], {"hippopotamus": None}),
        ("PLEASE a magenta boat at sea, zoom in", ["boat", "sea", "zoom in"], {"magenta": "pink"}),
    ],
)
def test_what_people_type_is_kept_or_told(
    engine: RewriterEngine, prompt: str, kept: list[str], stand_ins: dict[str, str | None]
) -> None:
    rewriting = engine.rewrite(prompt, 1)
    assert engine.grammar.parse(rewriting.prompt) is not None
    assert rewriting.account.kept == kept
    told = {row.asked: row.drawn for row in rewriting.account.substitutions}
    for asked, drawn in stand_ins.items():
        assert asked in told
        assert drawn is None or told[asked] == drawn


def test_a_seed_decides_what_is_left_open(engine: RewriterEngine) -> None:
    prompts = [engine.rewrite("a rocket", seed).prompt for seed in range(6)]
    assert all(" rocket " in prompt for prompt in prompts)
    assert len(set(prompts)) > 1
    assert engine.rewrite("a rocket", 3).prompt == prompts[3]
