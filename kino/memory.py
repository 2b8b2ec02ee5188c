"""How much memory a published model takes, from its settings alone."""

from collections.abc import Mapping
from math import prod
from typing import Any

from kino.shapes import Grid

FRAMES_AT_ONCE = {"AutoencoderKLWan": 4, "AutoencoderKLCogVideoX": 12, "AutoencoderKLHunyuanVideo": 20}
"""Frames that an autoencoder decodes at once at most, by its class; others decode the whole clip."""
_TILED_IN_TIME = ("AutoencoderKLLTXVideo", "AutoencoderKLLTX2Video")
"""Autoencoders that decode in tiles of time too where tiles are asked for."""
_STATES = 8
"""Activations of a block's width that live at once: residual, norm, query, key, value, attention, two of rotation."""
_HIDDEN = 2
"""Activations of the feed-forward's width that live at once, before and after its non-linearity."""
_MODULATIONS, _MODULATIONS_HEARD = 6, 11
"""Shifts, scales and gates of a block; of one that also hears, those between pictures and sound too. Times of tokens
were measured to take 13 widths a token of Wan and LTX and 23 of LTX-2, in float32."""
_STAGE = 15
"""Activations of an autoencoder's last stage that live at once, with layouts of convolutions and frames that are kept:
12 were measured of CogVideoX and HunyuanVideo, 15 of Wan."""
_MEL_RATIO = 4
"""Frames of a mel spectrogram for each time of its latents."""
_SOUND_STATES = 12
"""Activations of the widest layer of what makes sound of latents that live at once, as measured of LTX-2."""
_RGB = 2 * 3
"""Numbers of a pixel that is done, and of its copy."""


def tokens(config: Mapping[str, Any], extent: Grid) -> int:
    """Tokens of a clip of latents in a transformer of these settings; a patch is 2 x 2 where they hold no other."""
    patch = config.get("patch_size", 1)
    sizes = tuple(patch) if isinstance(patch, list | tuple) else (config.get("patch_size_t") or 1, patch, patch)
    if config.get("axes_dims_rope"):  # Flux packs its latents before the network, whose own patches are single ones
        sizes = (1, 2, 2)
    return -(-extent.t * extent.h * extent.w // int(prod(sizes)))


def step_bytes(
    config: Mapping[str, Any],
    extent: Grid,
    batch: int,
    rows: int,
    itemsize: int,
    heard: int = 0,
    *,
    times_tokens: bool = False,
) -> int:
    """Most bytes that a step of a transformer holds at once beside its weights.

    A block's feed-forward is its widest part; attention is computed without its matrix.

    Args:
        config: settings of the transformer, as `diffusers` holds them.
        batch: texts that go through it at once.
        rows: of a text.
        itemsize: bytes of a number.
        heard: tokens of the sound beside the clip.
        times_tokens: whether each token is told a time of its own, by modulations that a block adds to in float32.
    """
    if heard:
        size = int(config["audio_num_attention_heads"] * config["audio_attention_head_dim"])
        seen = step_bytes(config, extent, batch, rows, itemsize)
        sound = itemsize * batch * (heard + rows) * (_STATES + 4 * _HIDDEN) * size
        return seen + sound + times_tokens * batch * _times_bytes(config, extent, itemsize, _MODULATIONS_HEARD)
    width = int(config["num_attention_heads"] * config["attention_head_dim"])
    hidden = int(config.get("ffn_dim") or config.get("mlp_ratio", 4.0) * width)
    beside = width + hidden if config.get("num_single_layers") else 0  # blocks that join attention and feed-forward
    block = itemsize * batch * (tokens(config, extent) + rows) * (_STATES * width + _HIDDEN * hidden + beside)
    return block + times_tokens * batch * _times_bytes(config, extent, itemsize, _MODULATIONS)


def _times_bytes(config: Mapping[str, Any], extent: Grid, itemsize: int, modulations: int) -> int:
    """Bytes of the modulations of all tokens of a clip, of those of a block, and of what the first are made of."""
    width = int(config["num_attention_heads"] * config["attention_head_dim"])
    return tokens(config, extent) * width * (modulations * (itemsize + 4) + itemsize)


def sound_bytes(vae: Mapping[str, Any], vocoder: Mapping[str, Any], times: int, itemsize: int) -> int:
    """Most bytes that a decoder of mel spectrograms and a vocoder hold at once beside their weights.

    Args:
        vae, vocoder: their settings, as `diffusers` holds them.
        times: of the latents.
        itemsize: bytes of a number.
    """
    length = _MEL_RATIO * times
    widest: int = length * vae["mel_bins"] * vae["base_channels"]
    for prefix in ("", "bwe_"):  # the second one makes a sound of a higher rate out of the first one's
        channels = vocoder.get(f"{prefix}hidden_channels", 0)
        length //= vocoder["hop_length"] if prefix and channels else 1
        for factor in vocoder.get(f"{prefix}upsample_factors", ()):
            channels, length = channels // 2, length * factor
            widest = max(widest, channels * length)
    return itemsize * _SOUND_STATES * widest


def frames_at_once(vae: Any, tiled: bool) -> int | None:
    """Video frames that an autoencoder decodes at once at most; None where it is the whole clip."""
    name = type(vae).__name__
    if tiled and name in _TILED_IN_TIME:
        return int(vae.tile_sample_min_num_frames + vae.temporal_compression_ratio)
    return FRAMES_AT_ONCE.get(name)


def tile_sides(vae: Any) -> tuple[int, int]:
    """Height and width in pixels of the tiles in which an autoencoder decodes where tiles are asked for."""
    side = getattr(vae, "tile_sample_min_size", 0)
    return side or vae.tile_sample_min_height, side or vae.tile_sample_min_width


def vae_bytes(vae: Any, frames: int, height: int, width: int, itemsize: int, tiled: bool) -> int:
    """Most bytes that an autoencoder holds at once beside its weights while it decodes a clip.

    Args:
        vae: a network of `diffusers`, with or without its numbers.
        itemsize: bytes of a number.
        tiled: whether pictures are computed in tiles.
    """
    at_once = min(frames, frames_at_once(vae, tiled) or frames)
    if not tiled:
        return decode_bytes(vae.config, at_once, height, width, itemsize)
    rows, columns = tile_sides(vae)
    done = _RGB * frames * height * width * itemsize  # its tiles, and what is put together of them
    return done + decode_bytes(vae.config, at_once, min(height, rows), min(width, columns), itemsize)


def decode_bytes(config: Mapping[str, Any], frames: int, height: int, width: int, itemsize: int) -> int:
    """Most bytes that an autoencoder holds at once beside its weights while it makes so many frames.

    Its last stage is the widest part: it works on every pixel, or on every patch of them.
    """
    names = ("decoder_base_dim", "base_dim", "decoder_block_out_channels", "block_out_channels")
    found = next(config[name] for name in names if config.get(name))
    channels = int(found[0] if isinstance(found, list | tuple) else found)
    patch = int(config.get("patch_size") or 1)
    return itemsize * frames * height * width * (_STAGE * channels // patch**2 + _RGB)
