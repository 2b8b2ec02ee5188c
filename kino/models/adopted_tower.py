"""Text towers that others trained: a text encoder of `transformers` with its tokenizer, one text in, its rows out."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import tokenizers
import torch
from jaxtyping import Float
from torch import Tensor, nn

from kino.tokens import END, ByteTokenizer, quoted

Tokenize = Callable[[str], list[int]]
"""The ids of a text as its tower was trained on them: special ids included, cut to what the tower reads."""

_POOLED = {"CLIPTextModel": "pooler_output", "CLIPTextModelWithProjection": "text_embeds"}


@dataclass(frozen=True)
class AdoptedTowerConfig:
    """How an adopted tower is read.

    Args:
        architecture: class of `transformers` that holds the network.
        dtype: numbers that it computes in.
        width: features of a row.
        max_tokens: ids that it is fed at most, special ones included.
        tokens: "file" (the `tokenizer.json` beside the weights) or "bytes" (ByT5's, which needs no file).
        reads: "prompt", or "quotes": only the quoted text of the prompt, which may be empty.
        output: "sequence" (every token) or "pooled" (the row of the whole text).
        format: tells a manifest of these settings from one of ours.
    """

    architecture: str
    dtype: Literal["float32", "bfloat16"]
    width: int
    max_tokens: int
    tokens: Literal["file", "bytes"] = "file"
    reads: Literal["prompt", "quotes"] = "prompt"
    output: Literal["sequence", "pooled"] = "sequence"
    format: Literal["transformers"] = "transformers"

    @property
    def max_rows(self) -> int:
        """Most rows that one text becomes."""
        return 1 if self.output == "pooled" else self.max_tokens


class AdoptedTower(nn.Module):
    """A text encoder that reads one text at a time, without padding: its rows depend on nothing else, bit for bit."""

    def __init__(self, network: nn.Module, tokenize: Tokenize, config: AdoptedTowerConfig) -> None:
        super().__init__()
        self.network, self.tokenize, self.config = network, tokenize, config

    def forward(self, prompt: str) -> Float[Tensor, "n d"]:
        """The rows of a prompt; none where the tower reads quotes and there are none."""
        text = quoted(prompt) if self.config.reads == "quotes" else prompt
        device = next(self.network.parameters()).device
        if self.config.reads == "quotes" and not text:
            return torch.zeros(0, self.config.width, device=device)
        found = self.network(input_ids=torch.tensor([self.tokenize(text)], device=device))
        if self.config.output == "pooled":
            rows: Tensor = found[_POOLED[self.config.architecture]]
        else:
            rows = found.last_hidden_state[0]
        return rows.float()


def byte_tokenizer(max_tokens: int) -> Tokenize:
    """UTF-8 bytes closed by the end id. Source: ByT5, arXiv 2105.13626, section 3.1."""
    tokenizer = ByteTokenizer()
    return lambda text: [*tokenizer.encode(text)[: max_tokens - 1], END]


def file_tokenizer(definition: str, max_tokens: int) -> Tokenize:
    """The tokenizer of a `tokenizer.json`, its special ids kept where a text is cut.

    Raises:
        ValueError: the text is no tokenizer definition.
    """
    try:
        tokenizer = tokenizers.Tokenizer.from_str(definition)
    except Exception as error:  # the library raises bare Exception
        raise ValueError(f"tokenizer: not a tokenizer definition: {error}") from error
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens)
    return lambda text: list(tokenizer.encode(text).ids)
