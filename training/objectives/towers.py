"""Training of the text towers: a mixture of denoisers on captions and quoted words, and contrast with pictures.

Sources: UL2, arXiv 2205.05131; ByT5, arXiv 2105.13626; CLIP, arXiv 2103.00020; MetaCLIP, arXiv 2309.16671. Ours: a
linear read-out of the known facts of each scene from the features, which is cheap here because the world knows them.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from kino.models.text import PictureEncoder, SpanDecoder, Tower, TowerConfig
from kino.presets import PRESETS
from kino.tokens import PAD, ByteTokenizer, tower_ids
from training.data import ClipSet, open_clips, to_signed
from training.objective import Batch
from training.objectives.captions import (
    MODES,
    SENTINELS,
    TELLING,
    FactHeads,
    draw_scenes,
    fact_accuracy,
    fact_loss,
    fact_targets,
    tower_tokenizer,
    worded,
)
from training.objectives.spans import UL2, Denoiser, corrupt, pad
from training.world.captions import caption
from training.world.scene import Scene, sample

BYTE_SENTINELS = tuple(ByteTokenizer.vocabulary + i for i in range(16))
BYTES = (Denoiser("", 0.3, 2.0), Denoiser("", 0.6, 4.0))
"""ByT5 hides runs of 20 bytes on average; a sign has 2 to 8 letters."""


class DenoisingNet(nn.Module):
    """A tower, the decoder that restores what was hidden from it, and the read-outs of facts."""

    def __init__(self, config: TowerConfig, decoder_layers: int) -> None:
        super().__init__()
        self.tower = Tower(config)
        self.decoder = SpanDecoder(config, decoder_layers)
        self.heads = FactHeads(config.width)

    def restore(self, batch: Batch) -> Float[Tensor, ""]:
        """Mean cross-entropy of the hidden tokens."""
        device = self.tower.embedding.weight.device
        (source, seen), (target, asked) = ([part.to(device) for part in batch[key]] for key in ("source", "target"))
        before = F.pad(target, (1, -1), value=PAD)
        logits = self.decoder(before, self.tower(source, seen), seen)
        return F.cross_entropy(logits[asked].float(), target[asked])


class ContrastNet(nn.Module):
    """A tower, the picture encoder that it agrees with, the read-outs of facts, and the temperature."""

    def __init__(self, config: TowerConfig, clips: ClipSet) -> None:
        super().__init__()
        self.tower = Tower(config)
        self.pictures = PictureEncoder(clips.frames, clips.size, config.width)
        self.heads = FactHeads(config.width)
        self.log_scale = nn.Parameter(torch.tensor(1 / 0.07).log())

    def logits(self, batch: Batch) -> Float[Tensor, "b b"]:
        """Scaled cosines of each text (row) with each clip (column)."""
        device = self.log_scale.device
        ids, mask = (part.to(device) for part in batch["whole"])
        texts = F.normalize(self.tower(ids, mask)[:, 0].float(), dim=-1)
        clips = F.normalize(self.pictures(batch["pictures"].to(device)).float(), dim=-1)
        return self.log_scale.exp().clamp(max=100) * texts @ clips.T


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
        return QuoteDenoising(self, config) if config.reads == "quotes" else CaptionDenoising(self, config)


class CaptionDenoising:
    """The mixture of denoisers on captions, and the facts read out of whole captions."""

    def __init__(self, settings: DenoiseSettings, config: TowerConfig) -> None:
        self.settings, self.config = settings, config
        self.tokenizer = tower_tokenizer(config.vocabulary)
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
        spans, read = self.model.restore(batch), read_loss(self.model, batch)
        return {"loss": spans + self.settings.fact_weight * read, "spans": spans, "facts": read}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Loss of hidden tokens and accuracy of each fact's read-out, on held-out combinations."""
        assert isinstance(model, DenoisingNet)
        rng = np.random.default_rng(1)
        scenes = draw_scenes("held_out", rng, 512)
        texts = [worded(scene, rng, TELLING[i % len(TELLING)]) for i, scene in enumerate(scenes)]
        batch = self._batch(scenes, texts, rng)
        return {"held_out_spans": model.restore(batch).item()} | read_accuracy(model, batch)

    def sample(self, model: nn.Module, path: Path) -> None:
        """A picture of how alike two wordings of 48 held-out scenes are: bright diagonally where wording is no matter."""
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
    batch: int = 128
    fact_weight: float = 0.5

    def build(self, runs: Path) -> "Contrast":
        """Render or open the clips and make both sides."""
        return Contrast(self, PRESETS[self.preset].towers[self.tower], runs)


class Contrast:
    """CLIP's symmetric cross-entropy between captions and clips."""

    def __init__(self, settings: ContrastSettings, config: TowerConfig, runs: Path) -> None:
        self.settings, self.config = settings, config
        self.tokenizer = tower_tokenizer(config.vocabulary)
        self.clips = open_clips(settings.clips, runs / "clips")
        self.held_out = open_clips(settings.held_out, runs / "clips")
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
        logits = self.model.logits(batch)
        truth = torch.arange(len(logits), device=logits.device)
        contrast = (F.cross_entropy(logits, truth) + F.cross_entropy(logits.T, truth)) / 2
        read = read_loss(self.model, batch)
        return {"loss": contrast + self.settings.fact_weight * read, "contrast": contrast, "facts": read}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Share of clips told from 99 others by their caption, and accuracy of the facts, on held-out combinations."""
        assert isinstance(model, ContrastNet)
        batch = self._held_out(len(self.held_out))
        logits = model.logits(batch)
        found = []
        for start in range(0, len(logits) - 99, 100):
            among = logits[start : start + 100, start : start + 100]
            found.append(among.argmax(0).cpu() == torch.arange(100))
        return {"held_out_retrieval": torch.cat(found).float().mean().item()} | read_accuracy(model, batch)

    def sample(self, model: nn.Module, path: Path) -> None:
        """A picture of how alike 48 held-out captions and clips are: a bright diagonal where they find each other."""
        assert isinstance(model, ContrastNet)
        draw_matrix(model.logits(self._held_out(48)) / model.log_scale.exp(), path)

    def _held_out(self, count: int) -> Batch:
        rng, scenes = np.random.default_rng(1), [self.settings.held_out.scene(index) for index in range(count)]
        texts = [worded(scene, rng, TELLING[i % len(TELLING)]) for i, scene in enumerate(scenes)]
        return self._batch(scenes, texts, self.held_out[:count])


def read_loss(model: DenoisingNet | ContrastNet, batch: Batch) -> Tensor:
    """Cross-entropy of the facts read out of the first row, plus that of the mean of the rows."""
    ids, mask = (part.to(device_of(model)) for part in batch["whole"])
    first, mean = model.heads(model.tower(ids, mask), mask)
    return fact_loss(first, batch["facts"]) + fact_loss(mean, batch["facts"])


def read_accuracy(model: DenoisingNet | ContrastNet, batch: Batch) -> dict[str, float]:
    """Accuracy of each fact's read-out from the first row and from the mean of the rows."""
    ids, mask = (part.to(device_of(model)) for part in batch["whole"])
    first, mean = model.heads(model.tower(ids, mask), mask)
    rows = {f"held_out_{name}": value for name, value in fact_accuracy(first, batch["facts"]).items()}
    return rows | {f"held_out_{name}_mean": value for name, value in fact_accuracy(mean, batch["facts"]).items()}


def quoted_words(rng: np.random.Generator) -> str:
    """One to three words of a sign: words of captions in capitals, and letters at random."""
    words = caption(sample(int(rng.integers(2**31)), 0), rng).upper().split()
    letters = ["".join(chr(65 + int(letter)) for letter in rng.integers(26, size=rng.integers(1, 9))) for _ in range(3)]
    pool = [*words, *letters * 4]
    return " ".join(pool[int(i)] for i in rng.integers(len(pool), size=rng.integers(1, 4)))


def rng_of(generator: torch.Generator) -> np.random.Generator:
    """A numpy source seeded by the next number of a torch one."""
    return np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))


def device_of(model: nn.Module) -> torch.device:
    """Where a model's weights lie."""
    return next(model.parameters()).device


def draw_cosines(rows: Float[Tensor, "n d"], others: Float[Tensor, "n d"], path: Path) -> None:
    """Write the cosines of every row with every other as a picture."""
    draw_matrix(F.normalize(rows.float(), dim=-1) @ F.normalize(others.float(), dim=-1).T, path)


def draw_matrix(values: Float[Tensor, "n n"], path: Path) -> None:
    """Write a matrix as a grey picture, 8 pixels a value, the lowest black and the highest white."""
    values = values.float().cpu()
    levels = (values - values.min()) / (values.max() - values.min()) * 255
    Image.fromarray(levels.byte().repeat_interleave(8, 0).repeat_interleave(8, 1).numpy()).save(path)
