"""The clips that published models make, from the settings of their parts."""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from kino.shapes import Clips, SoundLatents

Config = Mapping[str, Any]
Configs = Mapping[str, Config]
"""Settings of a pipeline's networks by part, complete, and those of the pipeline under "pipeline"."""


def _causal(
    channels: int,
    lattice: tuple[int, int, int],
    default: tuple[int, int, int, int],
    largest: tuple[int, int, int],
) -> Clips:
    """Clips of a causal autoencoder.

    Args:
        lattice: frames of a latent frame, pixels of a latent cell, pixels that sides are multiples of.
        default: frames, height, width, frames per second.
        largest: frames, side, and pixels of a frame.
    """
    temporal, spatial, multiple = lattice
    return Clips(channels, temporal, 1, spatial, multiple, *default, *largest)


def wan(configs: Configs) -> Clips:
    """480p or, by the 5B, 720p."""
    vae, patch = configs["vae"], configs["transformer"]["patch_size"][1]
    if configs["transformer"].get("image_dim") and "image_encoder" not in configs:
        raise ValueError("image_encoder of model_index.json is missing, must be there: the transformer reads its rows")
    spatial = vae["scale_factor_spatial"]
    lattice = (vae["scale_factor_temporal"], spatial, spatial * patch)
    # The 5B of Wan 2.2 makes 720p at 24 frames per second, the others 480p at 16 (their pipelines' own examples).
    large = bool(configs["pipeline"].get("expand_timesteps"))
    default = (121, 704, 1280, 24) if large else (81, 480, 832, 16)
    return _causal(vae["z_dim"], lattice, default, (241, 1280, 1280 * 720))


def ltx(configs: Configs) -> Clips:
    """512 x 704 at 25 frames per second."""
    vae, transformer = configs["vae"], configs["transformer"]
    halvings = sum(vae["spatio_temporal_scaling"])
    temporal = vae["temporal_compression_ratio"] or vae["patch_size_t"] * 2**halvings
    spatial = vae["spatial_compression_ratio"] or vae["patch_size"] * 2**halvings
    lattice = (temporal, spatial, spatial * transformer["patch_size"])
    return _causal(vae["latent_channels"], lattice, (161, 512, 704, 25), (257, 1280, 1280 * 736))


def ltx2(configs: Configs) -> Clips:
    """512 x 768 at 24 frames per second."""
    for name in ("video", "audio"):
        key = f"{name}_connector_num_learnable_registers"
        if not configs["connectors"].get(key):
            raise ValueError(
                f"{key} of connectors/config.json is missing, must be there: it takes the place of padding"
            )
    plain = ltx(configs)
    return replace(plain, frames=121, height=512, width=768, fps=24)


def ltx2_sound(configs: Configs) -> SoundLatents:
    """Mel spectrograms, a fourth as long and as wide."""
    vae = configs["audio_vae"]
    ratio = 4  # both ways (Lightricks/LTX-2, ltx_core: LATENT_DOWNSAMPLE_FACTOR)
    per_second = vae["sample_rate"] / vae["mel_hop_length"] / ratio
    return SoundLatents(vae["latent_channels"], vae["mel_bins"] // ratio, per_second)


def ltx2_width(kind: str) -> Callable[[Config], int]:
    """Numbers of a row of what connects texts with the pictures, "video", or the sound, "audio"."""

    def width(config: Config) -> int:
        heads: int = config[f"{kind}_connector_num_attention_heads"]
        size: int = config[f"{kind}_connector_attention_head_dim"]
        return heads * size

    return width


def hunyuan(configs: Configs) -> Clips:
    """720p."""
    vae = configs["vae"]
    spatial = vae["spatial_compression_ratio"]
    lattice = (vae["temporal_compression_ratio"], spatial, spatial * configs["transformer"]["patch_size"])
    return _causal(vae["latent_channels"], lattice, (129, 720, 1280, 24), (129, 1280, 1280 * 720))


def hunyuan_i2v(configs: Configs) -> Clips:
    """As `hunyuan`, where the picture takes the place of the first latent frame."""
    kind = configs["transformer"].get("image_condition_type")
    if kind != "token_replace":
        raise ValueError(f"image_condition_type of transformer/config.json is {kind!r}, must be 'token_replace'")
    return hunyuan(configs)


def hunyuan15(configs: Configs) -> Clips:
    """480p or 720p, as the transformer was trained."""
    vae, transformer = configs["vae"], configs["transformer"]
    if transformer.get("use_meanflow"):
        raise ValueError("use_meanflow of transformer/config.json is true, must be false: steps of two times")
    spatial = vae["spatial_compression_ratio"]
    lattice = (vae["temporal_compression_ratio"], spatial, spatial * transformer["patch_size"])
    default = (121, 720, 1280, 24) if transformer["target_size"] >= 960 else (121, 480, 848, 24)
    return _causal(vae["latent_channels"], lattice, default, (241, 1280, 1280 * 720))


def cogvideox(configs: Configs) -> Clips:
    """What the transformer was trained on."""
    vae, transformer = configs["vae"], configs["transformer"]
    spatial = 2 ** (len(vae["block_out_channels"]) - 1)
    frames, height, width = (transformer[f"sample_{name}"] for name in ("frames", "height", "width"))
    default = (frames, height * spatial, width * spatial)
    lattice = (vae["temporal_compression_ratio"], spatial, spatial * transformer["patch_size"])
    area = default[1] * default[2]
    fps = 8 if transformer["patch_size_t"] is None else 16  # CogVideoX 1.5 has temporal patches, and made 16
    return _causal(vae["latent_channels"], lattice, (*default, fps), (frames, max(default[1:]), area))


def mochi(configs: Configs) -> Clips:
    """480 x 848."""
    # The pipeline holds these factors as numbers; the autoencoder's settings tell them only by their products.
    vae = configs["vae"]
    lattice = (math.prod(vae["temporal_expansions"]), math.prod(vae["spatial_expansions"]))
    multiple = lattice[1] * configs["transformer"]["patch_size"]
    return _causal(vae["latent_channels"], (*lattice, multiple), (163, 480, 848, 30), (163, 848, 848 * 480))


def flux(configs: Configs) -> Clips:
    """Pictures."""
    vae = configs["vae"]
    spatial = 2 ** (len(vae["block_out_channels"]) - 1)
    return _causal(vae["latent_channels"], (1, spatial, 2 * spatial), (1, 1024, 1024, 1), (1, 2048, 2048 * 1024))
