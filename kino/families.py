"""Families of published models: what a pipeline folder of each consists of, and what it makes when not told otherwise.

A family is one row here and one class on each side: its texts in `services/encoder/families`, its transformer in
`services/generator/families`, its autoencoder in `services/tae/families`. Nothing here needs torch.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from kino import family_clips
from kino.family import (
    IMAGE_TO_VIDEO,
    IMAGES,
    SOUND,
    TEXT_TO_VIDEO,
    Family,
    Sampling,
    Tower,
    patches,
    patches_and_whole,
)
from kino.family_clips import Config
from kino.manifest import Manifest
from kino.registry import Registry
from kino.shapes import Clips, SoundLatents
from kino.store import NotFoundError

FORMAT = "diffusers"
"""What the config of a version says under "format" that came from a pipeline folder."""
DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}
"""Types of numbers that weights may be stored in, as safetensors names them, and as torch does."""
TOWERS, DIT, TAE, AUDIO = "towers", "dit", "tae", "audio"
"""Components that a pipeline is published as: text encoders, transformers, autoencoder, and what decodes sound."""

TOKENIZERS = (
    "ByT5Tokenizer", "CLIPTokenizer", "CLIPTokenizerFast", "GemmaTokenizer", "GemmaTokenizerFast", "LlamaTokenizer",
    "LlamaTokenizerFast", "PreTrainedTokenizerFast", "Qwen2Tokenizer", "Qwen2TokenizerFast", "T5Tokenizer",
    "T5TokenizerFast", "TokenizersBackend",
)  # fmt: skip
IMAGE_PROCESSORS = (
    "CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil", "SiglipImageProcessor",
    "SiglipImageProcessorFast", "SiglipImageProcessorPil",
)  # fmt: skip
SCHEDULERS = (
    "CogVideoXDDIMScheduler", "CogVideoXDPMScheduler", "DPMSolverMultistepScheduler", "FlowMatchEulerDiscreteScheduler",
    "UniPCMultistepScheduler",
)  # fmt: skip
SERVICES = {TOWERS: "encoder", DIT: "generator", TAE: "tae", AUDIO: "audio"}
"""The services that serve them."""
BESIDE = {"LTX2TextConnectors": "ltx2", "LTX2Vocoder": "ltx2", "LTX2VocoderWithBWE": "ltx2"}
"""Classes that `diffusers` keeps beside a pipeline, by the name of whose folder an index calls them."""
GUIDERS = ("ClassifierFreeGuidance",)
PLAIN = {
    "scheduler": (SCHEDULERS, "scheduler_config.json"),
    "image_processor": (IMAGE_PROCESSORS, "preprocessor_config.json"),
    "feature_extractor": (IMAGE_PROCESSORS, "preprocessor_config.json"),
    "guider": (GUIDERS, "guider_config.json"),
}
"""Parts of settings alone: the classes that each may be of, and its file."""


@dataclass(frozen=True)
class Settings:
    """What the config of a version of a family says.

    Args:
        parts: class of each part; tokenizers and schedulers are parts too.
        dtype: type of the numbers that it computes in.
        texts: most rows of a text and their width, by tower.
        pipeline: settings of the pipeline that the family reads.
        clips, sampling: None for text encoders; an autoencoder has no sampling.
        abilities: what the pipeline can do; only transformers say so.
        sound: the latents of the sound of its videos, where they come with one.
    """

    parts: Mapping[str, str]
    dtype: str
    texts: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    pipeline: Config = field(default_factory=dict)
    clips: Clips | None = None
    sampling: Sampling | None = None
    abilities: tuple[str, ...] = ()
    sound: SoundLatents | None = None

    @property
    def components(self) -> tuple[str, ...]:
        """Components that its pipeline is published as."""
        return tuple(component for component in SERVICES if component != AUDIO or self.sound is not None)

    def as_config(self) -> dict[str, Any]:
        """The config of a manifest, which says nothing of sound where there is none."""
        values = asdict(self)
        if self.sound is None:
            del values["sound"]
        return {"format": FORMAT, **values}

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
            values["abilities"] = tuple(values["abilities"])
            values["sound"] = SoundLatents(**values["sound"]) if "sound" in values else None
            return cls(**values)
        except (AttributeError, KeyError, TypeError) as error:
            told = f"{manifest.component}/{manifest.version}"
            raise ValueError(f"config of {told} is malformed ({error!r}), must be a pipeline's") from error


def is_published(manifest: Manifest) -> bool:
    """Whether a version is part of a published pipeline rather than a network of ours."""
    return manifest.config.get("format") == FORMAT


def imported(name: str, registry: Registry) -> Manifest:
    """The transformers of an imported model, by its name or an alias.

    Raises:
        NotFoundError: there is no such model; those there are are named.
        ValueError, kino.store.DamagedError: as `Registry.resolve`.
    """
    versions = {manifest.version for manifest in registry.manifests(DIT) if is_published(manifest)}
    known = versions | {alias for alias, version in registry.aliases(DIT).items() if version in versions}
    if name not in known:
        told = ", ".join(sorted(known)) or "none yet; see kino models import"
        raise NotFoundError(f"no imported model is called {name!r}; known: {told}")
    return registry.resolve(DIT, name)


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


def _guidance(guider: Config) -> float | None:
    """The scale of classifier-free guidance by which a pipeline was published.

    Raises:
        ValueError: the guidance is of another kind than the plain one over all steps.
    """
    plain = {"guidance_rescale": 0.0, "start": 0.0, "stop": 1.0, "use_original_formulation": False}
    for name, value in plain.items():
        if guider.get(name, value) != value:
            raise ValueError(f"{name} of guider/guider_config.json is {guider[name]!r}, must be {value!r}")
    scale = float(guider.get("guidance_scale", 7.5))
    return scale if guider.get("enabled", True) and scale != 1 else None


_T5 = ("T5EncoderModel", "T5ForConditionalGeneration")
FAMILIES: dict[str, Family] = {
    "wan": Family(
        {"WanPipeline": (TEXT_TO_VIDEO, IMAGES), "WanImageToVideoPipeline": (IMAGE_TO_VIDEO,)},
        {
            TOWERS: {"text_encoder": ("UMT5EncoderModel", "T5EncoderModel"), "image_encoder": ("CLIPVisionModel",)},
            DIT: {"transformer": ("WanTransformer3DModel",), "transformer_2": ("WanTransformer3DModel",)},
            TAE: {"vae": ("AutoencoderKLWan",)},
        },
        {"umt5": Tower("text_encoder", 512), "vision": Tower("image_encoder", patches_and_whole)},
        family_clips.wan,
        lambda configs: Sampling(40, 4.0) if "transformer_2" in configs else Sampling(50, 5.0),
        optional=("image_encoder", "transformer_2"),
        read=("boundary_ratio", "expand_timesteps"),
        batches_texts=False,
        unites="expand_timesteps",
        times_tokens="expand_timesteps",
    ),
    "ltx": Family(
        dict.fromkeys(("LTXPipeline", "LTXImageToVideoPipeline"), (TEXT_TO_VIDEO, IMAGE_TO_VIDEO)),
        {
            TOWERS: {"text_encoder": _T5},
            DIT: {"transformer": ("LTXVideoTransformer3DModel",)},
            TAE: {"vae": ("AutoencoderKLLTXVideo",)},
        },
        {"t5": Tower("text_encoder", 128)},
        family_clips.ltx,
        lambda configs: Sampling(50, 3.0),
    ),
    "ltx2": Family(
        dict.fromkeys(("LTX2Pipeline", "LTX2ImageToVideoPipeline"), (TEXT_TO_VIDEO, IMAGE_TO_VIDEO, SOUND)),
        {
            TOWERS: {"text_encoder": ("Gemma3ForConditionalGeneration",), "connectors": ("LTX2TextConnectors",)},
            DIT: {"transformer": ("LTX2VideoTransformer3DModel",)},
            TAE: {"vae": ("AutoencoderKLLTX2Video",)},
            AUDIO: {"audio_vae": ("AutoencoderKLLTX2Audio",), "vocoder": ("LTX2Vocoder", "LTX2VocoderWithBWE")},
        },
        {
            "gemma": Tower("connectors", 1024, family_clips.ltx2_width("video")),
            "gemma-sound": Tower("connectors", 1024, family_clips.ltx2_width("audio")),
        },
        family_clips.ltx2,
        lambda configs: Sampling(30, 3.0),
        sound=family_clips.ltx2_sound,
    ),
    "hunyuan": Family(
        {"HunyuanVideoPipeline": (TEXT_TO_VIDEO, IMAGES)},
        {
            TOWERS: {"text_encoder": ("LlamaModel", "LlamaForCausalLM"), "text_encoder_2": ("CLIPTextModel",)},
            DIT: {"transformer": ("HunyuanVideoTransformer3DModel",)},
            TAE: {"vae": ("AutoencoderKLHunyuanVideo",)},
        },
        {"llama": Tower("text_encoder", 256, around=95), "clip": Tower("text_encoder_2", 1)},
        family_clips.hunyuan,
        lambda configs: Sampling(50, 6.0 if configs["transformer"]["guidance_embeds"] else None),
    ),
    "hunyuan-i2v": Family(
        {"HunyuanVideoImageToVideoPipeline": (IMAGE_TO_VIDEO,)},
        {
            TOWERS: {"text_encoder": ("LlavaForConditionalGeneration",), "text_encoder_2": ("CLIPTextModel",)},
            DIT: {"transformer": ("HunyuanVideoTransformer3DModel",)},
            TAE: {"vae": ("AutoencoderKLHunyuanVideo",)},
        },
        {"llava": Tower("text_encoder", 396, around=538), "clip": Tower("text_encoder_2", 1)},
        family_clips.hunyuan_i2v,
        lambda configs: Sampling(50, 6.0 if configs["transformer"]["guidance_embeds"] else None),
    ),
    "hunyuan15": Family(
        {"HunyuanVideo15Pipeline": (TEXT_TO_VIDEO,), "HunyuanVideo15ImageToVideoPipeline": (IMAGE_TO_VIDEO,)},
        {
            TOWERS: {
                "text_encoder": ("Qwen2_5_VLTextModel",),
                "text_encoder_2": ("T5EncoderModel",),
                "image_encoder": ("SiglipVisionModel",),
            },
            DIT: {"transformer": ("HunyuanVideo15Transformer3DModel",)},
            TAE: {"vae": ("AutoencoderKLHunyuanVideo15",)},
        },
        {
            "qwen": Tower("text_encoder", 1000, around=108),
            "byt5": Tower("text_encoder_2", 256),
            "vision": Tower("image_encoder", patches),
        },
        family_clips.hunyuan15,
        lambda configs: Sampling(50, _guidance(configs["guider"])),
        optional=("image_encoder",),
        batches_texts=False,
    ),
    "cogvideox": Family(
        {"CogVideoXPipeline": (TEXT_TO_VIDEO,), "CogVideoXImageToVideoPipeline": (IMAGE_TO_VIDEO,)},
        {
            TOWERS: {"text_encoder": _T5},
            DIT: {"transformer": ("CogVideoXTransformer3DModel",)},
            TAE: {"vae": ("AutoencoderKLCogVideoX",)},
        },
        {"t5": Tower("text_encoder", 226)},
        family_clips.cogvideox,
        lambda configs: Sampling(50, 6.0),
    ),
    "mochi": Family(
        {"MochiPipeline": (TEXT_TO_VIDEO,)},
        {
            TOWERS: {"text_encoder": _T5},
            DIT: {"transformer": ("MochiTransformer3DModel",)},
            TAE: {"vae": ("AutoencoderKLMochi",)},
        },
        {"t5": Tower("text_encoder", 256)},
        family_clips.mochi,
        lambda configs: Sampling(64, 4.5),
        read=("force_zeros_for_empty_prompt",),
    ),
    "flux": Family(
        {"FluxPipeline": (IMAGES,)},
        {
            TOWERS: {"text_encoder": ("CLIPTextModel",), "text_encoder_2": _T5},
            DIT: {"transformer": ("FluxTransformer2DModel",)},
            TAE: {"vae": ("AutoencoderKL",)},
        },
        {"clip": Tower("text_encoder", 1), "t5": Tower("text_encoder_2", 512)},
        family_clips.flux,
        lambda configs: Sampling(28, 3.5) if configs["transformer"]["guidance_embeds"] else Sampling(4, None),
    ),
}
