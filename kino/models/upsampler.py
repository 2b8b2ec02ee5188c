"""Spatial upsampler: the full-HD frames behind frames that were enlarged by interpolation.

Flow matching from video to video in a latent space of its own, frame by frame, the enlarged video concatenated on
channels; windows of frames and of space are merged outside. Source: Movie Gen (arXiv 2410.13720), section 3.1.6.

Ours, with the reason:
- Latents are the cosine transform of colours and 8 x 8 pixels, scaled: a frame-wise code of the paper's compression
  that loses nothing, where the TAE of `mini` keeps 21 dB of crops of full HD as clips and 33 dB as single frames, and
  interpolation 32 dB (measured; DCT latents as in DCTdiff, arXiv 2412.15032).
- Blocks mix by depthwise convolutions, not attention (ConvNeXt, arXiv 2201.03545): what is missing depends on what
  is near, and a small network learns that sooner.
- The network says the data, from which the velocity follows (`kino.flow`): patches are wider than the network, which
  cannot carry their noise but does carry their pictures (arXiv 2511.13720).
- The flow starts at the enlarged video with a little noise, not at noise: it is most of the way, so few steps do
  (arXiv 2312.07360; 2303.11435).
- What is near is brought to one contrast, and what the network adds is brought back from it: flat places stay flat, and
  a faint outline is sharpened like a strong one (local contrast normalisation).
"""

from dataclasses import dataclass
from math import pi
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import einsum, rearrange
from jaxtyping import Float
from torch import Tensor, nn

from kino.shapes import PATCH_SIZE, SPATIAL_COMPRESSION

COLOURS = 3
LATENT_CHANNELS = COLOURS * SPATIAL_COMPRESSION**2
TIME_FEATURES = 64
NEIGHBOURHOOD = 5
"""Side of the square, in tokens, over which colours and contrast are averaged."""
FAINTEST = 0.02
"""Contrast in latent units below which a place counts as flat."""


@dataclass(frozen=True)
class UpsamplerConfig:
    """Sizes of an upsampler, and the windows it works in.

    Args:
        kernel: extent of a block's convolution over space, in tokens of 16 pixels; odd.
        start_noise: deviation of the noise on the enlarged video that the flow starts from, in latent units.
        window_frames, overlap_frames: frames of a window, and how many it shares with the next one.
        window_tokens, overlap_tokens: the same of the sides of a window.
    """

    width: int
    layers: int
    hidden: int
    kernel: int = 5
    start_noise: float = 0.03
    window_frames: int = 4
    overlap_frames: int = 1
    window_tokens: int = 48
    overlap_tokens: int = 8


class Upsampler(nn.Module):
    """Latents of sharp frames, given the enlarged ones, a state between both and its time."""

    latent_mean: Tensor
    latent_scale: Tensor

    def __init__(self, config: UpsamplerConfig) -> None:
        super().__init__()
        self.config = config
        patch_values = PATCH_SIZE**2 * LATENT_CHANNELS
        self.patch_in = nn.Linear(2 * patch_values + COLOURS, config.width)
        self.time_in = nn.Sequential(nn.Linear(TIME_FEATURES, config.width), nn.SiLU())
        self.modulation = nn.Linear(config.width, 3 * config.width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm_out = nn.LayerNorm(config.width)
        self.patch_out = nn.Linear(config.width, patch_values)
        self.register_buffer("latent_mean", torch.zeros(LATENT_CHANNELS))
        self.register_buffer("latent_scale", torch.ones(LATENT_CHANNELS))
        for linear in (self.modulation, self.patch_out):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(
        self, x_t: Float[Tensor, "b c t h w"], t: Float[Tensor, " b"], condition: Float[Tensor, "b c t h w"]
    ) -> Float[Tensor, "b c t h w"]:
        """The data x_1 that a state belongs to, h and w even; an untrained network answers with the condition.

        Args:
            x_t: between the start and the data, at the times `t`.
            condition: latents of the enlarged frames.
        """
        detail, colours, contrast = surroundings(condition)
        tokens = self.patch_in(torch.cat([patches(x_t - condition) / contrast, detail, colours], dim=-1))
        modulation = rearrange(self.modulation(self.time_in(time_features(t).to(tokens.dtype))), "b d -> b 1 1 1 d")
        for block in self.blocks:
            tokens = block(tokens, modulation)
        missing = self.patch_out(self.norm_out(tokens)).float() * contrast
        return condition + rearrange(missing, "b t h w (y x c) -> b c t (h y) (w x)", y=PATCH_SIZE, x=PATCH_SIZE)

    def encode(self, video: Float[Tensor, "b 3 t y x"]) -> Float[Tensor, "b c t h w"]:
        """Latents of frames in [-1, 1] whose sides are multiples of 8."""
        colours, pixels = cosines(COLOURS).to(video), cosines(SPATIAL_COMPRESSION).to(video)
        blocks = rearrange(video, "b c t (h y) (w x) -> b t h w c y x", y=SPATIAL_COMPRESSION, x=SPATIAL_COMPRESSION)
        waves = einsum(blocks, colours, pixels, pixels, "b t h w c y x, i c, j y, k x -> b t h w i j k")
        latents = rearrange(waves, "b t h w i j k -> b (i j k) t h w")
        return (latents - channelwise(self.latent_mean)) / channelwise(self.latent_scale)

    def decode(self, latents: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b 3 t y x"]:
        """The frames again."""
        colours, pixels = cosines(COLOURS).to(latents), cosines(SPATIAL_COMPRESSION).to(latents)
        waves = latents * channelwise(self.latent_scale) + channelwise(self.latent_mean)
        waves = rearrange(waves, "b (i j k) t h w -> b t h w i j k", i=COLOURS, j=SPATIAL_COMPRESSION)
        blocks = einsum(waves, colours, pixels, pixels, "b t h w i j k, i c, j y, k x -> b t h w c y x")
        return rearrange(blocks, "b t h w c y x -> b c t (h y) (w x)")


class Surroundings(NamedTuple):
    """Each token's latents without the colours around it, those mean colours, and the contrast: [b t h w ...]."""

    detail: Tensor
    colours: Tensor
    contrast: Tensor


def surroundings(latents: Float[Tensor, "b c t h w"]) -> Surroundings:
    """What is near each token of a frame; detail is brought to unit contrast."""
    tokens = rearrange(patches(latents), "b t h w (p c) -> b t h w p c", c=LATENT_CHANNELS).clone()
    flat = tokens[..., :: SPATIAL_COMPRESSION**2]
    colours = average(flat.mean(dim=-2))
    flat -= colours[..., None, :]
    energy = tokens.square().sum(dim=-1).mean(dim=-1, keepdim=True)
    contrast = (average(energy) + FAINTEST**2).sqrt()
    return Surroundings(rearrange(tokens, "b t h w p c -> b t h w (p c)") / contrast, colours, contrast)


def patches(latents: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b t i j p"]:
    """Latents by token: 2 x 2 of them."""
    return rearrange(latents, "b c t (h y) (w x) -> b t h w (y x c)", y=PATCH_SIZE, x=PATCH_SIZE)


def average(tokens: Float[Tensor, "b t i j d"]) -> Float[Tensor, "b t i j d"]:
    """Mean over the square around each token, as much of it as there is."""
    planes = rearrange(tokens, "b t h w d -> (b t) d h w")
    mean = F.avg_pool2d(planes, NEIGHBOURHOOD, stride=1, padding=NEIGHBOURHOOD // 2, count_include_pad=False)
    return rearrange(mean, "(b t) d h w -> b t h w d", b=tokens.shape[0])


class Block(nn.Module):
    """x + gate * down(silu(up(norm(mix(x)) * (1 + scale) + shift))); mix is over space, then over time."""

    def __init__(self, config: UpsamplerConfig) -> None:
        super().__init__()
        width = config.width
        self.space = nn.Conv2d(width, width, config.kernel, padding=config.kernel // 2, groups=width)
        self.time = nn.Parameter(torch.tensor([0.0, 1.0, 0.0])[:, None].repeat(1, width))
        self.modulation_bias = nn.Parameter(torch.cat([torch.zeros(2 * width), torch.ones(width)]))
        self.norm = nn.LayerNorm(width)
        self.up = nn.Linear(width, config.hidden)
        self.down = nn.Linear(config.hidden, width)

    def forward(self, x: Float[Tensor, "b t h w d"], modulation: Tensor) -> Float[Tensor, "b t h w d"]:
        mixed = self.space(rearrange(x, "b t h w d -> (b t) d h w"))
        mixed = rearrange(mixed, "(b t) d h w -> b t h w d", b=x.shape[0])
        before = torch.cat([mixed[:, :1], mixed[:, :-1]], dim=1)
        after = torch.cat([mixed[:, 1:], mixed[:, -1:]], dim=1)
        past, now, future = self.time
        mixed = past * before + now * mixed + future * after
        shift, scale, gate = (modulation + self.modulation_bias).chunk(3, dim=-1)
        return x + gate * self.down(F.silu(self.up(self.norm(mixed) * (1 + scale) + shift)))


def enlarged(video: Float[Tensor, "b 3 t y x"], height: int, width: int) -> Float[Tensor, "b 3 t Y X"]:
    """Frames at another size by bicubic interpolation, in [-1, 1]; area-averaged where they shrink."""
    frames = rearrange(video, "b c t y x -> (b t) c y x")
    scaled = F.interpolate(frames, (height, width), mode="bicubic", antialias=True, align_corners=False)
    return rearrange(scaled.clamp(-1, 1), "(b t) c y x -> b c t y x", b=video.shape[0])


def cosines(length: int) -> Float[Tensor, "k n"]:
    """Orthonormal cosine transform (DCT-II): row k is cos(pi (2n + 1) k / 2N), scaled to unit length."""
    n = torch.arange(length, dtype=torch.float64)
    waves = torch.cos(pi / length * (n + 0.5) * n[:, None])
    return (waves / waves.norm(dim=1, keepdim=True)).float()


def channelwise(values: Tensor) -> Tensor:
    """Values [c] shaped to scale latents."""
    return rearrange(values, "c -> c 1 1 1")


def time_features(t: Float[Tensor, " b"]) -> Float[Tensor, "b f"]:
    """Sines and cosines of t at wavelengths from 2 down to 1/16."""
    angles = t.float()[:, None] * pi * torch.logspace(0, 5, TIME_FEATURES // 2, base=2, device=t.device)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
