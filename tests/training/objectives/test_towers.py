import copy
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from kino.models.text import TowerConfig
from training.data import ClipSet
from training.objectives.captions import CLASSES, all_facts, draw_scenes, tower_tokenizer, worded
from training.objectives.contrast import ContrastNet
from training.objectives.facts import fact_accuracy, fact_loss
from training.objectives.towers import CaptionDenoising, DenoiseSettings, DenoisingNet, QuoteDenoising
from training.world.scene import COLOURS, OBJECTS, Scene, Second

PROMPTS = TowerConfig(vocabulary=512, width=32, layers=1, heads=2, hidden=48, max_tokens=64)
QUOTES = TowerConfig(
    vocabulary=384, width=32, layers=1, heads=2, hidden=48, max_tokens=32, tokens="bytes", reads="quotes"
)


@pytest.fixture(scope="module")
def captions(tmp_path_factory: pytest.TempPathFactory) -> CaptionDenoising:
    return CaptionDenoising(DenoiseSettings("mini", "ul2", batch=8), PROMPTS, tmp_path_factory.mktemp("runs"))


def source(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def losses(objective: CaptionDenoising | QuoteDenoising, steps: int) -> list[float]:
    optimiser = torch.optim.AdamW(objective.model.parameters(), lr=1e-2)
    curve = []
    for step in range(steps):
        generator = source(step)
        loss = objective.loss(objective.batch(generator), generator)["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        curve.append(loss.item())
    return curve


def test_a_batch_is_a_function_of_its_source(captions: CaptionDenoising) -> None:
    first, again, other = (captions.batch(source(seed)) for seed in (3, 3, 4))
    assert torch.equal(first["source"][0], again["source"][0])
    assert first["whole"][0].shape != other["whole"][0].shape or not torch.equal(first["whole"][0], other["whole"][0])


def test_guessing_costs_the_entropy_of_a_guess(captions: CaptionDenoising) -> None:
    torch.manual_seed(0)
    fresh = copy.copy(captions)
    fresh.model = DenoisingNet(PROMPTS, decoder_layers=1)
    terms = fresh.loss(fresh.batch(source(0)), source(0))
    assert terms["spans"].item() == pytest.approx(math.log(512), abs=0.3)
    guess = 2 * np.mean([math.log(count) for count in CLASSES.values()])  # read from the first row and from the mean
    assert terms["facts"].item() == pytest.approx(guess, abs=0.8)


def test_captions_are_learned(captions: CaptionDenoising) -> None:
    curve = losses(captions, 30)
    assert np.mean(curve[-5:]) < 0.85 * curve[0]
    figures = captions.validate(captions.model.eval())
    assert {f"held_out_{fact}" for fact in CLASSES} <= figures.keys()


def test_quotes_are_learned() -> None:
    curve = losses(QuoteDenoising(DenoiseSettings("mini", "byt5", batch=16), QUOTES), 30)
    assert curve[0] == pytest.approx(math.log(384), abs=0.3)
    assert np.mean(curve[-5:]) < 0.85 * curve[0]


def test_facts_of_a_scene_with_and_without_a_second_object() -> None:
    scene = Scene("cat", "red", "spins", "snow", second=Second("ball", "blue", "behind"), sign=None)
    assert all_facts(scene)["second_object"] == OBJECTS.index("ball")
    assert all_facts(Scene("cat", "red", "spins", "snow"))["second_colour"] == len(COLOURS)
    assert all_facts(scene).keys() == CLASSES.keys()
    for scene in draw_scenes("train", np.random.default_rng(0), 100):
        assert all(0 <= number < CLASSES[name] for name, number in all_facts(scene).items())


def test_read_outs_are_scored_by_their_formulas() -> None:
    logits = {"object": torch.tensor([[2.0, 0.0], [0.0, 2.0], [2.0, 0.0]])}
    targets = {"object": torch.tensor([0, 1, 1])}
    assert fact_accuracy(logits, targets)["object"] == pytest.approx(2 / 3)
    right, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    assert fact_loss(logits, targets).item() == pytest.approx((2 * right + wrong) / 3)


def test_the_tokenizer_is_kept_with_the_runs(tmp_path: Path) -> None:
    made = tower_tokenizer(400, tmp_path)
    assert tower_tokenizer(400, tmp_path).definition == made.definition
    text = worded(draw_scenes("held_out", np.random.default_rng(0), 1)[0], np.random.default_rng(1))
    assert made.decode(made.encode(text)).strip() == text.lower()


def test_texts_and_clips_are_compared_by_scaled_cosines() -> None:
    torch.manual_seed(0)
    net = ContrastNet(PROMPTS, ClipSet("train", 1, size=16, frames=2))
    features, pictures = torch.randn(3, 5, 32), torch.rand(3, 3, 2, 16, 16) * 2 - 1
    clips = net.pictures(pictures)
    expected = torch.cosine_similarity(features[:, :1], clips[None], dim=-1) / 0.07
    torch.testing.assert_close(net.logits(features, pictures), expected, rtol=1e-4, atol=1e-4)
