"""Tiny pipeline folders with random weights of models whose videos come with their sound."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch

from kino import adopted, parts
from tests import pipelines
from tests.folders import VISION, VOCABULARY, word_tokenizer


def ltx2(connected: Mapping[str, Any] = MappingProxyType({}), **changes: Any) -> Any:
    """LTX-2; `connected` are the changes of what connects texts, `changes` those of the transformer."""
    made = parts.library()
    vae = made.AutoencoderKLLTX2Video(
        latent_channels=4, block_out_channels=(8,), decoder_block_out_channels=(8,), layers_per_block=(1, 1),
        decoder_layers_per_block=(1, 1), spatio_temporal_scaling=(True,), decoder_spatio_temporal_scaling=(True,),
        decoder_inject_noise=(False, False), downsample_type=("spatiotemporal",), upsample_type=("spatiotemporal",),
        upsample_residual=(False,), upsample_factor=(1,), down_block_types=("LTX2VideoDownBlock3D",),
        timestep_conditioning=False, patch_size=4, patch_size_t=1, encoder_causal=True, decoder_causal=False,
        spatial_compression_ratio=8, temporal_compression_ratio=2,
    )  # fmt: skip
    audio_vae = made.AutoencoderKLLTX2Audio(
        base_channels=4, ch_mult=(1,), num_res_blocks=1, resolution=32, latent_channels=2, norm_type="pixel",
        causality_axis="height", sample_rate=16000, mel_hop_length=160, mel_bins=8,
    )  # fmt: skip
    for network, seed in ((vae, 1), (audio_vae, 2)):  # statistics that are not those of a network without any
        generator = torch.Generator().manual_seed(seed)
        network.latents_mean.normal_(generator=generator)
        network.latents_std.uniform_(0.5, 1.5, generator=generator)
    return made.LTX2Pipeline(
        vae=vae,
        audio_vae=audio_vae,
        transformer=_transformer(**changes),
        connectors=_connectors(**connected),
        vocoder=vocoder(),
        scheduler=made.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True, max_shift=2.05, base_shift=0.95),
        text_encoder=_gemma(),
        tokenizer=pipelines.tokenizer(word_tokenizer(closed="<s> $A"), max_length=1024),
    )  # fmt: skip


def shallow_ltx2() -> Any:
    """LTX-2 of two blocks, which guidance cannot tell to skip one: the one it skips lies deep."""
    return ltx2(num_layers=2, perturbed_attn=False)


def ltx23() -> Any:
    """LTX-2.3, whose texts are made ready for its transformer's own widths."""
    connected = {"per_modality_projections": True, "video_hidden_dim": 16, "audio_hidden_dim": 8, "proj_bias": True}
    connected |= {"audio_connector_attention_head_dim": 2, "video_gated_attn": True, "audio_gated_attn": True}
    modulated = {"cross_attn_mod": True, "audio_cross_attn_mod": True, "gated_attn": True, "audio_gated_attn": True}
    return ltx2(connected, use_prompt_embeddings=False, **modulated)


def ltx2_of_pictures() -> Any:
    """LTX-2, as the class of pipelines that begin with a picture."""
    return parts.library().LTX2ImageToVideoPipeline(**shallow_ltx2().components)


def vocoder(factors: tuple[int, ...] = (20, 24), rate: int = 48_000) -> Any:
    """A vocoder of two sides, which makes as many samples of a mel frame as the product of its factors."""
    return _part("LTX2Vocoder")(
        in_channels=16, hidden_channels=8, out_channels=2, upsample_kernel_sizes=[2 * factor for factor in factors],
        upsample_factors=[*factors], resnet_kernel_sizes=[3], resnet_dilations=[[1, 3, 5]], output_sampling_rate=rate,
    )  # fmt: skip


def _part(name: str) -> Any:
    return getattr(parts.module("pipelines.ltx2"), name)


def _transformer(**changes: Any) -> Any:
    sizes = {
        "in_channels": 4, "out_channels": 4, "patch_size": 1, "patch_size_t": 1, "num_attention_heads": 2,
        "attention_head_dim": 8, "cross_attention_dim": 16, "audio_in_channels": 4, "audio_out_channels": 4,
        "audio_num_attention_heads": 2, "audio_attention_head_dim": 4, "audio_cross_attention_dim": 8,
        "num_layers": 30, "perturbed_attn": True, "qk_norm": "rms_norm_across_heads", "caption_channels": 16,
        "rope_double_precision": False, "rope_type": "split",
    }  # fmt: skip
    return parts.library().LTX2VideoTransformer3DModel(**sizes | changes)


def _connectors(**changes: Any) -> Any:
    sizes = {
        "caption_channels": 16, "text_proj_in_factor": 3, "video_connector_num_attention_heads": 4,
        "video_connector_attention_head_dim": 4, "video_connector_num_layers": 1,
        "audio_connector_num_attention_heads": 4, "audio_connector_attention_head_dim": 4,
        "audio_connector_num_layers": 1, "rope_double_precision": False, "rope_type": "split",
    }  # fmt: skip
    return _part("LTX2TextConnectors")(**sizes | changes)


def _gemma() -> Any:
    texts = adopted.library()
    config = texts.Gemma3Config(
        text_config={
            "model_type": "gemma3_text", "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 16,
            "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 8,
            "max_position_embeddings": 2048, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
        },
        vision_config=VISION | {"model_type": "siglip_vision_model"},
        mm_tokens_per_image=4,
    )  # fmt: skip
    return texts.Gemma3ForConditionalGeneration(config).eval()
