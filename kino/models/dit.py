"""Diffusion transformer (DiT) that predicts the flow-matching velocity of a latent video from text.

Llama-3-style blocks (RMSNorm, SwiGLU, no biases) with full bidirectional attention over all tokens of a clip,
cross-attention to the concatenated text towers between self-attention and feed-forward, adaptive norms driven by the
time through one MLP shared by all layers, factorised learnable positions added to the input of every layer, patches of
1 x 2 x 2.
Source: Movie Gen (arXiv 2410.13720), section 3.2 and table 5; shared modulation: its audio model, section 6.1.
"""

from dataclasses import dataclass
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from kino.shapes import PATCH_SIZE, Grid

TIME_FEATURES = 256
TASK_TOKENS = 4


@dataclass(frozen=True)
class DitConfig:
    """Sizes of a DiT.

    Args:
        text_widths: width of the embeddings of each text tower, by its name, in the order of concatenation.
        max_grid: largest extent in tokens of each axis (t, h, w) that positions exist for.
        extra_channels: latent channels concatenated to the input that carry a condition, 0 for text to video.
        later_position_gain: start value of the learned factor of the positions in every layer but the first.
        tasks: what one network can be asked for, by name; a network without any knows only its one task.
    """

    width: int
    layers: int
    heads: int
    hidden: int
    text_widths: tuple[tuple[str, int], ...]
    max_grid: tuple[int, int, int]
    latent_channels: int = 16
    extra_channels: int = 0
    later_position_gain: float = 1.0
    tasks: tuple[str, ...] = ()


Texts = dict[str, tuple[Tensor, Tensor]]
"""Embeddings [b, n, d] and their mask [b, n] (true where a token exists), by tower."""


class Reading(NamedTuple):
    """What a network takes from texts and task, alike at every step: `DiT.read` makes it.

    Args:
        keys_values: what each block's cross-attention attends to, [b k m d] twice.
        mask: [b m], true where a token exists.
        time: [b d], what the task adds to the time; None for a network without tasks.
    """

    keys_values: list[tuple[Tensor, Tensor]]
    mask: Tensor
    time: Tensor | None


class DiT(nn.Module):
    """Velocity of noisy latents, given the time and the text."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.config = config
        patch_values = PATCH_SIZE * PATCH_SIZE * config.latent_channels
        extra_values = PATCH_SIZE * PATCH_SIZE * config.extra_channels
        self.patch_in = nn.Linear(patch_values + extra_values, config.width, bias=False)
        self.positions = Positions(config)
        self.time_in = nn.Sequential(
            nn.Linear(TIME_FEATURES, config.width), nn.SiLU(), nn.Linear(config.width, config.width)
        )
        self.modulation = nn.Linear(config.width, 6 * config.width)
        self.texts_in = nn.ModuleDict({name: TextIn(width, config.width) for name, width in config.text_widths})
        self.task_in = TaskIn(len(config.tasks), config.width) if config.tasks else None
        gains = [1.0] + [config.later_position_gain] * (config.layers - 1)
        self.blocks = nn.ModuleList(Block(config, gain) for gain in gains)
        self.norm_out = RMSNorm(config.width)
        self.modulation_out = nn.Linear(config.width, 2 * config.width)
        self.patch_out = nn.Linear(config.width, patch_values, bias=False)
        self.reset_gates()

    def reset_gates(self) -> None:
        """Zero modulation and output, so that an untrained network adds nothing and predicts zero (DiT, adaLN-Zero)."""
        for linear in (self.modulation, self.modulation_out):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        nn.init.zeros_(self.patch_out.weight)

    def forward(
        self,
        x_t: Float[Tensor, "b c t h w"],
        t: Float[Tensor, " b"],
        texts: Texts | Reading,
        task: Int64[Tensor, " b"] | None = None,
        first: int = 0,
    ) -> Float[Tensor, "b v t h w"]:
        """Velocity [b, latent_channels, t, h, w]; h and w even, the grid within the position tables.

        Args:
            texts: or what was read from them, once for many steps.
            task: index into the config's tasks, where it has any; of a reading it is part.
            first: position of the first latent frame.
        """
        tokens, _ = self.features(x_t, t, texts, task=task, first=first)
        _, _, frames, height, _ = x_t.shape
        return rearrange(
            tokens,
            "b (t h w) (y x c) -> b c t (h y) (w x)",
            t=frames,
            h=height // PATCH_SIZE,
            y=PATCH_SIZE,
            x=PATCH_SIZE,
        )

    def features(
        self,
        x_t: Tensor,
        t: Tensor,
        texts: Texts | Reading,
        layer: int = -1,
        task: Tensor | None = None,
        first: int = 0,
    ) -> tuple[Tensor, Tensor]:
        """Velocity per token [b, n, 4c] and the hidden tokens [b, n, d] after block `layer`, for auxiliary losses."""
        _, _, frames, height, width = x_t.shape
        tokens = self.patch_in(rearrange(x_t, "b c t (h y) (w x) -> b (t h w) (y x c)", y=PATCH_SIZE, x=PATCH_SIZE))
        positions = self.positions(Grid(frames, height, width), first)
        assert task is None or not isinstance(texts, Reading)
        reading = texts if isinstance(texts, Reading) else self.read(texts, task)
        time = self.time_in(time_features(t).to(tokens.dtype))
        if reading.time is not None:
            time = time + reading.time.to(time.dtype)
        modulation = rearrange(self.modulation(F.silu(time)), "b (m d) -> m b 1 d", m=6)
        hidden = tokens
        for index, (block, keys_values) in enumerate(zip(self.blocks, reading.keys_values, strict=True)):
            tokens = block(tokens, positions, modulation, keys_values, reading.mask)
            if index == layer % len(self.blocks):
                hidden = tokens
        shift, scale = rearrange(self.modulation_out(F.silu(time)), "b (m d) -> m b 1 d", m=2)
        return self.patch_out(self.norm_out(tokens) * (1 + scale) + shift), hidden

    def read(self, texts: Texts, task: Int64[Tensor, " b"] | None = None) -> Reading:
        """Keys and values of all towers' tokens, concatenated along the sequence; a task's tokens come last."""
        parts = [self.texts_in[name](texts[name][0]) for name, _ in self.config.text_widths]
        text = torch.cat(parts, dim=1)
        mask = torch.cat([texts[name][1] for name, _ in self.config.text_widths], dim=1)
        time = None
        assert (task is None) == (self.task_in is None)
        if self.task_in is not None:
            task_text, time = self.task_in(task)
            text = torch.cat([text, task_text.to(text.dtype)], dim=1)
            mask = F.pad(mask, (0, task_text.shape[1]), value=True)
        return Reading([cast(Block, block).cross_attention.read(text) for block in self.blocks], mask, time)


class Positions(nn.Module):
    """Factorised learnable positions: one table per axis, the three vectors of a token summed.

    Tables start as sines and cosines of unit scale over the three axes together: positions at full scale from the first
    step decide how fast a small model learns (ours; measured).
    """

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        tables = [sinusoids(length, config.width) * (2 / 3) ** 0.5 for length in config.max_grid]
        self.t_table, self.h_table, self.w_table = (nn.Parameter(table) for table in tables)

    def forward(self, grid: Grid, first: int = 0) -> Float[Tensor, "n d"]:
        """Positions of a latent grid's tokens, in the order t h w; its first frame is at `first`."""
        height, width = grid.h // PATCH_SIZE, grid.w // PATCH_SIZE
        t, h, w = self.t_table[first : first + grid.t], self.h_table[:height], self.w_table[:width]
        return rearrange(t[:, None, None] + h[None, :, None] + w[None, None, :], "t h w d -> (t h w) d")


class TextIn(nn.Module):
    """Linear projection and LayerNorm of one tower's embeddings; each tower has its own (Movie Gen, section 3.2.2)."""

    def __init__(self, text_width: int, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(text_width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, embeddings: Tensor) -> Tensor:
        projected: Tensor = self.norm(self.linear(embeddings))
        return projected


class TaskIn(nn.Module):
    """Task embeddings: four vectors that join the text, and one that is added to the time, of one vector per task.

    Both maps start at zero, so that a network that learns tasks starts close to the one without them.
    Source: Movie Gen (arXiv 2410.13720), section 5.
    """

    def __init__(self, tasks: int, width: int) -> None:
        super().__init__()
        self.table = nn.Embedding(tasks, width)
        self.text = nn.Linear(width, TASK_TOKENS * width, bias=False)
        self.time = nn.Linear(width, width, bias=False)
        nn.init.zeros_(self.text.weight)
        nn.init.zeros_(self.time.weight)

    def forward(self, task: Tensor) -> tuple[Float[Tensor, "b m d"], Float[Tensor, "b d"]]:
        vector = self.table(task)
        return rearrange(self.text(vector), "b (m d) -> b m d", m=TASK_TOKENS), self.time(vector)


class Block(nn.Module):
    """Self-attention, cross-attention to the text, SwiGLU; all residual, the first and last modulated by time."""

    def __init__(self, config: DitConfig, position_gain: float) -> None:
        super().__init__()
        self.position_gain = nn.Parameter(torch.tensor(position_gain))
        self.modulation_bias = nn.Parameter(torch.zeros(6, 1, config.width))
        self.self_norm = RMSNorm(config.width)
        self.self_attention = SelfAttention(config.width, config.heads)
        self.cross_norm = RMSNorm(config.width)
        self.cross_attention = CrossAttention(config.width, config.heads)
        self.feed_norm = RMSNorm(config.width)
        self.feed_forward = SwiGLU(config.width, config.hidden)

    def forward(
        self, x: Tensor, positions: Tensor, modulation: Tensor, text: tuple[Tensor, Tensor], text_mask: Tensor
    ) -> Tensor:
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = modulation + self.modulation_bias[:, None]
        x = x + self.position_gain * positions
        x = x + gate_1 * self.self_attention(self.self_norm(x) * (1 + scale_1) + shift_1)
        x = x + self.cross_attention(self.cross_norm(x), *text, text_mask)
        return x + gate_2 * self.feed_forward(self.feed_norm(x) * (1 + scale_2) + shift_2)


class SelfAttention(nn.Module):
    """Multi-head attention over all tokens, with RMSNorm on queries and keys."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.query_norm, self.key_norm = RMSNorm(width // heads), RMSNorm(width // heads)
        self.out = nn.Linear(width, width, bias=False)

    def forward(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b n d"]:
        q, k, v = rearrange(self.qkv(x), "b n (p k d) -> p b k n d", p=3, k=self.heads)
        mixed = attend(self.query_norm(q), self.key_norm(k), v, None)
        out: Tensor = self.out(rearrange(mixed, "b k n d -> b n (k d)"))
        return out


class CrossAttention(nn.Module):
    """Multi-head attention from the tokens to the text. A clip without any text token is left as it is."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.q = nn.Linear(width, width, bias=False)
        self.kv = nn.Linear(width, 2 * width, bias=False)
        self.query_norm, self.key_norm = RMSNorm(width // heads), RMSNorm(width // heads)
        self.out = nn.Linear(width, width, bias=False)

    def read(self, text: Float[Tensor, "b m w"]) -> tuple[Float[Tensor, "b k m d"], Float[Tensor, "b k m d"]]:
        """Keys and values of the text."""
        k, v = rearrange(self.kv(text), "b m (p k d) -> p b k m d", p=2, k=self.heads)
        return self.key_norm(k), v

    def forward(
        self,
        x: Float[Tensor, "b n w"],
        k: Float[Tensor, "b k m d"],
        v: Float[Tensor, "b k m d"],
        mask: Bool[Tensor, "b m"],
    ) -> Float[Tensor, "b n w"]:
        q = rearrange(self.q(x), "b n (k d) -> b k n d", k=self.heads)
        mixed = attend(self.query_norm(q), k, v, mask)
        out: Tensor = self.out(rearrange(mixed, "b k n d -> b n (k d)"))
        return out


class SwiGLU(nn.Module):
    """down(silu(gate(x)) * up(x))."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.gate_up = nn.Linear(width, 2 * hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up(x).chunk(2, dim=-1)
        out: Tensor = self.down(F.silu(gate) * up)
        return out


class RMSNorm(nn.Module):
    """x / sqrt(mean(x^2) + 1e-6) * weight over the last axis."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight.to(x.dtype), 1e-6)


def attend(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q k^T / sqrt(d)) v over [b, k, n, d]; masked keys get no weight, a row without keys is zero."""
    visible = None if mask is None else mask[:, None, None, :]
    if q.device.type == "cpu" and torch.is_grad_enabled():
        mixed = attend_explicitly(q, k, v, visible)
    else:
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=visible)
    return mixed if visible is None else torch.where(visible.any(dim=-1, keepdim=True), mixed, 0.0)


def attend_explicitly(q: Tensor, k: Tensor, v: Tensor, visible: Tensor | None) -> Tensor:
    """The same by matrix products: on CPUs the backward pass of the fused kernel takes twice as long.

    Source: measured at 144 tokens.
    """
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    if visible is not None:
        scores = scores.masked_fill(~visible, torch.finfo(scores.dtype).min)
    return scores.softmax(dim=-1).to(v.dtype) @ v


def time_features(t: Float[Tensor, " b"]) -> Float[Tensor, "b f"]:
    """Sines and cosines of 1000 t at geometric frequencies from 1 to 1/10000."""
    frequencies = torch.exp(
        torch.arange(TIME_FEATURES // 2, device=t.device) * (-torch.log(torch.tensor(10_000.0)) / (TIME_FEATURES // 2))
    )
    angles = 1000.0 * t.float()[:, None] * frequencies
    return torch.cat([angles.cos(), angles.sin()], dim=-1)


def sinusoids(length: int, width: int) -> Float[Tensor, "n d"]:
    """Sine-cosine table with wavelengths from 4 to 4 * length positions; a row has mean square 1/2."""
    frequencies = (torch.pi / 2) * length ** -torch.linspace(0, 1, width // 2)
    angles = torch.arange(length)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
