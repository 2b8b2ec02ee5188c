"""Drafts written by a language model under a grammar: whatever the weights, they are well formed."""

import torch
from jaxtyping import Float
from torch import Tensor

from kino.grammar import BETWEEN, OPEN, Choice, Grammar
from kino.models.lm import LanguageModel, generate
from kino.tokens import BEGIN, END, Tokenizer

CANDIDATES = 64
"""Most likely tokens among which an open value is drawn."""


def prompt_ids(tokenizer: Tokenizer, prompt: str, room: int) -> list[int]:
    """What the model reads before it writes: the prompt in lower case, cut to `room` tokens, between BEGIN and END."""
    return [BEGIN, *tokenizer.encode(prompt.lower())[: room - 2], END]


def parts(text: str) -> list[str]:
    """The slots of a draft as far as it goes; the last is the one being written, empty before its first letter."""
    return [part.strip() for part in text.split(BETWEEN.strip())]


class Drafter:
    """A language model, its tokenizer, and the grammar that it writes in.

    Raises:
        ValueError: the model's context has no room for a prompt beside the longest draft.
    """

    def __init__(self, model: LanguageModel, tokenizer: Tokenizer, grammar: Grammar) -> None:
        self.model, self.tokenizer, self.grammar = model, tokenizer, grammar
        self.room = model.config.max_tokens - grammar.longest_draft
        if self.room < 16:
            least = grammar.longest_draft + 16
            raise ValueError(f"max_tokens is {model.config.max_tokens}, must be at least {least} for this grammar")

    def draft(self, prompt: str, seed: int) -> dict[str, Choice]:
        """The choices for a prompt; the likeliest, but drawn by `seed` where the prompt leaves a slot open.

        The model reads as much of the prompt as its context holds; the grammar sees all of it.
        """
        pattern = self.grammar.drafts(prompt)
        source = torch.Generator().manual_seed(seed)
        tokens: list[int] = []
        text = ""

        def choose(logits: Float[Tensor, " vocabulary"]) -> int:
            likely = logits.float().cpu().sort(descending=True)
            is_open = parts(text)[-1].startswith(OPEN)
            fitting: list[int] = []
            for rank, token in enumerate(likely.indices.tolist()):
                longer = self._text([*tokens, token])
                if len(longer) > len(text) and pattern.fullmatch(longer, partial=True):
                    fitting.append(rank)
                if fitting and (not is_open or rank >= CANDIDATES):
                    break
            assert fitting, f"nothing may follow {text!r}"
            weights = likely.values[fitting].softmax(dim=0)
            return int(likely.indices[fitting[int(torch.multinomial(weights, 1, generator=source))]])

        for token in generate(self.model, prompt_ids(self.tokenizer, prompt, self.room), choose):
            tokens.append(token)
            before, text = text, self._text(tokens)
            if len(parts(text)) > len(parts(before)):
                pattern = self.grammar.drafts(prompt, parts(text)[:-1])
            match = pattern.fullmatch(text)
            if match is not None:
                return self.grammar.read(match)
        raise AssertionError(f"no end after {text!r}")

    def _text(self, ids: list[int]) -> str:
        return self.tokenizer.decode(ids).removeprefix(" ")
