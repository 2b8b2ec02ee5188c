"""Audio codec: 48 kHz sound to 25 latents a second, and back.

The Descript audio codec without its quantiser, trained as a variational autoencoder (DAC-VAE): residual units of
dilated convolutions with snake activations, strided convolutions between them.
Sources: Movie Gen (arXiv 2410.13720), section 6.1; Descript audio codec (arXiv 2306.06546), section 3.

Ours, with the reason: `patch` folds samples into channels before the first convolution, which is what makes the small
rows affordable on a CPU.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, prod
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from kino.shapes import AUDIO_COMPRESSION

DILATIONS = (1, 3, 9)
KERNEL = 7


@dataclass(frozen=True)
class CodecConfig:
    """Sizes of a codec.

    Args:
        widths: channels of each level, from the samples to the latents; one more than there are strides.
        strides: compression between levels; with `patch` they come to 1,920 samples a latent.
        patch: samples folded into channels before the first level.
        tile_latents: latents that are coded at once; a second has 25.
    """

    latent_channels: int
    widths: tuple[int, ...]
    strides: tuple[int, ...]
    patch: int = 1
    tile_latents: int = 250

    def __post_init__(self) -> None:
        assert len(self.widths) == len(self.strides) + 1
        assert self.patch * prod(self.strides) == AUDIO_COMPRESSION

    @property
    def context_latents(self) -> int:
        """Latents on either side that a sample depends on, and the other way round."""
        reach, rate = float(KERNEL // 2), 1.0
        for stride in reversed(self.strides):
            rate *= stride
            reach += (2 * stride + sum(DILATIONS) * (KERNEL // 2)) / rate
        return ceil(reach + (KERNEL // 2) / rate)


class Posterior(NamedTuple):
    """Diagonal normal over latents, before normalisation: mean and log-variance, each [b, c, l]."""

    mean: Tensor
    log_variance: Tensor


class Codec(nn.Module):
    """Encoder, decoder, latent statistics. Samples are in [-1, 1]; latents leave with zero mean and unit deviation."""

    latent_mean: Tensor
    latent_std: Tensor

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.register_buffer("latent_mean", torch.zeros(config.latent_channels, 1))
        self.register_buffer("latent_std", torch.ones(config.latent_channels, 1))

    def posterior(self, sound: Float[Tensor, "b n"]) -> Posterior:
        """Distribution of the raw latents of a sound; its end is filled up with silence to a whole latent."""
        whole = F.pad(sound, (0, -sound.shape[-1] % AUDIO_COMPRESSION))
        mean, log_variance = self.encoder(whole).float().chunk(2, dim=1)
        return Posterior(mean, log_variance)

    def encode(self, sound: Float[Tensor, "b n"]) -> Float[Tensor, "b c l"]:
        """Normalised latents, the means of the posterior, in tiles; l = ceil(n / 1920)."""
        context, tile = self.config.context_latents, self.config.tile_latents
        whole = F.pad(sound, (0, -sound.shape[-1] % AUDIO_COMPRESSION))
        parts = []
        for before, start, stop, after in tiles(whole.shape[-1] // AUDIO_COMPRESSION, tile, context):
            piece = whole[:, before * AUDIO_COMPRESSION : after * AUDIO_COMPRESSION]
            parts.append(self.posterior(piece).mean[..., start - before : stop - before])
        return (torch.cat(parts, dim=-1) - self.latent_mean) / self.latent_std

    def decode(self, latents: Float[Tensor, "b c l"], samples: int) -> Float[Tensor, "b {samples}"]:
        """Sound of normalised latents, its first `samples` samples, at most 1,920 l."""
        return torch.cat(list(self.decode_tiled(latents)), dim=-1)[:, :samples]

    def decode_tiled(self, latents: Float[Tensor, "b c l"]) -> Iterator[Float[Tensor, "b n"]]:
        """The same sound in pieces, each decoded with all that it depends on around it, so that there are no seams."""
        context, tile = self.config.context_latents, self.config.tile_latents
        for before, start, stop, after in tiles(latents.shape[-1], tile, context):
            piece = self.decode_raw(latents[..., before:after] * self.latent_std + self.latent_mean)
            yield piece[:, (start - before) * AUDIO_COMPRESSION : (stop - before) * AUDIO_COMPRESSION]

    def decode_raw(self, latents: Float[Tensor, "b c l"]) -> Float[Tensor, "b n"]:
        """Sound of raw latents, whole."""
        sound: Tensor = self.decoder(latents)
        return sound


def tiles(length: int, tile: int, context: int) -> Iterator[tuple[int, int, int, int]]:
    """Spans of `tile` (the last may be shorter), and each with its context: where both begin and end."""
    for start in range(0, length, tile):
        stop = min(start + tile, length)
        yield max(start - context, 0), start, stop, min(stop + context, length)


class Encoder(nn.Module):
    """Sound [b, n] to moments [b, 2c, n / 1920]."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        self.patch = config.patch
        layers: list[nn.Module] = [same_conv(config.patch, config.widths[0], KERNEL)]
        for stride, width, wider in zip(config.strides, config.widths, config.widths[1:], strict=False):
            layers += [*residual_units(width), Snake(width), Down(width, wider, stride)]
        layers += [Snake(config.widths[-1]), same_conv(config.widths[-1], 2 * config.latent_channels, 3)]
        self.layers = nn.Sequential(*layers)

    def forward(self, sound: Tensor) -> Tensor:
        moments: Tensor = self.layers(rearrange(sound, "b (n p) -> b p n", p=self.patch))
        return moments


class Decoder(nn.Module):
    """Latents [b, c, l] to sound [b, 1920 l] in [-1, 1]."""

    def __init__(self, config: CodecConfig) -> None:
        super().__init__()
        widths = config.widths[::-1]
        layers: list[nn.Module] = [same_conv(config.latent_channels, widths[0], KERNEL)]
        for stride, width, narrower in zip(config.strides[::-1], widths, widths[1:], strict=False):
            layers += [Snake(width), Up(width, narrower, stride), *residual_units(narrower)]
        layers += [Snake(widths[-1]), same_conv(widths[-1], config.patch, KERNEL)]
        self.layers = nn.Sequential(*layers)

    def forward(self, latents: Tensor) -> Tensor:
        return rearrange(self.layers(latents), "b p n -> b (n p)").tanh()


class Residual(nn.Module):
    """x + conv1(snake(conv7(snake(x)))), the wide convolution dilated."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Snake(width), same_conv(width, width, KERNEL, dilation), Snake(width), nn.Conv1d(width, width, 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        changed: Tensor = x + self.layers(x)
        return changed


class Down(nn.Module):
    """Convolution over two strides, one apart: exactly n / stride positions."""

    def __init__(self, width: int, wider: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(width, wider, 2 * stride, stride)
        self.margins = (stride // 2, stride - stride // 2)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.conv.weight
        # By tiles of bfloat16 (AMX) such convolutions of 16 channels come out wrong: pytorch issue 169688.
        with torch.autocast(weight.device.type, enabled=False):
            shorter: Tensor = self.conv(F.pad(x.to(weight.dtype), self.margins))
        return shorter


class Up(nn.Module):
    """The transposed convolution that mirrors `Down`: exactly n * stride positions."""

    def __init__(self, width: int, narrower: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose1d(width, narrower, 2 * stride, stride)
        self.first, self.last = stride // 2, stride - stride // 2

    def forward(self, x: Tensor) -> Tensor:
        longer: Tensor = self.conv(x)
        return longer[..., self.first : longer.shape[-1] - self.last]


class Snake(nn.Module):
    """x + sin(a x)^2 / a with one learned frequency a for each channel: periodic, as sound is (arXiv 2006.08195)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.frequency = nn.Parameter(torch.ones(width, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x + (self.frequency * x).sin().square() / (self.frequency + 1e-9)


def same_conv(channels_in: int, channels_out: int, kernel: int, dilation: int = 1) -> nn.Conv1d:
    """A convolution that keeps the length; beyond the ends is silence."""
    return nn.Conv1d(channels_in, channels_out, kernel, dilation=dilation, padding=dilation * (kernel // 2))


def residual_units(width: int) -> list[nn.Module]:
    """One unit for each dilation."""
    return [Residual(width, dilation) for dilation in DILATIONS]
