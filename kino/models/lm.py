"""The rewriter's network: a Llama-class causal language model with a key-value cache."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from einops import rearrange, repeat
from jaxtyping import Float, Int
from torch import Tensor, nn

from kino.models.text import GatedMlp, initialise, rotary, rotate


@dataclass(frozen=True)
class LmConfig:
    """The shape of a language model.

    Args:
        vocabulary: number of token ids, special ones included.
        width: features per token.
        layers: Transformer blocks.
        heads: query heads; divides `width` into heads of an even size.
        kv_heads: key and value heads, each shared by heads / kv_heads query heads.
        hidden: inner width of the gated feed-forward layer.
        max_tokens: longest sequence, prompt and answer together, in tokens.
        base: wavelength base of the rotary positions.
        tokens: "bpe" (the tokenizer stored beside the weights) or "bytes", which needs no file.
    """

    vocabulary: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    hidden: int
    max_tokens: int
    base: float = 10_000.0
    tokens: Literal["bpe", "bytes"] = "bpe"

    def __post_init__(self) -> None:
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(f"width: {self.width} does not divide into {self.heads} heads of an even size")
        if self.heads % self.kv_heads:
            raise ValueError(f"kv_heads: {self.kv_heads} does not divide {self.heads} heads")


@dataclass
class Cache:
    """The keys and values of the tokens read so far, one [2 b k n s] tensor a layer; filled by the model."""

    layers: list[Tensor] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Tokens held."""
        return self.layers[0].shape[-2] if self.layers else 0

    def extend(self, layer: int, key_value: Float[Tensor, "2 b k n s"]) -> Float[Tensor, "2 b k m s"]:
        """All keys and values of `layer`, the new ones at the end."""
        if layer == len(self.layers):
            self.layers.append(key_value)
        else:
            self.layers[layer] = torch.cat((self.layers[layer], key_value), dim=-2)
        return self.layers[layer]


class CausalAttention(nn.Module):
    """Grouped-query attention over the past. Source: GQA, arXiv 2305.13245."""

    def __init__(self, config: LmConfig) -> None:
        super().__init__()
        self.heads, self.kv_heads = config.heads, config.kv_heads
        size = config.width // config.heads
        self.query = nn.Linear(config.width, config.width, bias=False)
        self.key_value = nn.Linear(config.width, 2 * config.kv_heads * size, bias=False)
        self.out = nn.Linear(config.width, config.width, bias=False)

    def forward(
        self, x: Float[Tensor, "b n d"], turns: Float[Tensor, "2 n half"], cache: Cache, layer: int
    ) -> Float[Tensor, "b n d"]:
        q = rotate(rearrange(self.query(x), "b n (k s) -> b k n s", k=self.heads), turns)
        k, v = rearrange(self.key_value(x), "b n (two k s) -> two b k n s", two=2, k=self.kv_heads)
        k, v = cache.extend(layer, torch.stack((rotate(k, turns), v)))
        k, v = (repeat(part, "b k n s -> b (k group) n s", group=self.heads // self.kv_heads) for part in (k, v))
        scores = (q @ k.mT) * q.shape[-1] ** -0.5
        new, seen = scores.shape[-2:]
        future = torch.ones(new, seen, dtype=torch.bool, device=x.device).triu(seen - new + 1)
        scores = scores.masked_fill(future, torch.finfo(scores.dtype).min)
        out: Tensor = self.out(rearrange(scores.softmax(dim=-1) @ v, "b k n s -> b n (k s)"))
        return out


class LmBlock(nn.Module):
    """Pre-norm causal attention and gated feed-forward, each added to its input."""

    def __init__(self, config: LmConfig) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(config.width, eps=1e-6)
        self.attention = CausalAttention(config)
        self.mlp_norm = nn.RMSNorm(config.width, eps=1e-6)
        self.mlp = GatedMlp(config.width, config.hidden)

    def forward(
        self, x: Float[Tensor, "b n d"], turns: Float[Tensor, "2 n half"], cache: Cache, layer: int
    ) -> Float[Tensor, "b n d"]:
        x = x + self.attention(self.attention_norm(x), turns, cache, layer)
        out: Tensor = x + self.mlp(self.mlp_norm(x))
        return out


class LanguageModel(nn.Module):
    """A decoder-only Transformer whose output layer is its embedding. Source: Llama 3, arXiv 2407.21783."""

    def __init__(self, config: LmConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList(LmBlock(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width, eps=1e-6)
        initialise(self, config.layers)

    def forward(self, ids: Int[Tensor, "b n"], cache: Cache | None = None) -> Float[Tensor, "b n vocabulary"]:
        """The logits of the token after each of `ids`.

        Args:
            ids: the tokens that follow those in `cache`.
            cache: what was read before; grows by `ids`. None starts afresh.

        Raises:
            ValueError: the sequence grows past `max_tokens`.
        """
        cache = cache if cache is not None else Cache()
        stop = cache.length + ids.shape[1]
        if stop > self.config.max_tokens:
            raise ValueError(f"ids: {stop} tokens exceed the model's {self.config.max_tokens}")
        logits, *cache.layers = self.advance(ids, *cache.layers)
        return logits

    def advance(self, ids: Int[Tensor, "b n"], *past: Float[Tensor, "2 b k m s"]) -> tuple[Tensor, ...]:
        """(logits, then the keys and values of each layer, old and new): `forward` as a function of tensors alone.

        Args:
            past: the keys and values of each layer so far; none at the start.
        """
        cache = Cache(list(past))
        positions = torch.arange(cache.length, cache.length + ids.shape[1], device=ids.device)
        turns = rotary(positions, self.config.width // self.config.heads, self.config.base)
        x = self.embedding(ids)
        for layer, block in enumerate(self.blocks):
            x = block(x, turns, cache, layer)
        return self.norm(x) @ self.embedding.weight.T, *cache.layers


@torch.inference_mode()
def generate(
    model: LanguageModel, prompt: Sequence[int], choose: Callable[[Float[Tensor, " vocabulary"]], int]
) -> Iterator[int]:
    """The tokens that follow `prompt`, one at a time, up to `max_tokens` in all; the caller stops at its end token.

    Args:
        prompt: token ids, at least one.
        choose: picks a token from the logits; greedy, sampled or constrained is its affair.
    """
    cache, ids = Cache(), list(prompt)
    for _ in range(model.config.max_tokens - len(prompt)):
        logits = model(torch.tensor([ids], device=model.embedding.weight.device), cache)
        token = choose(logits[0, -1])
        yield token
        ids = [token]
