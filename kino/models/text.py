"""Text towers: small bidirectional Transformers that turn a prompt into the rows a generator reads.

One class serves the three kinds of tower (UL2-class, ByT5-class, MetaCLIP-class); they differ in what they are fed and
how they are trained, which is the business of `services/encoder` and `training/objectives/towers.py`. The two networks
below the tower, `SpanDecoder` and `PictureEncoder`, exist to train it and are dropped when it is published.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from kino.tokens import PAD


@dataclass(frozen=True)
class TowerConfig:
    """The shape of one tower and what it reads.

    Args:
        vocabulary: number of token ids, special ones included.
        width: features per token, also the width the generator reads.
        layers: Transformer blocks.
        heads: attention heads; divides `width` into heads of an even size.
        hidden: inner width of the gated feed-forward layer.
        max_tokens: longest sequence the tower is fed, in tokens.
        tokens: "bpe" (the tokenizer stored beside the weights) or "bytes" (ByT5's, which needs no file).
        reads: "prompt", or "quotes": only the quoted text of the prompt, which may be empty.
        output: "sequence" (every token) or "pooled" (the first row alone).
    """

    vocabulary: int
    width: int
    layers: int
    heads: int
    hidden: int
    max_tokens: int
    tokens: Literal["bpe", "bytes"] = "bpe"
    reads: Literal["prompt", "quotes"] = "prompt"
    output: Literal["sequence", "pooled"] = "sequence"

    def __post_init__(self) -> None:
        if self.width % self.heads or (self.width // self.heads) % 2:
            raise ValueError(f"width: {self.width} does not divide into {self.heads} heads of an even size")

    @property
    def max_rows(self) -> int:
        """Most rows that one text becomes."""
        return 1 if self.output == "pooled" else self.max_tokens


def rotary(positions: Int[Tensor, " n"], size: int, base: float = 10_000.0) -> Float[Tensor, "2 n half"]:
    """The cosines and sines that `rotate` turns a head of `size` features by, at each position.

    Source: RoFormer, arXiv 2104.09864, equation 15.
    """
    frequencies = base ** (-torch.arange(0, size, 2, device=positions.device, dtype=torch.float32) / size)
    angles = positions.float()[:, None] * frequencies
    return torch.stack((angles.cos(), angles.sin()))


def rotate(x: Float[Tensor, "b k n s"], turns: Float[Tensor, "2 n half"]) -> Float[Tensor, "b k n s"]:
    """`x` with each pair of features (i, i + size/2) rotated by its position's angle."""
    cos, sin = turns.to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cos - second * sin, second * cos + first * sin), dim=-1)


class GatedMlp(nn.Module):
    """SwiGLU: W_out(silu(W_gate x) * W_in x). Source: arXiv 2002.05202, without biases as in Llama."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.inner = nn.Linear(width, 2 * hidden, bias=False)
        self.out = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        gate, value = self.inner(x).chunk(2, dim=-1)
        out: Tensor = self.out(F.silu(gate) * value)
        return out


class Attention(nn.Module):
    """Multi-head attention from `x` to `context`, where `visible` says which rows may be seen."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width, bias=False)
        self.key_value = nn.Linear(width, 2 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)

    def forward(
        self,
        x: Float[Tensor, "b q d"],
        context: Float[Tensor, "b n d"],
        visible: Bool[Tensor, "#b #q n"],
        turns: Float[Tensor, "2 n half"] | None = None,
    ) -> Float[Tensor, "b q d"]:
        q = rearrange(self.query(x), "b n (k s) -> b k n s", k=self.heads)
        k, v = rearrange(self.key_value(context), "b n (two k s) -> two b k n s", two=2, k=self.heads)
        if turns is not None:
            q, k = rotate(q, turns), rotate(k, turns)
        scores = (q @ k.mT) * q.shape[-1] ** -0.5
        # The lowest finite value, not -inf: a row that sees nothing stays finite, and is masked at the end.
        scores = scores.masked_fill(~visible[:, None], torch.finfo(scores.dtype).min)
        out: Tensor = self.out(rearrange(scores.softmax(dim=-1) @ v, "b k n s -> b n (k s)"))
        return out


class Block(nn.Module):
    """Pre-norm self-attention and gated feed-forward, each added to its input."""

    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.attention_norm = nn.RMSNorm(width, eps=1e-6)
        self.attention = Attention(width, heads)
        self.mlp_norm = nn.RMSNorm(width, eps=1e-6)
        self.mlp = GatedMlp(width, hidden)

    def forward(
        self, x: Float[Tensor, "b n d"], visible: Bool[Tensor, "#b #n n"], turns: Float[Tensor, "2 n half"]
    ) -> Float[Tensor, "b n d"]:
        normed = self.attention_norm(x)
        x = x + self.attention(normed, normed, visible, turns)
        out: Tensor = x + self.mlp(self.mlp_norm(x))
        return out


class Tower(nn.Module):
    """A bidirectional text encoder: token ids in, one row of features per token out."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.blocks = nn.ModuleList(Block(config.width, config.heads, config.hidden) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width, eps=1e-6)
        initialise(self, config.layers)

    def forward(self, ids: Int[Tensor, "b n"], mask: Bool[Tensor, "b n"]) -> Float[Tensor, "b n d"]:
        """The features of each token; rows outside `mask` are zero and touch no other row.

        Args:
            ids: token ids, any value where `mask` is false; n may be zero.
            mask: true where a token is present.
        """
        turns = rotary(torch.arange(ids.shape[1], device=ids.device), self.config.width // self.config.heads)
        x = self.embedding(ids)
        for block in self.blocks:
            x = block(x, mask[:, None], turns)
        out: Tensor = self.norm(x) * mask[..., None]
        return out


def pad(rows: Sequence[Sequence[int]]) -> tuple[Int[Tensor, "b n"], Bool[Tensor, "b n"]]:
    """(ids, mask): rows of any lengths as one tensor, filled up with PAD, and true where a token is."""
    longest = max(map(len, rows), default=0)
    ids = torch.full((len(rows), longest), PAD)
    mask = torch.arange(longest) < torch.tensor([len(row) for row in rows])[:, None]
    ids[mask] = torch.tensor([i for row in rows for i in row], dtype=torch.long)
    return ids, mask


class SpanDecoder(nn.Module):
    """The small causal decoder of span corruption: predicts the hidden spans from a tower's features.

    Source: T5, arXiv 1910.10683, section 3.1.4; the mixture of denoisers is UL2's, arXiv 2205.05131.
    """

    def __init__(self, config: TowerConfig, layers: int) -> None:
        super().__init__()
        self.size = config.width // config.heads
        self.blocks = nn.ModuleList(Block(config.width, config.heads, config.hidden) for _ in range(layers))
        self.cross_norms = nn.ModuleList(nn.RMSNorm(config.width, eps=1e-6) for _ in range(layers))
        self.crosses = nn.ModuleList(Attention(config.width, config.heads) for _ in range(layers))
        self.embedding = nn.Embedding(config.vocabulary, config.width)
        self.norm = nn.RMSNorm(config.width, eps=1e-6)
        self.out = nn.Linear(config.width, config.vocabulary, bias=False)
        initialise(self, layers)

    def forward(
        self, ids: Int[Tensor, "b m"], features: Float[Tensor, "b n d"], mask: Bool[Tensor, "b n"]
    ) -> Float[Tensor, "b m vocabulary"]:
        """The logits of the token after each of `ids`, given a tower's features and their mask."""
        count = ids.shape[1]
        turns = rotary(torch.arange(count, device=ids.device), self.size)
        causal = torch.ones(1, count, count, dtype=torch.bool, device=ids.device).tril()
        x = self.embedding(ids)
        for block, norm, cross in zip(self.blocks, self.cross_norms, self.crosses, strict=True):
            x = x + cross(norm(x), features, mask[:, None])
            x = block(x, causal, turns)
        out: Tensor = self.out(self.norm(x))
        return out


class PictureEncoder(nn.Module):
    """The picture side of the contrastive tower: a few frames of a clip, stacked in the channels, to one row.

    Args:
        frames: frames of a clip.
        size: pixels along each side of a frame, a multiple of 16.
        width: width of the row, the tower's.
    """

    def __init__(self, frames: int, size: int, width: int, channels: int = 32) -> None:
        super().__init__()
        counts = (3 * frames, channels, 2 * channels, 4 * channels, 4 * channels)
        layers: list[nn.Module] = []
        for last, count in pairwise(counts):
            layers += [nn.Conv2d(last, count, 3, stride=2, padding=1), nn.GroupNorm(8, count), nn.SiLU()]
        self.trunk = nn.Sequential(*layers)
        self.out = nn.Linear(counts[-1] * (size // 16) ** 2, width)

    def forward(self, pictures: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b d"]:
        """The row of each clip; pixels in [-1, 1]."""
        grid = self.trunk(rearrange(pictures, "b c t h w -> b (c t) h w"))
        out: Tensor = self.out(grid.flatten(1))
        return out


def initialise(network: nn.Module, layers: int) -> None:
    """Draw every matrix with deviation 0.02, and those that add to the residual stream with 0.02 / sqrt(2 layers)."""
    for name, parameter in network.named_parameters():
        if parameter.ndim == 2:
            narrow = name.endswith("out.weight") and name != "out.weight"
            nn.init.normal_(parameter, std=0.02 * ((2 * layers) ** -0.5 if narrow else 1.0))
