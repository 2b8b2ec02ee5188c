"""Temporal autoencoder (TAE): video to a latent grid 8x smaller on each axis, and back.

A 2.5D network: an image autoencoder in the latent-diffusion style, inflated by one 1D temporal convolution after every
2D spatial convolution and one temporal attention after every spatial attention, with symmetric replicate padding in
time. Source: Movie Gen (arXiv 2410.13720), section 3.1.1. Activations are kept as [b, t, h, w, c], so that every
convolution reads channels-last memory without a copy.

Ours, with the reason: norms act on the channels of one position alone (as in later video autoencoders), so that a
result does not depend on the extent of its tile; `patch` folds pixels and frames into channels before the first
convolution, which is what makes the small rows affordable on a CPU.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from kino.shapes import SPATIAL_COMPRESSION, TEMPORAL_COMPRESSION, latent_frames


@dataclass(frozen=True)
class TaeConfig:
    """Sizes of a TAE. Compression is patch x 2 per level transition: both must come to 8 in time and in space."""

    latent_channels: int
    widths: tuple[int, ...]
    encoder_blocks: int
    decoder_blocks: int
    attention: bool
    temporal_patch: int = 1
    spatial_patch: int = 1
    tile_latent_frames: int = 4
    tile_overlap: int = 2

    def __post_init__(self) -> None:
        levels = 2 ** (len(self.widths) - 1)
        assert self.temporal_patch * levels == TEMPORAL_COMPRESSION
        assert self.spatial_patch * levels == SPATIAL_COMPRESSION


class Posterior(NamedTuple):
    """Diagonal normal over latents, before normalisation: mean and log-variance, each [b, c, t, h, w]."""

    mean: Tensor
    log_variance: Tensor


class TAE(nn.Module):
    """Encoder, decoder, latent statistics. Pixels are in [-1, 1]; latents leave with zero mean and unit deviation."""

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: TaeConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.register_buffer("latent_mean", torch.zeros(config.latent_channels))
        self.register_buffer("latent_std", torch.ones(config.latent_channels))

    def posterior(self, video: Float[Tensor, "b 3 f y x"]) -> Posterior:
        """Distribution of the raw latents of a clip; what training samples from."""
        moments = rearrange(self.encoder(rearrange(video, "b c f y x -> b f y x c")), "b t h w c -> b c t h w")
        mean, log_variance = moments.float().chunk(2, dim=1)
        return Posterior(mean, log_variance.clamp(-20.0, 10.0))

    def encode(self, video: Float[Tensor, "b 3 f y x"]) -> Float[Tensor, "b c t h w"]:
        """Normalised latents of a clip: the posterior mean, shifted and scaled. t = ceil(f / 8); an image has f = 1."""
        return (self.posterior(video).mean - self._channelwise(self.latent_mean)) / self._channelwise(self.latent_std)

    def decode(self, latents: Float[Tensor, "b c t h w"], frames: int) -> Float[Tensor, "b 3 {frames} y x"]:
        """Clip of exactly `frames` frames; the decoder's surplus trailing frames are dropped."""
        assert latent_frames(frames) == latents.shape[2]
        return self.decode_raw(self._denormalise(latents))[:, :, :frames]

    def decode_raw(self, latents: Float[Tensor, "b c t h w"]) -> Float[Tensor, "b 3 f y x"]:
        """Clip of 8t frames from latents that were never normalised; what training compares with the input."""
        return rearrange(self.decoder(rearrange(latents, "b c t h w -> b t h w c")), "b f y x c -> b c f y x")

    def encode_tiled(self, video: Float[Tensor, "b 3 f y x"]) -> Iterator[Float[Tensor, "b c t h w"]]:
        """Yield the latents in consecutive pieces, from tiles of 32 frames without overlap (Movie Gen, section 3.1.1).

        A clip that fits one tile is encoded whole. Memory does not grow with length.
        """
        for tile in video.split(self.config.tile_latent_frames * TEMPORAL_COMPRESSION, dim=2):
            yield self.encode(tile)

    def decode_tiled(self, latents: Float[Tensor, "b c t h w"], frames: int) -> Iterator[Float[Tensor, "b 3 g y x"]]:
        """Yield the clip in consecutive pieces, decoded in tiles that overlap and are blended with linear weights.

        A clip that fits one tile is decoded whole. Memory does not grow with length.
        """
        assert latent_frames(frames) == latents.shape[2]
        remaining = frames
        for piece in blend(self._decoded_tiles(latents), self.config.tile_overlap * TEMPORAL_COMPRESSION):
            kept = piece[:, :, :remaining]
            remaining -= kept.shape[2]
            if kept.shape[2]:
                yield kept

    def _decoded_tiles(self, latents: Tensor) -> Iterator[Tensor]:
        tile, stride = self.config.tile_latent_frames, self.config.tile_latent_frames - self.config.tile_overlap
        start = 0
        while True:
            yield self.decode_raw(self._denormalise(latents[:, :, start : start + tile]))
            if start + tile >= latents.shape[2]:
                return
            start += stride

    def _denormalise(self, latents: Tensor) -> Tensor:
        return latents * self._channelwise(self.latent_std) + self._channelwise(self.latent_mean)

    @staticmethod
    def _channelwise(values: Tensor) -> Tensor:
        return rearrange(values, "c -> 1 c 1 1 1")


def blend(tiles: Iterator[Tensor], overlap: int) -> Iterator[Tensor]:
    """Join tiles [b, c, f, y, x] whose last `overlap` frames are the next one's first: w_j * old + (1 - w_j) * new.

    The weight of the old tile falls linearly, w_j = 1 - (j + 1) / (overlap + 1), and both weights sum to one.
    """
    held: Tensor | None = None
    for tile in tiles:
        if held is not None:
            rising = torch.arange(1, overlap + 1, device=tile.device, dtype=tile.dtype) / (overlap + 1)
            rising = rearrange(rising, "f -> 1 1 f 1 1")[:, :, : tile.shape[2]]
            seam = held[:, :, : tile.shape[2]] * (1 - rising) + tile[:, :, :overlap] * rising
            tile = torch.cat([seam, tile[:, :, overlap:]], dim=2)
        split = max(tile.shape[2] - overlap, 0)
        yield tile[:, :, :split]
        held = tile[:, :, split:]
    if held is not None:
        yield held


class Encoder(nn.Module):
    """Pixels [b, f, y, x, 3] to moments [b, t, h, w, 2c]."""

    def __init__(self, config: TaeConfig) -> None:
        super().__init__()
        self.temporal_patch, self.spatial_patch = config.temporal_patch, config.spatial_patch
        self.enter = Conv(3 * config.temporal_patch * config.spatial_patch**2, config.widths[0])
        levels: list[nn.Module] = []
        for level, width in enumerate(config.widths):
            if level:
                levels.append(Downsample(config.widths[level - 1], width))
            levels.extend(ResidualBlock(width) for _ in range(config.encoder_blocks))
        levels.extend(middle(config))
        self.levels = nn.Sequential(*levels)
        self.norm = nn.LayerNorm(config.widths[-1], bias=False)
        self.leave = Conv(config.widths[-1], 2 * config.latent_channels)

    def forward(self, pixels: Tensor) -> Tensor:
        surplus = -pixels.shape[1] % self.temporal_patch
        pixels = torch.cat([pixels, pixels[:, -1:].expand(-1, surplus, -1, -1, -1)], dim=1)
        x = rearrange(
            pixels,
            "b (t f) (h y) (w x) c -> b t h w (f y x c)",
            f=self.temporal_patch,
            y=self.spatial_patch,
            x=self.spatial_patch,
        )
        return self.leave(F.silu(self.norm(self.levels(self.enter(x)))))


class Decoder(nn.Module):
    """Raw latents [b, t, h, w, c] to pixels [b, 8t, 8h, 8w, 3]."""

    def __init__(self, config: TaeConfig) -> None:
        super().__init__()
        self.temporal_patch, self.spatial_patch = config.temporal_patch, config.spatial_patch
        self.enter = Conv(config.latent_channels, config.widths[-1])
        levels: list[nn.Module] = list(middle(config))
        for level in reversed(range(len(config.widths))):
            levels.extend(ResidualBlock(config.widths[level]) for _ in range(config.decoder_blocks))
            if level:
                levels.append(Upsample(config.widths[level], config.widths[level - 1]))
        self.levels = nn.Sequential(*levels)
        self.norm = nn.LayerNorm(config.widths[0], bias=False)
        self.leave = Conv(config.widths[0], 3 * config.temporal_patch * config.spatial_patch**2)

    def forward(self, latents: Tensor) -> Tensor:
        x = self.leave(F.silu(self.norm(self.levels(self.enter(latents)))))
        return rearrange(
            x,
            "b t h w (f y x c) -> b (t f) (h y) (w x) c",
            f=self.temporal_patch,
            y=self.spatial_patch,
            x=self.spatial_patch,
        )


def middle(config: TaeConfig) -> list[nn.Module]:
    """Blocks at the narrowest grid: residual, attention, residual where the row has attention; none otherwise."""
    if not config.attention:
        return []
    width = config.widths[-1]
    return [ResidualBlock(width), Attention(width), ResidualBlock(width)]


class Conv(nn.Module):
    """One 2D convolution over space followed by one 1D convolution over time that starts as the identity.

    Identity at the centre tap makes the inflated network equal the image network frame by frame before it is trained.
    """

    def __init__(self, channels_in: int, channels_out: int, *, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.space = nn.Conv2d(channels_in, channels_out, 3, stride, padding=1)
        self.time = nn.Conv2d(channels_out, channels_out, (3, 1), (stride, 1))
        with torch.no_grad():
            self.time.weight.zero_()
            self.time.weight[:, :, 1, 0] = torch.eye(channels_out)
            self.time.bias.zero_() if self.time.bias is not None else None

    def forward(self, x: Tensor) -> Tensor:
        batch, frames = x.shape[:2]
        x = rearrange(self.space(rearrange(x, "b t h w c -> (b t) c h w")), "(b t) c h w -> b t h w c", b=batch)
        height = x.shape[2]
        x = torch.cat([x[:, :1], x, x[:, -1:].expand(-1, 1 + (-frames % self.stride), -1, -1, -1)], dim=1)
        x = self.time(rearrange(x, "b t h w c -> b c t (h w)"))
        return rearrange(x, "b c t (h w) -> b t h w c", h=height)


class ResidualBlock(nn.Module):
    """x + conv(silu(norm(conv(silu(norm(x))))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm_1 = nn.LayerNorm(width, bias=False)
        self.conv_1 = Conv(width, width)
        self.norm_2 = nn.LayerNorm(width, bias=False)
        self.conv_2 = Conv(width, width)

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.conv_1(F.silu(self.norm_1(x)))
        return x + self.conv_2(F.silu(self.norm_2(hidden)))


class Downsample(nn.Module):
    """Halve time, height and width by strided convolutions; an odd time extent rounds up."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = Conv(channels_in, channels_out, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Upsample(nn.Module):
    """Double time, height and width: nearest-neighbour repeat, then convolution."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = Conv(channels_in, channels_out)

    def forward(self, x: Tensor) -> Tensor:
        x = x.repeat_interleave(2, dim=1).repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        return self.conv(x)


class Attention(nn.Module):
    """Single-head attention over the positions of each frame, then over the frames of each position; both residual."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.space_norm, self.space_qkv, self.space_out = attention_parts(width)
        self.time_norm, self.time_qkv, self.time_out = attention_parts(width)
        nn.init.zeros_(self.time_out.weight)
        nn.init.zeros_(self.time_out.bias)

    def forward(self, x: Tensor) -> Tensor:
        batch, _, height, width, _ = x.shape
        tokens = rearrange(x, "b t h w c -> (b t) (h w) c")
        tokens = tokens + self.space_out(attend(self.space_qkv(self.space_norm(tokens))))
        tokens = rearrange(tokens, "(b t) n c -> (b n) t c", b=batch)
        tokens = tokens + self.time_out(attend(self.time_qkv(self.time_norm(tokens))))
        return rearrange(tokens, "(b h w) t c -> b t h w c", h=height, w=width)


def attention_parts(width: int) -> tuple[nn.LayerNorm, nn.Linear, nn.Linear]:
    """Norm, joint projection to queries, keys and values, and output projection of one attention."""
    return nn.LayerNorm(width, bias=False), nn.Linear(width, 3 * width), nn.Linear(width, width)


def attend(qkv: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(c)) v over [b, n, 3c]; one head."""
    q, k, v = (part.unsqueeze(1) for part in qkv.chunk(3, dim=-1))
    return F.scaled_dot_product_attention(q, k, v).squeeze(1)
