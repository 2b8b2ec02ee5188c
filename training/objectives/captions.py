"""Captions of the world as the towers read them, their tokenizer, and linear read-outs of the facts they state."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kino.tokens import BpeTokenizer, train_bpe
from training.world.captions import CaptionStyle, caption
from training.world.scene import (
    CAMERAS,
    CHARACTERS,
    COLOURS,
    HAIR_COLOURS,
    HAIR_CUTS,
    MOTIONS,
    OBJECTS,
    PLACES,
    PLAIN,
    RELATIONS,
    RICH,
    SKINS,
    STYLES,
    TILTS,
    Scene,
    Split,
    facts,
    sample,
)

SENTINELS = tuple(f"<span{i}>" for i in range(16))
MODES = ("<R>", "<X>", "<S>")
CLASSES = {
    "object": len(OBJECTS + CHARACTERS),
    "colour": len(COLOURS),
    "motion": len(MOTIONS),
    "place": len(PLACES),
    "camera": len(CAMERAS + TILTS),
    "second_object": len(OBJECTS) + 1,
    "second_colour": len(COLOURS) + 1,
    "relation": len(RELATIONS) + 1,
    "style": len(STYLES),
    "skin": len(SKINS) + 1,
    "hair": len(HAIR_COLOURS) + 1,
    "cut": len(HAIR_CUTS) + 1,
}
"""The facts read out of the features, and how many values each has; where a scene may lack it, the last is "none"."""


def all_facts(scene: Scene) -> dict[str, int]:
    """The class number of every fact of CLASSES."""
    second, looks = scene.second, scene.identity
    return facts(scene) | {
        "second_object": OBJECTS.index(second.object) if second else len(OBJECTS),
        "second_colour": COLOURS.index(second.colour) if second else len(COLOURS),
        "relation": RELATIONS.index(second.relation) if second else len(RELATIONS),
        "style": STYLES.index(scene.style),
        "skin": SKINS.index(looks.skin) if looks else len(SKINS),
        "hair": HAIR_COLOURS.index(looks.hair) if looks else len(HAIR_COLOURS),
        "cut": HAIR_CUTS.index(looks.cut) if looks else len(HAIR_CUTS),
    }


RATES = (8, 12, 16, 24, 30)
TELLING: tuple[CaptionStyle, ...] = ("canonical", "sentence", "tags", "paragraph")
"""The styles that leave no fact out."""


def draw_scenes(split: Split, rng: np.random.Generator, count: int) -> list[Scene]:
    """`count` scenes of a split, half of them of the rich world."""
    return [sample(int(rng.integers(2**31)), i, split, RICH if i % 2 else PLAIN) for i in range(count)]


def worded(scene: Scene, rng: np.random.Generator, style: CaptionStyle = "any") -> str:
    """A caption, nine times of ten with a frame rate before it, as the generator's prompts have."""
    text = caption(scene, rng, style)
    return f"FPS-{rng.choice(RATES)} {text}" if rng.random() < 0.9 else text


def tower_tokenizer(vocabulary: int, runs: Path) -> BpeTokenizer:
    """The byte-pair encoding of the towers, learned from captions of the world on first use and kept with the runs."""
    path = runs / f"tokenizer_towers_{vocabulary}.json"
    if not path.exists():
        rng = np.random.default_rng(0)
        texts = [worded(scene, rng) for scene in draw_scenes("train", rng, 10_000)]
        keep_text(path, train_bpe(texts, vocabulary, (*MODES, *SENTINELS), lowercase=True).definition)
    return BpeTokenizer(path.read_text(encoding="utf-8"))


def keep_text(path: Path, text: str) -> None:
    """Write a small file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def fact_targets(scenes: Sequence[Scene]) -> dict[str, Tensor]:
    """Class numbers [b] of every fact."""
    rows = [all_facts(scene) for scene in scenes]
    return {name: torch.tensor([row[name] for row in rows]) for name in CLASSES}
