"""Training of the text tower that the audio generator reads by: span corruption of sound prompts.

Source: T5, arXiv 1910.10683, section 3.1.4.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kino.models.text import pad
from kino.presets import PRESETS
from kino.sound_prompts import sound_prompt
from kino.tokens import BpeTokenizer, tower_ids, train_bpe
from training.objective import Batch
from training.objectives.captions import SENTINELS, keep_text
from training.objectives.facts import device_of, draw_cosines, rng_of
from training.objectives.spans import Denoiser, corrupt
from training.objectives.towers import DenoisingNet
from training.world.captions import caption
from training.world.music import MOODS
from training.world.scene import RICH, Scene, Split, sample
from training.world.sound_captions import music_words, sound_caption

T5 = Denoiser("", 0.15, 3.0)
SEEN_SHARE = 0.3
"""Share of prompts that tell what is seen in place of what is heard, as a film's do."""
MUSIC_SHARE = 0.3
SECONDS = 4.0


@dataclass(frozen=True)
class SoundTextSettings:
    """The "t5" tower of a preset, and the decoder that trains it."""

    preset: str
    batch: int = 48
    decoder_layers: int = 1

    def build(self, runs: Path) -> "SoundText":
        """Make the tower, its decoder and the tokenizer."""
        return SoundText(self, runs)


class SoundText:
    """Restores what is hidden from sound prompts."""

    def __init__(self, settings: SoundTextSettings, runs: Path) -> None:
        config = PRESETS[settings.preset].t5
        assert config is not None
        self.settings, self.config = settings, config
        self.tokenizer = sound_tokenizer(config.vocabulary, runs)
        self.sentinels = [self.tokenizer.token(name) for name in SENTINELS]
        self.model: nn.Module = DenoisingNet(config, settings.decoder_layers)

    def batch(self, generator: torch.Generator) -> Batch:
        """Corrupted prompts of random scenes."""
        return self._batch("train", self.settings.batch, rng_of(generator))

    def _batch(self, split: Split, count: int, rng: np.random.Generator) -> Batch:
        sources, targets = [], []
        for prompt in drawn_prompts(split, count, rng):
            begin, *ids = self._ids(prompt)
            source, target = corrupt(ids, T5, self.sentinels, rng)
            sources.append([begin, *source])
            targets.append(target)
        return {"source": pad(sources), "target": pad(targets)}

    def _ids(self, prompt: str) -> list[int]:
        return tower_ids(self.tokenizer, prompt, self.config.reads, self.config.max_tokens)

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Cross-entropy of the hidden tokens."""
        assert isinstance(self.model, DenoisingNet)
        return {"loss": self.model.restore(batch)}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Loss of hidden tokens on held-out combinations."""
        assert isinstance(model, DenoisingNet)
        return {"held_out_spans": model.restore(self._batch("held_out", 256, np.random.default_rng(1))).item()}

    def sample(self, model: nn.Module, path: Path) -> None:
        """A picture of how alike the features of 48 prompts are."""
        assert isinstance(model, DenoisingNet)
        prompts = drawn_prompts("held_out", 48, np.random.default_rng(2))
        ids, mask = pad([self._ids(prompt) for prompt in prompts])
        rows = model.tower(ids.to(device_of(model)), mask.to(device_of(model))).sum(1)
        draw_cosines(rows, rows, path)


def drawn_prompt(scene: Scene, rng: np.random.Generator, mood: str | None, seconds: float = SECONDS) -> str:
    """What an audio generator may be told of a scene: what is heard, or as in a film what is seen."""
    if rng.random() < SEEN_SHARE:
        return sound_prompt(caption(scene, rng), music_words(mood, rng))
    return sound_caption(scene, seconds, rng, mood)


def drawn_prompts(split: Split, count: int, rng: np.random.Generator) -> list[str]:
    """Prompts of random scenes of the rich world, some with music."""
    seed = int(rng.integers(2**31))
    moods = [str(rng.choice(MOODS)) if rng.random() < MUSIC_SHARE else None for _ in range(count)]
    return [drawn_prompt(sample(seed, index, split, RICH), rng, mood) for index, mood in enumerate(moods)]


def sound_tokenizer(vocabulary: int, runs: Path) -> BpeTokenizer:
    """The byte-pair encoding of sound prompts, learned from them on first use and kept with the runs."""
    path = runs / f"tokenizer_sound_{vocabulary}.json"
    if not path.exists():
        prompts = drawn_prompts("train", 6_000, np.random.default_rng(0))
        keep_text(path, train_bpe(prompts, vocabulary, SENTINELS, lowercase=True).definition)
    return BpeTokenizer(path.read_text(encoding="utf-8"))
