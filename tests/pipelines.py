"""Tiny pipeline folders with random weights, one a family, made and written as `diffusers` does it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer

from kino import adopted, parts
from tests.folders import TEXT, VOCABULARY, word_tokenizer

PROMPT = "a red ball bounces"
NEGATIVE = "a blue cat"


def wan(**changes: Any) -> Any:
    """Wan 2.1; `changes` are those of the pipeline, as of Wan 2.2."""
    made = parts.library()
    given = {
        "vae": made.AutoencoderKLWan(
            base_dim=3, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, temperal_downsample=[False, True, True]
        ),
        "transformer": wan_transformer(),
        "transformer_2": None,
        "scheduler": made.UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=3.0
        ),
        "text_encoder": _t5("UMT5EncoderModel"),
        "tokenizer": _tokenizer(),
    }
    return made.WanPipeline(**given | changes)


def wan_transformer(**changes: Any) -> Any:
    """The transformer of a Wan pipeline."""
    sizes = {
        "num_attention_heads": 2, "attention_head_dim": 12, "text_dim": 16, "freq_dim": 256, "ffn_dim": 32,
        "num_layers": 2, "cross_attn_norm": True, "qk_norm": "rms_norm_across_heads", "rope_max_seq_len": 32,
    }  # fmt: skip
    return parts.library().WanTransformer3DModel(**sizes | changes)


def wan_experts() -> Any:
    """Wan 2.2 with two experts, the second for the last steps."""
    return wan(transformer_2=wan_transformer(), boundary_ratio=0.875)


def wan_5b() -> Any:
    """Wan 2.2's small model: a time for every token, an autoencoder of 16x16."""
    made = parts.library()
    vae = made.AutoencoderKLWan(
        base_dim=4, decoder_base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1, is_residual=True,
        temperal_downsample=[False, True, True], in_channels=12, out_channels=12, patch_size=2, scale_factor_spatial=16,
    )  # fmt: skip
    return wan(vae=vae, expand_timesteps=True)


def ltx() -> Any:
    """LTX-Video."""
    made = parts.library()
    vae = made.AutoencoderKLLTXVideo(
        latent_channels=8, block_out_channels=(8, 8, 8, 8), decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1), decoder_layers_per_block=(1, 1, 1, 1, 1),
        spatio_temporal_scaling=(True, True, False, False), decoder_spatio_temporal_scaling=(True, True, False, False),
        decoder_inject_noise=(False,) * 5, upsample_residual=(False,) * 4, upsample_factor=(1,) * 4,
        timestep_conditioning=False, patch_size=1, patch_size_t=1, encoder_causal=True, decoder_causal=False,
    )  # fmt: skip
    vae.use_framewise_encoding = vae.use_framewise_decoding = False
    transformer = made.LTXVideoTransformer3DModel(
        in_channels=8, out_channels=8, patch_size=1, patch_size_t=1, num_attention_heads=4, attention_head_dim=8,
        cross_attention_dim=32, num_layers=1, caption_channels=16,
    )  # fmt: skip
    scheduler = made.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    return made.LTXPipeline(
        vae=vae,
        transformer=transformer,
        scheduler=scheduler,
        text_encoder=_t5("T5EncoderModel"),
        tokenizer=_tokenizer(max_length=128),
    )


def hunyuan() -> Any:
    """HunyuanVideo."""
    made, texts = parts.library(), adopted.library()
    transformer = made.HunyuanVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=10, num_layers=1, num_single_layers=1,
        num_refiner_layers=1, patch_size=1, patch_size_t=1, guidance_embeds=True, text_embed_dim=16,
        pooled_projection_dim=16, rope_axes_dim=(2, 4, 4),
    )  # fmt: skip
    vae = made.AutoencoderKLHunyuanVideo(
        latent_channels=4, down_block_types=("HunyuanVideoDownBlock3D",) * 4,
        up_block_types=("HunyuanVideoUpBlock3D",) * 4, block_out_channels=(8, 8, 8, 8), layers_per_block=1,
        norm_num_groups=4, mid_block_add_attention=True,
    )  # fmt: skip
    llama = texts.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=16, num_hidden_layers=4, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=512, bos_token_id=2, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    clip = texts.CLIPTextConfig(**TEXT | {"projection_dim": 16, "max_position_embeddings": 77})
    return made.HunyuanVideoPipeline(
        vae=vae,
        transformer=transformer,
        scheduler=made.FlowMatchEulerDiscreteScheduler(shift=7.0),
        text_encoder=texts.LlamaModel(llama).eval(),
        tokenizer=_tokenizer(closed="<s> $A"),
        text_encoder_2=texts.CLIPTextModel(clip).eval(),
        tokenizer_2=_tokenizer(closed="<s> $A </s>", max_length=77),
    )


def hunyuan15(**changes: Any) -> Any:
    """HunyuanVideo 1.5; `changes` are those of the transformer."""
    made, texts = parts.library(), adopted.library()
    transformer = made.HunyuanVideo15Transformer3DModel(
        in_channels=9, out_channels=4, num_attention_heads=2, attention_head_dim=8, num_layers=2, num_refiner_layers=1,
        patch_size=1, patch_size_t=1, text_embed_dim=16, text_embed_2_dim=16, image_embed_dim=16,
        rope_axes_dim=(2, 2, 4), target_size=32, **changes,
    )  # fmt: skip
    vae = made.AutoencoderKLHunyuanVideo15(
        latent_channels=4, block_out_channels=(16, 16, 16, 16, 16), layers_per_block=1, spatial_compression_ratio=16,
        temporal_compression_ratio=4,
    )  # fmt: skip
    qwen = texts.Qwen2_5_VLTextConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=16, num_hidden_layers=4, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=2048, bos_token_id=2, eos_token_id=1, pad_token_id=0,
        rope_parameters={"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4},
    )  # fmt: skip
    words = word_tokenizer(closed=None)
    words.add_special_tokens(["<|im_start|>", "<|im_end|>"])
    reads = tokenizer(words, max_length=2048)
    reads.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
        "{% endfor %}<|im_start|>assistant\n"
    )
    return made.HunyuanVideo15Pipeline(
        vae=vae,
        transformer=transformer,
        scheduler=made.FlowMatchEulerDiscreteScheduler(shift=7.0),
        text_encoder=texts.Qwen2_5_VLTextModel(qwen).eval(),
        tokenizer=reads,
        text_encoder_2=_t5("T5EncoderModel", 384),
        tokenizer_2=texts.ByT5Tokenizer(),
        guider=made.ClassifierFreeGuidance(guidance_scale=4.0),
    )


def cogvideox(**changes: Any) -> Any:
    """CogVideoX; `changes` are those of the transformer."""
    made = parts.library()
    sizes = {
        "num_attention_heads": 2, "attention_head_dim": 16, "in_channels": 4, "out_channels": 4, "time_embed_dim": 2,
        "text_embed_dim": 16, "num_layers": 1, "sample_width": 8, "sample_height": 8, "sample_frames": 17,
        "patch_size": 2, "temporal_compression_ratio": 4, "max_text_seq_length": 226,
        "use_rotary_positional_embeddings": True,
    }  # fmt: skip
    vae = made.AutoencoderKLCogVideoX(
        down_block_types=("CogVideoXDownBlock3D",) * 4, up_block_types=("CogVideoXUpBlock3D",) * 4,
        block_out_channels=(8, 8, 8, 8), latent_channels=4, layers_per_block=1, norm_num_groups=2,
        temporal_compression_ratio=4,
    )  # fmt: skip
    return made.CogVideoXPipeline(
        vae=vae,
        transformer=made.CogVideoXTransformer3DModel(**sizes | changes),
        scheduler=made.CogVideoXDPMScheduler(timestep_spacing="trailing", prediction_type="v_prediction"),
        text_encoder=_t5("T5EncoderModel"),
        tokenizer=_tokenizer(),
    )


def mochi() -> Any:
    """Mochi."""
    made = parts.library()
    transformer = made.MochiTransformer3DModel(
        patch_size=2, num_attention_heads=2, attention_head_dim=8, num_layers=2, pooled_projection_dim=16,
        in_channels=12, text_embed_dim=16, time_embed_dim=4, activation_fn="swiglu", max_sequence_length=256,
    )  # fmt: skip
    vae = made.AutoencoderKLMochi(
        latent_channels=12, out_channels=3, encoder_block_out_channels=(32, 32, 32, 32),
        decoder_block_out_channels=(32, 32, 32, 32), layers_per_block=(1, 1, 1, 1, 1),
    )  # fmt: skip
    return made.MochiPipeline(
        vae=vae,
        transformer=transformer,
        scheduler=made.FlowMatchEulerDiscreteScheduler(invert_sigmas=True),
        text_encoder=_t5("T5EncoderModel"),
        tokenizer=_tokenizer(max_length=256),
        force_zeros_for_empty_prompt=True,
    )


def flux(**changes: Any) -> Any:
    """Flux; `changes` are those of the transformer."""
    made, texts = parts.library(), adopted.library()
    sizes = {
        "patch_size": 1, "in_channels": 16, "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 16,
        "num_attention_heads": 2, "joint_attention_dim": 16, "pooled_projection_dim": 16,
        "axes_dims_rope": (4, 4, 8), "guidance_embeds": True,
    }  # fmt: skip
    vae = made.AutoencoderKL(
        block_out_channels=(4, 4), layers_per_block=1, latent_channels=4, norm_num_groups=1, use_quant_conv=False,
        use_post_quant_conv=False, shift_factor=0.0609, scaling_factor=1.5035,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    clip = texts.CLIPTextConfig(**TEXT | {"projection_dim": 16, "max_position_embeddings": 77})
    return made.FluxPipeline(
        vae=vae,
        transformer=made.FluxTransformer2DModel(**sizes | changes),
        scheduler=made.FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True),
        text_encoder=texts.CLIPTextModel(clip).eval(),
        tokenizer=_tokenizer(closed="<s> $A </s>", max_length=77),
        text_encoder_2=_t5("T5EncoderModel"),
        tokenizer_2=_tokenizer(),
    )


def make(build: Callable[[], Any]) -> Any:
    """A pipeline of random weights that are the same at every call."""
    parts.library()
    torch.manual_seed(5)
    pipeline = build()
    for module in pipeline.components.values():
        if isinstance(module, torch.nn.Module):
            module.eval().requires_grad_(False)
    return pipeline


def save(build: Callable[[], Any], folder: Path) -> Path:
    """Write a pipeline as its library does."""
    make(build).save_pretrained(folder)
    return folder


def _t5(kind: str, vocabulary: int = VOCABULARY) -> Any:
    made = adopted.library()
    config = made.UMT5Config if kind.startswith("UMT5") else made.T5Config
    sizes = {"d_model": 16, "d_kv": 4, "d_ff": 8, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}
    return getattr(made, kind)(config(vocab_size=vocabulary, **sizes)).eval()


def _tokenizer(closed: str = "$A </s>", max_length: int = 512) -> Any:
    return tokenizer(word_tokenizer(closed=closed), max_length)


def tokenizer(words: Tokenizer, max_length: int = 512) -> Any:
    """A tokenizer as pipelines hold it."""
    return adopted.library().PreTrainedTokenizerFast(
        tokenizer_object=words, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=max_length
    )
