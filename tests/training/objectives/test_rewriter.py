import math
from pathlib import Path

import numpy as np
import pytest
import torch

from kino.models.lm import LmConfig
from kino.tokens import END
from training.objectives.pairs import draw_pair
from training.objectives.rewriter import RewriterObjective, RewriterSettings

CONFIG = LmConfig(vocabulary=500, width=32, layers=1, heads=2, kv_heads=1, hidden=64, max_tokens=384)


@pytest.fixture(scope="module")
def objective(tmp_path_factory: pytest.TempPathFactory) -> RewriterObjective:
    torch.manual_seed(0)
    return RewriterObjective(RewriterSettings("mini", batch=8), CONFIG, tmp_path_factory.mktemp("runs"))


def test_drafts_alone_are_to_be_written(objective: RewriterObjective) -> None:
    generator = torch.Generator().manual_seed(0)
    batch = objective.batch(generator)
    seed = int(torch.randint(2**62, (), generator=torch.Generator().manual_seed(0)))
    rng = np.random.default_rng(seed)
    for ids, written in zip(batch["ids"], batch["written"], strict=True):
        prompt, draft = draw_pair(rng)
        tokens = ids[written].tolist()
        assert tokens[-1] == END
        assert objective.tokenizer.decode(tokens).strip() == draft
        assert objective.tokenizer.decode(ids[~written].tolist()).strip() == prompt.lower().strip()


def test_it_learns_and_its_drafts_are_scored(objective: RewriterObjective, tmp_path: Path) -> None:
    optimiser = torch.optim.AdamW(objective.model.parameters(), lr=1e-2)
    curve = []
    for step in range(25):
        generator = torch.Generator().manual_seed(step)
        loss = objective.loss(objective.batch(generator), generator)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        curve.append(loss.item())
    assert curve[0] == pytest.approx(math.log(500), abs=0.3)
    assert np.mean(curve[-5:]) < 0.75 * curve[0]
    figures = objective.validate(objective.model.eval())
    assert all(0 <= figures[f"held_out_{slot}"] <= 1 for slot in ("colour", "object", "motion", "place", "camera"))
    objective.sample(objective.model, tmp_path / "sample.png")
    assert (tmp_path / "sample.png").stat().st_size > 1000
