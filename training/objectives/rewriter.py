"""Training of the rewriter: from what people type to the draft of a sentence that the generator knows.

Source: Movie Gen, arXiv 2410.13720, section 3.4.1. Ours: rules make the pairs, since the world's words are known.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor, nn

from kino.models.lm import LanguageModel, LmConfig
from kino.models.rewriter import Drafter, prompt_ids
from kino.models.text import pad
from kino.presets import PRESETS
from kino.tokens import END, BpeTokenizer, train_bpe
from training.objective import Batch
from training.objectives.captions import keep_text
from training.objectives.pairs import draw_pair
from training.objectives.wishes import plain_grammar


def rewriter_tokenizer(vocabulary: int, runs: Path) -> BpeTokenizer:
    """The byte-pair encoding of prompts and drafts, learned from pairs on first use and kept with the runs."""
    path = runs / f"tokenizer_rewriter_{vocabulary}.json"
    if not path.exists():
        rng = np.random.default_rng(0)
        pairs = (draw_pair(rng) for _ in range(4000))
        texts = (text for pair in pairs for text in pair)
        keep_text(path, train_bpe(texts, vocabulary, (), lowercase=True).definition)
    return BpeTokenizer(path.read_text(encoding="utf-8"))


@dataclass(frozen=True)
class RewriterSettings:
    """A language model trained on prompts and their drafts."""

    preset: str
    batch: int = 64

    def build(self, runs: Path) -> "RewriterObjective":
        """Make the objective."""
        return RewriterObjective(self, PRESETS[self.preset].rewriter, runs)


class RewriterObjective:
    """Next-token prediction of drafts."""

    def __init__(self, settings: RewriterSettings, config: LmConfig, runs: Path) -> None:
        self.settings = settings
        self.grammar = plain_grammar()
        self.tokenizer = rewriter_tokenizer(config.vocabulary, runs)
        self.room = config.max_tokens - self.grammar.longest_draft
        self.model: nn.Module = LanguageModel(config)

    def batch(self, generator: torch.Generator) -> Batch:
        """Pairs as one sequence each, and the number of tokens that are given."""
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        return self._batch(rng, self.settings.batch)

    def _batch(self, rng: np.random.Generator, count: int) -> Batch:
        rows, given = [], []
        for _ in range(count):
            prompt, draft = draw_pair(rng)
            read = prompt_ids(self.tokenizer, prompt, self.room)
            rows.append([*read, *self.tokenizer.encode(draft), END])
            given.append(len(read))
        ids, mask = pad(rows)
        return {"ids": ids, "written": mask & (torch.arange(ids.shape[1]) >= torch.tensor(given)[:, None])}

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Mean cross-entropy of the tokens of the drafts."""
        return {"loss": self._cross_entropy(self.model, batch)}

    def _cross_entropy(self, model: nn.Module, batch: Batch) -> Tensor:
        device = next(model.parameters()).device
        ids, written = batch["ids"].to(device), batch["written"].to(device)
        logits = model(ids[:, :-1])
        return F.cross_entropy(logits[written[:, 1:]].float(), ids[:, 1:][written[:, 1:]])

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Loss, and the share of slots whose value and mark come out as in the pair, open ones left aside."""
        assert isinstance(model, LanguageModel)
        figures = {"held_out_loss": self._cross_entropy(model, self._batch(np.random.default_rng(1), 256)).item()}
        right: dict[str, list[bool]] = {slot.name: [] for slot in self.grammar.slots}
        drafter, rng = Drafter(model, self.tokenizer, self.grammar), np.random.default_rng(2)
        for _ in range(100):
            prompt, draft = draw_pair(rng)
            match = self.grammar.drafts(prompt).fullmatch(draft)
            assert match is not None
            truth, written = self.grammar.read(match), drafter.draft(prompt, 0)
            for name, choice in truth.items():
                same = written[name] == choice or (choice.is_open and written[name].is_open)
                right[name].append(same)
        return figures | {f"held_out_{name}": float(np.mean(hits)) for name, hits in right.items()}

    def sample(self, model: nn.Module, path: Path) -> None:
        """A picture of a few prompts and what becomes of them."""
        assert isinstance(model, LanguageModel)
        drafter, rng, lines = Drafter(model, self.tokenizer, self.grammar), np.random.default_rng(3), []
        for _ in range(12):
            prompt, _ = draw_pair(rng)
            lines += [prompt, "   " + self.grammar.draft(drafter.draft(prompt, 0)), ""]
        picture = Image.new("RGB", (900, 14 * len(lines) + 10), "white")
        ImageDraw.Draw(picture).multiline_text((8, 4), "\n".join(lines), fill="black", spacing=2)
        picture.save(path)
