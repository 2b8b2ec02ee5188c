"""Audio generator: a diffusion transformer (DiT) that predicts the flow-matching velocity of a sound's latents.

It is told what is seen (features of every frame, brought to the rate of the latents, projected and added), what is
written (text rows, by cross-attention) and what is heard already (masked latents beside the noisy ones, which makes
generation, extension and infilling one task). Plain DiT blocks: layer norms and feed-forward modulated by time through
one MLP that all layers share, each with its own bias.
Source: Movie Gen (arXiv 2410.13720), section 6.1 and 6.2.

Ours, with the reason: rotary positions, so that a window of a long sound is computed as any other; and where
`video_kernel` is over 1 the projection is a convolution, because a small network finds what moves sooner.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor, nn

from kino.models.dit import TIME_FEATURES, time_features
from kino.models.text import Attention, rotary

LATENTS_PER_SECOND = 25


@dataclass(frozen=True)
class AudioConfig:
    """Sizes of an audio generator.

    Args:
        latent_channels: of the codec.
        text_width: of the text tower's rows.
        video_width: of the vision encoder's rows.
        max_latents: longest window that it was trained on, in latents of 40 ms.
        video_kernel: latents that the projection of the video's rows spans, odd.
    """

    width: int
    layers: int
    heads: int
    hidden: int
    latent_channels: int
    text_width: int
    video_width: int
    max_latents: int
    video_kernel: int = 1


class Conditions(NamedTuple):
    """What a sound is made by. Zeros everywhere are the condition of nothing, which guidance starts from.

    Attributes:
        video: rows of the vision encoder at 25 Hz [b, l, v]; zeros where there is no video.
        text, text_mask: rows of the text tower [b, n, d], and where there is a token [b, n].
        context: latents that are given [b, c, l], zeros where none is.
        given: where `context` is given [b, l].
    """

    video: Float[Tensor, "b l v"]
    text: Float[Tensor, "b n d"]
    text_mask: Bool[Tensor, "b n"]
    context: Float[Tensor, "b c l"]
    given: Bool[Tensor, "b l"]

    def dropped(self) -> "Conditions":
        """The same without all conditions."""
        return Conditions(
            torch.zeros_like(self.video),
            torch.zeros_like(self.text),
            torch.zeros_like(self.text_mask),
            torch.zeros_like(self.context),
            torch.zeros_like(self.given),
        )


class AudioDit(nn.Module):
    """Velocity of noisy latents, given the time and the conditions."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.latents_in = nn.Linear(2 * config.latent_channels + 1, width)
        self.video_in = nn.Conv1d(
            config.video_width, width, config.video_kernel, padding=config.video_kernel // 2, bias=False
        )
        self.text_in = nn.Sequential(nn.Linear(config.text_width, width), nn.LayerNorm(width))
        self.time_in = nn.Sequential(nn.Linear(TIME_FEATURES, width), nn.SiLU(), nn.Linear(width, width))
        self.modulation = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm_out = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation_out = nn.Linear(width, 2 * width)
        self.latents_out = nn.Linear(width, config.latent_channels)
        self.reset_gates()

    def reset_gates(self) -> None:
        """Zero modulation and output, so that an untrained network adds nothing and predicts zero (DiT, adaLN-Zero)."""
        for linear in (self.modulation, self.modulation_out, self.latents_out):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(
        self, x_t: Float[Tensor, "b c l"], t: Float[Tensor, " b"], conditions: Conditions
    ) -> Float[Tensor, "b c l"]:
        """Velocity of latents of any length."""
        return self.features(x_t, t, conditions)[0]

    def features(
        self, x_t: Float[Tensor, "b c l"], t: Float[Tensor, " b"], conditions: Conditions, layer: int = -1
    ) -> tuple[Float[Tensor, "b c l"], Float[Tensor, "b l d"]]:
        """Velocity, and the tokens after block `layer`, for auxiliary losses."""
        heard = torch.cat([x_t, conditions.context, conditions.given[:, None].to(x_t.dtype)], dim=1)
        tokens = self.latents_in(heard.mT) + self.video_in(conditions.video.mT).mT
        text = self.text_in(conditions.text)
        time = self.time_in(time_features(t).to(tokens.dtype))
        modulation = rearrange(self.modulation(F.silu(time)), "b (m d) -> m b 1 d", m=6)
        turns = rotary(torch.arange(x_t.shape[-1], device=x_t.device), self.config.width // self.config.heads)
        hidden = tokens
        for index, block in enumerate(self.blocks):
            tokens = block(tokens, modulation, text, conditions.text_mask, turns)
            if index == layer % len(self.blocks):
                hidden = tokens
        shift, scale = rearrange(self.modulation_out(F.silu(time)), "b (m d) -> m b 1 d", m=2)
        return self.latents_out(self.norm_out(tokens) * (1 + scale) + shift).mT, hidden


class Block(nn.Module):
    """Self-attention, cross-attention to the text, feed-forward; all residual, the first and last modulated by time."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        width = config.width
        self.modulation_bias = nn.Parameter(torch.zeros(6, 1, 1, width))
        self.self_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.self_attention = Attention(width, config.heads)
        self.cross_norm = nn.LayerNorm(width)
        self.cross_attention = Attention(width, config.heads)
        self.feed_norm = nn.LayerNorm(width, elementwise_affine=False)
        self.feed_forward = nn.Sequential(
            nn.Linear(width, config.hidden), nn.GELU("tanh"), nn.Linear(config.hidden, width)
        )

    def forward(self, x: Tensor, modulation: Tensor, text: Tensor, text_mask: Tensor, turns: Tensor) -> Tensor:
        shift_1, scale_1, gate_1, shift_2, scale_2, gate_2 = modulation + self.modulation_bias
        everything = torch.ones(1, 1, x.shape[1], dtype=torch.bool, device=x.device)
        normed = self.self_norm(x) * (1 + scale_1) + shift_1
        x = x + gate_1 * self.self_attention(normed, normed, everything, turns)
        heard = self.cross_attention(self.cross_norm(x), text, text_mask[:, None])
        x = x + torch.where(text_mask.any(dim=-1)[:, None, None], heard, 0.0)
        return x + gate_2 * self.feed_forward(self.feed_norm(x) * (1 + scale_2) + shift_2)


def at_latent_rate(rows: Float[Tensor, "f v"], fps: float | int, latents: int) -> Float[Tensor, "l v"]:
    """A video's rows at the middles of the latents: linear between the frames around, the ends held.

    Frame i is seen at the instant i / fps; latent j spans 40 ms from j / 25 on.
    """
    places = (torch.arange(latents, device=rows.device) + 0.5) / LATENTS_PER_SECOND * fps
    places = places.clamp(max=len(rows) - 1)
    before = places.floor().long()
    after = (before + 1).clamp(max=len(rows) - 1)
    share = (places - before)[:, None].to(rows.dtype)
    return rows[before] * (1 - share) + rows[after] * share
