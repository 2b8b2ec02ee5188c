"""Families of published models: what a pipeline folder of each consists of, and what it makes when not told otherwise.

A family is one row here and one class on each side: its texts in `services/encoder/families`, its transformer in
`services/generator/families`, its autoencoder in `services/tae/families`. Nothing here needs torch.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from kino.manifest import Manifest
from kino.shapes import Clips

FORMAT = "diffusers"
"""What the config of a version says under "format" that came from a pipeline folder."""
DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""Types of numbers that weights may be stored in, as safetensors names them, and as torch does."""
TOWERS, DIT, TAE = "towers", "dit", "tae"
"""The components that a pipeline is published as: its text encoders, its transformers, its autoencoder."""

TOKENIZERS = (
    "CLIPTokenizer", "CLIPTokenizerFast", "LlamaTokenizer", "LlamaTokenizerFast", "PreTrainedTokenizerFast",
    "T5Tokenizer", "T5TokenizerFast", "TokenizersBackend",
)  # fmt: skip
SCHEDULERS = (
    "CogVideoXDDIMScheduler", "CogVideoXDPMScheduler", "DPMSolverMultistepScheduler", "FlowMatchEulerDiscreteScheduler",
    "UniPCMultistepScheduler",
)  # fmt: skip

Config = Mapping[str, Any]
Configs = Mapping[str, Config]
"""Settings of a pipeline's networks by part, complete, and those of the pipeline under "pipeline"."""


@dataclass(frozen=True)
class Tower:
    """A text encoder of a pipeline: what it is called on the wire, its part, and the rows of a text at most."""

    part: str
    rows: int


@dataclass(frozen=True)
class Sampling:
    """Steps when a request does not say, and the guidance scale; None where the model was distilled to need none."""

    steps: int
    guidance: float | None


@dataclass(frozen=True)
class Family:
    """One family.

    Args:
        pipelines: classes of `diffusers` that it comes as, and what each can do.
        parts: classes that each part may be of, by component and part; a pipeline has no further networks.
        optional: parts that a pipeline may lack.
        towers: its text encoders by name.
        read: settings of the pipeline that change what is computed.
        clips: the clips it makes, from the settings of its parts.
        sampling: as `clips`.
    """

    pipelines: Mapping[str, tuple[str, ...]]
    parts: Mapping[str, Mapping[str, tuple[str, ...]]]
    towers: Mapping[str, Tower]
    clips: Callable[[Configs], Clips]
    sampling: Callable[[Configs], Sampling]
    optional: tuple[str, ...] = ()
    read: tuple[str, ...] = ()


@dataclass(frozen=True)
class Settings:
    """What the config of a version of a family says.

    Args:
        parts: class of each part; tokenizers and schedulers are parts too.
        dtype: type of the numbers that it computes in.
        texts: most rows of a text and their width, by tower.
        pipeline: settings of the pipeline that the family reads.
        clips, sampling: None for text encoders; an autoencoder has no sampling.
    """

    parts: Mapping[str, str]
    dtype: str
    texts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    pipeline: Config = field(default_factory=dict)
    clips: Clips | None = None
    sampling: Sampling | None = None

    def as_config(self) -> dict[str, Any]:
        """The config of a manifest."""
        return {"format": FORMAT, **asdict(self)}

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """The settings that a manifest holds.

        Raises:
            ValueError: they are not those of a published pipeline.
        """
        values = dict(manifest.config)
        try:
            if values.pop("format") != FORMAT or manifest.family not in FAMILIES:
                raise ValueError(f"family is {manifest.family!r}, must be one of {', '.join(FAMILIES)}")
            values["texts"] = {name: (int(rows), int(width)) for name, (rows, width) in values["texts"].items()}
            values["clips"] = None if values["clips"] is None else Clips.from_dict(values["clips"])
            values["sampling"] = None if values["sampling"] is None else Sampling(**values["sampling"])
            return cls(**values)
        except (AttributeError, KeyError, TypeError) as error:
            told = f"{manifest.component}/{manifest.version}"
            raise ValueError(f"config of {told} is malformed ({error!r}), must be a pipeline's") from error


def is_published(manifest: Manifest) -> bool:
    """Whether a version is part of a published pipeline rather than a network of ours."""
    return manifest.config.get("format") == FORMAT


def family_of(pipeline: str) -> str:
    """The name of the family that a pipeline class belongs to.

    Raises:
        ValueError: it belongs to none.
    """
    for name, family in FAMILIES.items():
        if pipeline in family.pipelines:
            return name
    known = ", ".join(name for family in FAMILIES.values() for name in family.pipelines)
    raise ValueError(f"_class_name of model_index.json is {pipeline!r:.80}, must be one of {known}")


def _clips(
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


def _wan_clips(configs: Configs) -> Clips:
    vae, patch = configs["vae"], configs["transformer"]["patch_size"][1]
    spatial = vae["scale_factor_spatial"]
    lattice = (vae["scale_factor_temporal"], spatial, spatial * patch)
    # The 5B of Wan 2.2 makes 720p at 24 frames per second, the others 480p at 16 (their pipelines' own examples).
    large = bool(configs["pipeline"].get("expand_timesteps"))
    default = (121, 704, 1280, 24) if large else (81, 480, 832, 16)
    return _clips(vae["z_dim"], lattice, default, (241, 1280, 1280 * 720))


def _ltx_clips(configs: Configs) -> Clips:
    vae, transformer = configs["vae"], configs["transformer"]
    halvings = sum(vae["spatio_temporal_scaling"])
    temporal = vae["temporal_compression_ratio"] or vae["patch_size_t"] * 2**halvings
    spatial = vae["spatial_compression_ratio"] or vae["patch_size"] * 2**halvings
    lattice = (temporal, spatial, spatial * transformer["patch_size"])
    return _clips(vae["latent_channels"], lattice, (161, 512, 704, 25), (257, 1280, 1280 * 736))


def _hunyuan_clips(configs: Configs) -> Clips:
    vae = configs["vae"]
    spatial = vae["spatial_compression_ratio"]
    lattice = (vae["temporal_compression_ratio"], spatial, spatial * configs["transformer"]["patch_size"])
    return _clips(vae["latent_channels"], lattice, (129, 720, 1280, 24), (129, 1280, 1280 * 720))


def _cogvideox_clips(configs: Configs) -> Clips:
    vae, transformer = configs["vae"], configs["transformer"]
    spatial = 2 ** (len(vae["block_out_channels"]) - 1)
    frames, height, width = (transformer[f"sample_{name}"] for name in ("frames", "height", "width"))
    default = (frames, height * spatial, width * spatial)
    lattice = (vae["temporal_compression_ratio"], spatial, spatial * transformer["patch_size"])
    area = default[1] * default[2]
    fps = 8 if transformer["patch_size_t"] is None else 16  # CogVideoX 1.5 has temporal patches, and made 16
    return _clips(vae["latent_channels"], lattice, (*default, fps), (frames, max(default[1:]), area))


def _mochi_clips(configs: Configs) -> Clips:
    # The pipeline holds these factors as numbers; the autoencoder's settings tell them only by their products.
    vae = configs["vae"]
    lattice = (math.prod(vae["temporal_expansions"]), math.prod(vae["spatial_expansions"]))
    multiple = lattice[1] * configs["transformer"]["patch_size"]
    return _clips(vae["latent_channels"], (*lattice, multiple), (163, 480, 848, 30), (163, 848, 848 * 480))


def _flux_clips(configs: Configs) -> Clips:
    vae = configs["vae"]
    spatial = 2 ** (len(vae["block_out_channels"]) - 1)
    return _clips(vae["latent_channels"], (1, spatial, 2 * spatial), (1, 1024, 1024, 1), (1, 2048, 2048 * 1024))


_T5 = ("T5EncoderModel", "T5ForConditionalGeneration")
FAMILIES: dict[str, Family] = {
    "wan": Family(
        {"WanPipeline": ("text to video", "images")},
        {
            TOWERS: {"text_encoder": ("UMT5EncoderModel", "T5EncoderModel")},
            DIT: {"transformer": ("WanTransformer3DModel",), "transformer_2": ("WanTransformer3DModel",)},
            TAE: {"vae": ("AutoencoderKLWan",)},
        },
        {"umt5": Tower("text_encoder", 512)},
        _wan_clips,
        lambda configs: Sampling(40, 4.0) if "transformer_2" in configs else Sampling(50, 5.0),
        optional=("transformer_2",),
        read=("boundary_ratio", "expand_timesteps"),
    ),
    "ltx": Family(
        {"LTXPipeline": ("text to video",)},
        {
            TOWERS: {"text_encoder": _T5},
            DIT: {"transformer": ("LTXVideoTransformer3DModel",)},
            TAE: {"vae": ("AutoencoderKLLTXVideo",)},
        },
        {"t5": Tower("text_encoder", 128)},
        _ltx_clips,
        lambda configs: Sampling(50, 3.0),
    ),
    "hunyuan": Family(
        {"HunyuanVideoPipeline": ("text to video", "images")},
        {
            TOWERS: {"text_encoder": ("LlamaModel", "LlamaForCausalLM"), "text_encoder_2": ("CLIPTextModel",)},
            DIT: {"transformer": ("HunyuanVideoTransformer3DModel",)},
            TAE: {"vae": ("AutoencoderKLHunyuanVideo",)},
        },
        {"llama": Tower("text_encoder", 256), "clip": Tower("text_encoder_2", 1)},
        _hunyuan_clips,
        lambda configs: Sampling(50, 6.0 if configs["transformer"]["guidance_embeds"] else None),
    ),
    "cogvideox": Family(
        {"CogVideoXPipeline": ("text to video",)},
        {
            TOWERS: {"text_encoder": _T5},
            DIT: {"transformer": ("CogVideoXTransformer3DModel",)},
            TAE: {"vae": ("AutoencoderKLCogVideoX",)},
        },
        {"t5": Tower("text_encoder", 226)},
        _cogvideox_clips,
        lambda configs: Sampling(50, 6.0),
    ),
    "mochi": Family(
        {"MochiPipeline": ("text to video",)},
        {
            TOWERS: {"text_encoder": _T5},
            DIT: {"transformer": ("MochiTransformer3DModel",)},
            TAE: {"vae": ("AutoencoderKLMochi",)},
        },
        {"t5": Tower("text_encoder", 256)},
        _mochi_clips,
        lambda configs: Sampling(64, 4.5),
        read=("force_zeros_for_empty_prompt",),
    ),
    "flux": Family(
        {"FluxPipeline": ("images",)},
        {
            TOWERS: {"text_encoder": ("CLIPTextModel",), "text_encoder_2": _T5},
            DIT: {"transformer": ("FluxTransformer2DModel",)},
            TAE: {"vae": ("AutoencoderKL",)},
        },
        {"clip": Tower("text_encoder", 1), "t5": Tower("text_encoder_2", 512)},
        _flux_clips,
        lambda configs: Sampling(28, 3.5) if configs["transformer"]["guidance_embeds"] else Sampling(4, None),
    ),
}
