"""Training of the towers that only know text: a mixture of denoisers on captions, and on quoted words.

Sources: UL2, arXiv 2205.05131; ByT5, arXiv 2105.13626. Ours: a linear read-out of the known facts of each scene from
the features, which is cheap here because the world knows them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from kino.models.text import SpanDecoder, TowerConfig, pad
from kino.presets import PRESETS
from kino.tokens import PAD, ByteTokenizer, tower_ids
from training.objective import Batch
from training.objectives.captions import (
    MODES,
    SENTINELS,
    TELLING,
    draw_scenes,
    fact_targets,
    tower_tokenizer,
    worded,
)
from training.objectives.facts import (
    TowerNet,
    device_of,
    draw_cosines,
    read_accuracy,
    read_loss,
    rng_of,
    whole_features,
)
from training.objectives.spans import UL2, Denoiser, corrupt
from training.world.captions import caption
from training.world.scene import Scene, sample

BYTE_SENTINELS = tuple(ByteTokenizer.vocabulary + i for i in range(16))
BYTES = (Denoiser("", 0.3, 2.0), Denoiser("", 0.6, 4.0))
"""ByT5 hides runs of 20 bytes on average; a sign has 2 to 8 letters."""


class DenoisingNet(TowerNet):
    """A tower and the decoder that restores what was hidden from it."""

    def __init__(self, config: TowerConfig, decoder_layers: int) -> None:
        super().__init__(config)
        self.decoder = SpanDecoder(config, decoder_layers)

    def restore(self, batch: Batch) -> Float[Tensor, ""]:
        """Mean cross-entropy of the hidden tokens."""
        device = self.tower.embedding.weight.device
        (source, seen), (target, asked) = ([part.to(device) for part in batch[key]] for key in ("source", "target"))
        before = F.pad(target, (1, -1), value=PAD)
        logits = self.decoder(before, self.tower(source, seen), seen)
        return F.cross_entropy(logits[asked].float(), target[asked])


@dataclass(frozen=True)
class DenoiseSettings:
    """A tower trained by span corruption: "ul2" on captions with fact read-outs, "byt5" on quoted words."""

    preset: str
    tower: str
    batch: int = 64
    decoder_layers: int = 1
    fact_weight: float = 1.0

    def build(self, runs: Path) -> "CaptionDenoising | QuoteDenoising":
        """Make the objective of the tower's kind."""
        config = PRESETS[self.preset].towers[self.tower]
        return QuoteDenoising(self, config) if config.reads == "quotes" else CaptionDenoising(self, config, runs)


class CaptionDenoising:
    """The mixture of denoisers on captions, and the facts read out of whole captions."""

    def __init__(self, settings: DenoiseSettings, config: TowerConfig, runs: Path) -> None:
        self.settings, self.config = settings, config
        self.tokenizer = tower_tokenizer(config.vocabulary, runs)
        self.modes = {name: self.tokenizer.token(name) for name in MODES}
        self.sentinels = [self.tokenizer.token(name) for name in SENTINELS]
        self.model: nn.Module = DenoisingNet(config, settings.decoder_layers)

    def batch(self, generator: torch.Generator) -> Batch:
        """Captions twice: whole, and corrupted by a denoiser drawn for each."""
        rng = rng_of(generator)
        scenes = draw_scenes("train", rng, self.settings.batch)
        return self._batch(scenes, [worded(scene, rng) for scene in scenes], rng)

    def _batch(self, scenes: list[Scene], texts: list[str], rng: np.random.Generator) -> Batch:
        whole = [tower_ids(self.tokenizer, text, self.config.reads, self.config.max_tokens) for text in texts]
        sources, targets = [], []
        for begin, *ids in whole:
            denoiser = UL2[int(rng.integers(len(UL2)))]
            source, target = corrupt(ids, denoiser, self.sentinels, rng)
            sources.append([begin, self.modes[denoiser.mode], *source])
            targets.append(target)
        return {"whole": pad(whole), "source": pad(sources), "target": pad(targets), "facts": fact_targets(scenes)}

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Cross-entropy of the hidden tokens plus that of the facts."""
        assert isinstance(self.model, DenoisingNet)
        spans, read = self.model.restore(batch), read_loss(self.model, *whole_features(self.model, batch), batch)
        return {"loss": spans + self.settings.fact_weight * read, "spans": spans, "facts": read}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Loss of hidden tokens and accuracy of each fact's read-out, on held-out combinations."""
        assert isinstance(model, DenoisingNet)
        rng = np.random.default_rng(1)
        scenes = draw_scenes("held_out", rng, 512)
        texts = [worded(scene, rng, TELLING[i % len(TELLING)]) for i, scene in enumerate(scenes)]
        batch = self._batch(scenes, texts, rng)
        return {"held_out_spans": model.restore(batch).item()} | read_accuracy(
            model, *whole_features(model, batch), batch
        )

    def sample(self, model: nn.Module, path: Path) -> None:
        """A picture of how alike two wordings of 48 held-out scenes are: a diagonal where wording is no matter."""
        assert isinstance(model, DenoisingNet)
        rng = np.random.default_rng(2)
        scenes = draw_scenes("held_out", rng, 48)
        rows = []
        for _ in range(2):
            texts = [caption(scene, rng, "sentence") for scene in scenes]
            ids, mask = pad([tower_ids(self.tokenizer, text, "prompt", self.config.max_tokens) for text in texts])
            rows.append(model.tower(ids.to(device_of(model)), mask.to(device_of(model)))[:, 0])
        draw_cosines(rows[0], rows[1], path)


class QuoteDenoising:
    """Span corruption of the bytes of signs: common words, and random letters whose spelling must be carried."""

    def __init__(self, settings: DenoiseSettings, config: TowerConfig) -> None:
        self.settings, self.config = settings, config
        self.model: nn.Module = DenoisingNet(config, settings.decoder_layers)

    def batch(self, generator: torch.Generator) -> Batch:
        """Corrupted bytes of signs."""
        return self._batch(rng_of(generator), self.settings.batch)

    def _batch(self, rng: np.random.Generator, count: int) -> Batch:
        sources, targets = [], []
        for _ in range(count):
            ids = ByteTokenizer().encode(quoted_words(rng) + ".")[: self.config.max_tokens]
            source, target = corrupt(ids, BYTES[int(rng.integers(len(BYTES)))], BYTE_SENTINELS, rng)
            sources.append(source)
            targets.append(target)
        return {"source": pad(sources), "target": pad(targets)}

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Cross-entropy of the hidden bytes."""
        assert isinstance(self.model, DenoisingNet)
        return {"loss": self.model.restore(batch)}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Loss of hidden bytes on signs of a seed that training never draws."""
        assert isinstance(model, DenoisingNet)
        return {"held_out_spans": model.restore(self._batch(np.random.default_rng(1), 1000)).item()}

    def sample(self, model: nn.Module, path: Path) -> None:
        """A picture of how alike the features of 48 signs are: a bright diagonal where spellings are told apart."""
        assert isinstance(model, DenoisingNet)
        rng = np.random.default_rng(2)
        ids, mask = pad([ByteTokenizer().encode(quoted_words(rng))[: self.config.max_tokens] for _ in range(48)])
        rows = model.tower(ids.to(device_of(model)), mask.to(device_of(model))).sum(1)
        draw_cosines(rows, rows, path)


def quoted_words(rng: np.random.Generator) -> str:
    """One to three words of a sign: words of captions in capitals, and letters at random."""
    words = caption(sample(int(rng.integers(2**31)), 0), rng).upper().split()
    letters = ["".join(chr(65 + int(letter)) for letter in rng.integers(26, size=rng.integers(1, 9))) for _ in range(3)]
    pool = [*words, *letters * 4]
    return " ".join(pool[int(i)] for i in rng.integers(len(pool), size=rng.integers(1, 4)))
