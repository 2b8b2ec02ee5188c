"""Prompts through a text tower: what a generator reads, in training as in serving."""

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from kino.manifest import Manifest
from kino.models.text import Tower, TowerConfig
from kino.registry import Registry
from kino.tokens import PAD, BpeTokenizer, ByteTokenizer, Tokenizer, tower_ids

TOKENIZER = "tokenizer.json"
"""File of a tower's version that holds its tokenizer."""


def open_tokenizer(config: TowerConfig, manifest: Manifest, registry: Registry) -> Tokenizer:
    """The tokenizer of a tower's version; raises as `Registry.file`."""
    if config.tokens == "bytes":
        return ByteTokenizer()
    return BpeTokenizer(registry.file(manifest, TOKENIZER).read_text(encoding="utf-8"))


def encode_prompts(
    tower: Tower, tokenizer: Tokenizer, prompts: Sequence[str]
) -> tuple[Float[Tensor, "b n d"], Bool[Tensor, "b n"]]:
    """Embeddings of prompts by one tower, and the mask of the rows that exist.

    A tower of pooled output gives one row a prompt; one that reads quotes may give none.
    """
    config = tower.config
    device = tower.embedding.weight.device
    rows = [tower_ids(tokenizer, prompt, config.reads, config.max_tokens) for prompt in prompts]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [PAD] * (longest - len(row)) for row in rows], dtype=torch.long, device=device)
    lengths = torch.tensor([len(row) for row in rows], device=device)
    mask = torch.arange(longest, device=device) < lengths[:, None]
    embeddings = tower(ids.view(len(rows), longest), mask)
    kept = 1 if config.output == "pooled" else longest
    return embeddings[:, :kept], mask[:, :kept]


def with_frame_rate(prompt: str, fps: int) -> str:
    """Prompt of a clip behind its frame rate, as "FPS-16 a red ball"; the empty prompt, which guides away, stays empty.

    Source: Movie Gen, section 3.2.2. A still has no frame rate.
    """
    return f"FPS-{fps} {prompt}" if prompt else prompt
