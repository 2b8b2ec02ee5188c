"""Tiny pipeline folders with random weights of models that begin with a picture, made as `diffusers` does it."""

from typing import Any

from kino import adopted, parts
from tests import pipelines
from tests.folders import VISION, VOCABULARY, WORDS, word_tokenizer

_SEEN = 576  # places that a prompt of HunyuanVideo keeps for its picture


def wan() -> Any:
    """Wan 2.1, image to video: a CLIP sees the picture."""
    texts = adopted.library()
    config = texts.CLIPVisionConfig(**VISION | {"num_hidden_layers": 2})
    seen = pipelines.wan_transformer(in_channels=36, image_dim=16, added_kv_proj_dim=24)
    return _wan(seen, image_encoder=texts.CLIPVisionModel(config).eval(), image_processor=_processor(16))


def wan_experts() -> Any:
    """Wan 2.2, image to video by two experts: the picture's latents alone."""
    first, second = (pipelines.wan_transformer(in_channels=36) for _ in range(2))
    return _wan(first, transformer_2=second, boundary_ratio=0.9, image_encoder=None, image_processor=None)


def _wan(transformer: Any, **changes: Any) -> Any:
    plain = pipelines.wan(transformer=transformer)
    held = {name: part for name, part in plain.components.items() if name != "transformer_2"}
    return parts.library().WanImageToVideoPipeline(**held | changes)


def cogvideox(**changes: Any) -> Any:
    """CogVideoX, image to video; `changes` are those of the transformer."""
    plain = pipelines.cogvideox(in_channels=8, **changes)
    return parts.library().CogVideoXImageToVideoPipeline(**plain.components)


def hunyuan() -> Any:
    """HunyuanVideo, image to video: a Llama reads the picture among its words."""
    made, texts = parts.library(), adopted.library()
    transformer = made.HunyuanVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=10, num_layers=1, num_single_layers=1,
        num_refiner_layers=1, patch_size=1, patch_size_t=1, guidance_embeds=True, text_embed_dim=16,
        pooled_projection_dim=16, rope_axes_dim=(2, 4, 4), image_condition_type="token_replace",
    )  # fmt: skip
    words = word_tokenizer(closed="<s> $A")
    words.add_special_tokens(["<image>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"])
    llama = texts.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=16, num_hidden_layers=4, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=1024, bos_token_id=2, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    sees = texts.CLIPVisionConfig(**VISION | {"num_hidden_layers": 2, "image_size": 24, "patch_size": 1})
    llava = texts.LlavaConfig(
        text_config=llama, vision_config=sees, image_token_index=len(WORDS), pad_token_id=0, image_seq_length=_SEEN
    )
    plain = pipelines.hunyuan()
    held = plain.components | {
        "transformer": transformer,
        "text_encoder": texts.LlavaForConditionalGeneration(llava).eval(),
        "tokenizer": pipelines.tokenizer(words),
        "image_processor": _processor(24),
    }
    return made.HunyuanVideoImageToVideoPipeline(**held)


def hunyuan15() -> Any:
    """HunyuanVideo 1.5, image to video: a SigLIP sees the picture."""
    made, texts = parts.library(), adopted.library()
    sees = texts.SiglipVisionConfig(**VISION | {"image_size": 27, "patch_size": 1})
    return made.HunyuanVideo15ImageToVideoPipeline(
        **pipelines.hunyuan15().components,
        image_encoder=texts.SiglipVisionModel(sees).eval(),
        feature_extractor=texts.SiglipImageProcessor(size={"height": 27, "width": 27}),
    )


def _processor(side: int) -> Any:
    square = {"height": side, "width": side}
    return adopted.library().CLIPImageProcessor(size={"shortest_edge": side}, crop_size=square)
