"""Training of the tower that is aligned with pictures: captions matched with the clips they tell of.

Sources: CLIP, arXiv 2103.00020; MetaCLIP, arXiv 2309.16671.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from kino.models.text import PictureEncoder, TowerConfig, pad
from kino.presets import PRESETS
from kino.tokens import tower_ids
from training.data import ClipSet, open_pool, to_signed
from training.objective import Batch
from training.objectives.captions import TELLING, fact_targets, tower_tokenizer, worded
from training.objectives.facts import TowerNet, draw_matrix, read_accuracy, read_loss, rng_of, whole_features
from training.world.scene import Scene


class ContrastNet(TowerNet):
    """A tower, the picture encoder that it agrees with, and the temperature."""

    def __init__(self, config: TowerConfig, clips: ClipSet) -> None:
        super().__init__(config)
        self.pictures = PictureEncoder(clips.frames, clips.size, config.width)
        self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def logits(self, features: Float[Tensor, "b n d"], pictures: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b b"]:
        """Scaled cosines of each text (row) with each clip (column)."""
        texts = F.normalize(features[:, 0].float(), dim=-1)
        clips = F.normalize(self.pictures(pictures.to(features.device)).float(), dim=-1)
        return self.log_scale.exp().clamp(max=100) * texts @ clips.T


@dataclass(frozen=True)
class ContrastSettings:
    """The "metaclip" tower: captions matched with a few small frames of the clip they tell of.

    Args:
        clips, held_out: the pictures; a few frames at a low rate show how things move. 100 or more are held out.
        fact_weight: weight of the facts read out of the text's features.
    """

    preset: str
    tower: str
    clips: ClipSet
    held_out: ClipSet
    batch: int = 64
    fact_weight: float = 0.5

    def build(self, runs: Path) -> "Contrast":
        """Render or open the clips and make both sides."""
        return Contrast(self, PRESETS[self.preset].towers[self.tower], runs)


class Contrast:
    """CLIP's symmetric cross-entropy between captions and clips."""

    def __init__(self, settings: ContrastSettings, config: TowerConfig, runs: Path) -> None:
        self.settings, self.config = settings, config
        self.tokenizer = tower_tokenizer(config.vocabulary, runs)
        self.clips = open_pool(settings.clips, runs / "clips")
        self.held_out = open_pool(settings.held_out, runs / "clips")
        self.model: nn.Module = ContrastNet(config, settings.clips)

    def batch(self, generator: torch.Generator) -> Batch:
        """Random clips of the pool, each with a new caption."""
        indices = torch.randint(len(self.clips), (self.settings.batch,), generator=generator).tolist()
        scenes, rng = [self.settings.clips.scene(index) for index in indices], rng_of(generator)
        return self._batch(scenes, [worded(scene, rng) for scene in scenes], self.clips[indices])

    def _batch(self, scenes: list[Scene], texts: list[str], pixels: NDArray[np.uint8]) -> Batch:
        return {
            "whole": pad(
                [tower_ids(self.tokenizer, text, self.config.reads, self.config.max_tokens) for text in texts]
            ),
            "pictures": to_signed(pixels),
            "facts": fact_targets(scenes),
        }

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Contrastive loss of both directions plus that of the facts read out of the text."""
        assert isinstance(self.model, ContrastNet)
        features, mask = whole_features(self.model, batch)
        logits = self.model.logits(features, batch["pictures"])
        truth = torch.arange(len(logits), device=logits.device)
        contrast = (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2
        read = read_loss(self.model, features, mask, batch)
        return {"loss": contrast + self.settings.fact_weight * read, "contrast": contrast, "facts": read}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Share of clips told from 99 others by their caption, and accuracy of the facts, on held-out combinations."""
        assert isinstance(model, ContrastNet)
        batch = self._held_out(len(self.held_out))
        features, mask = whole_features(model, batch)
        logits = model.logits(features, batch["pictures"])
        found = []
        for start in range(0, len(logits) - 99, 100):
            among = logits[start : start + 100, start : start + 100]
            found.append(among.argmax(0).cpu() == torch.arange(100))
        return {"held_out_retrieval": torch.cat(found).float().mean().item()} | read_accuracy(
            model, features, mask, batch
        )

    def sample(self, model: nn.Module, path: Path) -> None:
        """A picture of how alike 48 held-out captions and clips are: a bright diagonal where they find each other."""
        assert isinstance(model, ContrastNet)
        batch = self._held_out(48)
        features, _ = whole_features(model, batch)
        draw_matrix(model.logits(features, batch["pictures"]) / model.log_scale.exp(), path)

    def _held_out(self, count: int) -> Batch:
        rng, scenes = np.random.default_rng(1), [self.settings.held_out.scene(index) for index in range(count)]
        texts = [worded(scene, rng, TELLING[i % len(TELLING)]) for i, scene in enumerate(scenes)]
        return self._batch(scenes, texts, self.held_out[:count])
