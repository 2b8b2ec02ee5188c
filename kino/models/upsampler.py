"""Spatial upsampler: the full-HD frames behind frames that were enlarged by interpolation.

Flow matching from video to video in a latent space of its own, frame by frame, the enlarged video concatenated on
channels; windows of frames and of space are merged outside. Source: Movie Gen (arXiv 2410.13720), section 3.1.6.

Ours, with the reason:
- Latents are the cosine transform of colours and 8 x 8 pixels, scaled: a frame-wise code of the paper's compression
  that loses nothing, where the TAE of `mini` keeps 21 dB of crops of full HD as clips and 33 dB as single frames, and
  interpolation 32 dB (measured; DCT latents as in DCTdiff, arXiv 2412.15032).
- The network is a U-Net of convolutions (arXiv 1505.04597) whose finest level is of 4 x 4 pixels, no transformer over
  tokens of 16 x 16: what is missing is where an outline runs, to the pixel, and depends on what is near.
- The network says the data, from which the velocity follows (`kino.flow`): noise would fill all of its width, pictures
  do not (arXiv 2511.13720).
- The flow starts at the enlarged video with a little noise, not at noise: it is most of the way, so few steps do
  (arXiv 2312.07360; 2303.11435).
- What is near is brought to one contrast, and what the network adds is brought back from it: flat places stay flat, and
  a faint outline is sharpened like a strong one (local contrast normalisation).
"""

from dataclasses import dataclass
from itertools import pairwise
from math import pi
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from kino.shapes import PATCH_SIZE, SPATIAL_COMPRESSION

COLOURS = 3
LATENT_CHANNELS = COLOURS * SPATIAL_COMPRESSION**2
FINEST = 4
"""Side in pixels of what the finest level of the network holds at one place."""
TIME_FEATURES = 64
TIME_WIDTH = 128
NEIGHBOURHOOD = 5
"""Side of the square, in tokens of 16 pixels, over which colours and contrast are averaged."""
TOKEN = PATCH_SIZE * SPATIAL_COMPRESSION
FAINTEST = 0.005
"""Contrast in units of pixels, which reach from -1 to 1, below which a place counts as flat."""


@dataclass(frozen=True)
class UpsamplerConfig:
    """Sizes of an upsampler, and the windows it works in.

    Args:
        widths: channels of each level, the finest first; each holds twice the side of the one before, and the third and
            last a token of 16 pixels, in which windows are laid.
        blocks: blocks of each level on the way down, and again on the way up.
        start_noise: deviation of the noise on the enlarged video that the flow starts from, in latent units.
        window_frames, overlap_frames: frames of a window, and how many it shares with the next one.
        window_tokens, overlap_tokens: the same of the sides of a window, in tokens.
    """

    widths: tuple[int, ...]
    blocks: int = 2
    start_noise: float = 0.002
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
        widths, values = config.widths, COLOURS * FINEST**2
        self.time_in = nn.Sequential(nn.Linear(TIME_FEATURES, TIME_WIDTH), nn.SiLU())
        self.patch_in = Conv(2 * values + COLOURS, widths[0], 3, padding=1)
        self.down = nn.ModuleList(Level(width, config.blocks, depth > 0) for depth, width in enumerate(widths))
        self.shrink = nn.ModuleList(Conv(fine, coarse, 2, stride=2) for fine, coarse in pairwise(widths))
        self.grow = nn.ModuleList(nn.Linear(coarse, 4 * fine) for fine, coarse in pairwise(widths))
        self.up = nn.ModuleList(Level(width, config.blocks, depth > 0) for depth, width in enumerate(widths[:-1]))
        self.norm_out = nn.LayerNorm(widths[0])
        self.patch_out = Conv(widths[0], values, 3, padding=1)
        self.register_buffer("latent_mean", torch.zeros(LATENT_CHANNELS))
        self.register_buffer("latent_scale", torch.ones(LATENT_CHANNELS))
        for part in self.patch_out.parameters():
            nn.init.zeros_(part)

    def forward(
        self, x_t: Float[Tensor, "b c t h w"], t: Float[Tensor, " b"], condition: Float[Tensor, "b c t h w"]
    ) -> Float[Tensor, "b c t h w"]:
        """The data x_1 that a state belongs to, h and w even; an untrained network answers with the condition.

        Args:
            x_t: between the start and the data, at the times `t`.
            condition: latents of the enlarged frames.
        """
        scale, frames = channelwise(self.latent_scale), condition.shape[2]
        near = surroundings(by_frame(self.decode(condition)))
        moved = by_frame(pixels((x_t - condition) * scale)) / near.contrast
        tokens = torch.cat([places(part, frames) for part in (near.detail, moved)], dim=-1)
        colours = rearrange(F.avg_pool2d(near.colours, FINEST), "(b t) c h w -> b t h w c", t=frames)
        made = self._unet(torch.cat([tokens, colours], dim=-1), self.time_in(time_features(t).to(tokens.dtype))).float()
        missing = rearrange(made, "b t h w (y x c) -> (b t) c (h y) (w x)", y=FINEST, x=FINEST) * near.contrast
        return condition + waves(rearrange(missing, "(b t) c y x -> b c t y x", t=frames)) / scale

    def _unet(self, tokens: Float[Tensor, "b t h w n"], time: Float[Tensor, "b e"]) -> Float[Tensor, "b t h w m"]:
        """Down to the coarsest level, and up again."""
        x, passed = self.patch_in(tokens), []
        for depth, level in enumerate(self.down):
            x = level(x, time)
            if depth < len(self.shrink):
                passed.append(x)
                x = self.shrink[depth](x)
        for depth in reversed(range(len(self.up))):
            grown = rearrange(self.grow[depth](x), "b t h w (y x d) -> b t (h y) (w x) d", y=2, x=2)
            x = self.up[depth](passed.pop() + grown, time)
        made: Tensor = self.patch_out(self.norm_out(x))
        return made

    def encode(self, video: Float[Tensor, "b 3 t y x"]) -> Float[Tensor, "b c t h w"]:
        """Latents of frames in [-1, 1] whose sides are multiples of 8."""
        return (waves(video) - channelwise(self.latent_mean)) / channelwise(self.latent_scale)

    def decode(self, latents: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b 3 t y x"]:
        """The frames again."""
        return pixels(latents * channelwise(self.latent_scale) + channelwise(self.latent_mean))


class Conv(nn.Conv2d):
    """A convolution over space of tokens [b t h w d], whose channels stay side by side in memory."""

    def forward(self, x: Float[Tensor, "b t h w d"]) -> Float[Tensor, "b t H W e"]:
        made = super().forward(rearrange(x, "b t h w d -> (b t) d h w"))
        return rearrange(made, "(b t) d h w -> b t h w d", b=x.shape[0])


class Level(nn.Module):
    """Blocks; before them, where the level is not the finest, a mean of each place with the frames before and after."""

    def __init__(self, width: int, blocks: int, mixes: bool) -> None:
        super().__init__()
        self.time = nn.Parameter(torch.tensor([0.0, 1.0, 0.0])[:, None].repeat(1, width)) if mixes else None
        self.blocks = nn.ModuleList(Block(width) for _ in range(blocks))

    def forward(self, x: Float[Tensor, "b t h w d"], time: Float[Tensor, "b e"]) -> Float[Tensor, "b t h w d"]:
        if self.time is not None:
            past, now, future = self.time
            before, after = torch.cat([x[:, :1], x[:, :-1]], dim=1), torch.cat([x[:, 1:], x[:, -1:]], dim=1)
            x = past * before + now * x + future * after
        for block in self.blocks:
            x = block(x, time)
        return x


class Block(nn.Module):
    """x + second(silu(first(norm(x)) * (1 + scale) + shift)), by the time of the flow."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.modulation = nn.Linear(TIME_WIDTH, 2 * width)
        self.first = Conv(width, width, 3, padding=1)
        self.second = Conv(width, width, 3, padding=1)
        for part in (*self.modulation.parameters(), *self.second.parameters()):
            nn.init.zeros_(part)

    def forward(self, x: Float[Tensor, "b t h w d"], time: Float[Tensor, "b e"]) -> Float[Tensor, "b t h w d"]:
        scale, shift = self.modulation(time)[:, None, None, None].chunk(2, dim=-1)
        made: Tensor = x + self.second(F.silu(self.first(self.norm(x)) * (1 + scale) + shift))
        return made


class Surroundings(NamedTuple):
    """Each pixel without the colours around it, those mean colours, and the contrast: [n c y x]."""

    detail: Tensor
    colours: Tensor
    contrast: Tensor


def surroundings(frames: Float[Tensor, "n 3 y x"]) -> Surroundings:
    """What is near each pixel; detail is brought to unit contrast."""
    size = frames.shape[-2:]
    colours = smooth(average(F.avg_pool2d(frames, TOKEN)), size)
    detail = frames - colours
    energy = F.avg_pool2d(detail.square().mean(dim=1, keepdim=True), TOKEN)
    contrast = smooth((average(energy) + FAINTEST**2).sqrt(), size)
    return Surroundings(detail / contrast, colours, contrast)


def average(tokens: Float[Tensor, "n d i j"]) -> Float[Tensor, "n d i j"]:
    """Mean over the square around each token, as much of it as there is."""
    return F.avg_pool2d(tokens, NEIGHBOURHOOD, stride=1, padding=NEIGHBOURHOOD // 2, count_include_pad=False)


def smooth(tokens: Float[Tensor, "n d i j"], size: torch.Size) -> Float[Tensor, "n d y x"]:
    """Values of tokens at every pixel, without steps between them."""
    return F.interpolate(tokens, tuple(size), mode="bilinear", align_corners=False)


def by_frame(video: Float[Tensor, "b c t y x"]) -> Float[Tensor, "n c y x"]:
    """Frames of all clips, one after the other."""
    return rearrange(video, "b c t y x -> (b t) c y x")


def places(planes: Float[Tensor, "n c y x"], frames: int) -> Float[Tensor, "b t h w m"]:
    """What the finest level holds: the pixels of each place side by side."""
    return rearrange(planes, "(b t) c (h y) (w x) -> b t h w (y x c)", t=frames, y=FINEST, x=FINEST)


def waves(video: Float[Tensor, "b 3 t y x"]) -> Float[Tensor, "b c t h w"]:
    """The cosine transform of colours and 8 x 8 pixels, in the precision of the frames."""
    side = SPATIAL_COMPRESSION
    blocks = rearrange(video, "b c t (h y) (w x) -> b t h w (c y x)", y=side, x=side)
    with torch.autocast(video.device.type, enabled=False):
        made = blocks @ transform().to(video).T
    return rearrange(made, "b t h w c -> b c t h w")


def pixels(latents: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b 3 t y x"]:
    """The frames of a cosine transform, in its precision."""
    side = SPATIAL_COMPRESSION
    with torch.autocast(latents.device.type, enabled=False):
        blocks = rearrange(latents, "b c t h w -> b t h w c") @ transform().to(latents)
    return rearrange(blocks, "b t h w (c y x) -> b c t (h y) (w x)", y=side, x=side)


def transform() -> Float[Tensor, "c n"]:
    """The cosine transform of a block as one matrix: its rows are waves over colours, rows and columns."""
    sides = cosines(SPATIAL_COMPRESSION)
    return torch.kron(cosines(COLOURS), torch.kron(sides, sides))


def enlarged(video: Float[Tensor, "b 3 t y x"], height: int, width: int) -> Float[Tensor, "b 3 t Y X"]:
    """Frames at another size by bicubic interpolation, in [-1, 1]; area-averaged where they shrink."""
    frames = rearrange(video, "b c t y x -> (b t) c y x")
    scaled = F.interpolate(frames, (height, width), mode="bicubic", antialias=True, align_corners=False)
    return rearrange(scaled.clamp(-1, 1), "(b t) c y x -> b c t y x", b=video.shape[0])


def cosines(length: int) -> Float[Tensor, "k n"]:
    """Orthonormal cosine transform (DCT-II): row k is cos(pi (2n + 1) k / 2N), scaled to unit length."""
    n = torch.arange(length, dtype=torch.float64)
    rows = torch.cos(pi / length * (n + 0.5) * n[:, None])
    return (rows / rows.norm(dim=1, keepdim=True)).float()


def channelwise(values: Tensor) -> Tensor:
    """Values [c] shaped to scale latents."""
    return rearrange(values, "c -> c 1 1 1")


def time_features(t: Float[Tensor, " b"]) -> Float[Tensor, "b f"]:
    """Sines and cosines of t at wavelengths from 2 down to 1/16."""
    angles = t.float()[:, None] * pi * torch.logspace(0, 5, TIME_FEATURES // 2, base=2, device=t.device)
    return torch.cat([angles.cos(), angles.sin()], dim=-1)
