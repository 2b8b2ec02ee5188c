"""Tiny Hugging Face folders with random weights, made as their own library makes them."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import tokenizers
import torch
from tokenizers import models, pre_tokenizers, processors

from kino.adopted import library

WORDS = ["<pad>", "</s>", "<s>", "<unk>", "a", "red", "ball", "bounces", "sign", "says", "GO", '"', ".", "cat", "blue"]
VOCABULARY = 32
TEXT = {
    "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 8, "num_hidden_layers": 1,
    "num_attention_heads": 2, "max_position_embeddings": 12, "bos_token_id": 2, "eos_token_id": 1, "pad_token_id": 0,
}  # fmt: skip
VISION = {
    "hidden_size": 16, "intermediate_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "image_size": 16,
    "patch_size": 8,
}  # fmt: skip


def word_tokenizer(*, closed: str | None = "$A </s>") -> tokenizers.Tokenizer:
    """One id a word; `closed` says what surrounds every text."""
    tokenizer = tokenizers.Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace()])
    if closed is not None:
        tokenizer.post_processor = processors.TemplateProcessing(
            single=closed, special_tokens=[("<s>", 2), ("</s>", 1)]
        )
    return tokenizer


def save(model: Any, folder: Path, tokenizer: tokenizers.Tokenizer | None = None) -> Path:
    """Write a model as its library does, and the tokenizer's file beside it."""
    model.save_pretrained(folder)
    if tokenizer is not None:
        tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def t5(folder: Path, *, kind: str = "T5ForConditionalGeneration", width: int = 16) -> Path:
    """A T5 or UMT5 with a tokenizer of words."""
    return save(_t5(kind, width, VOCABULARY), folder, word_tokenizer())


def byt5(folder: Path, *, width: int = 16) -> Path:
    """A T5 of bytes, whose tokenizer is a class and no file."""
    save(_t5("T5ForConditionalGeneration", width, 384), folder)
    (folder / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "ByT5Tokenizer"}))
    return folder


def clip(folder: Path, *, kind: str = "CLIPModel", width: int = 16) -> Path:
    """A CLIP, whole or its text side alone, with a tokenizer of words."""
    made, text = library(), TEXT | {"projection_dim": width}
    torch.manual_seed(2)
    if kind == "CLIPModel":
        sides = made.CLIPConfig(
            text_config=text, vision_config=VISION | {"projection_dim": width}, projection_dim=width
        )
        model = made.CLIPModel(sides)
    else:
        model = getattr(made, kind)(made.CLIPTextConfig(**text))
    return save(model, folder, word_tokenizer(closed="<s> $A </s>"))


def _t5(kind: str, width: int, vocabulary: int) -> Any:
    made = library()
    torch.manual_seed(1)
    config = made.UMT5Config if kind.startswith("UMT5") else made.T5Config
    sizes = {"d_model": width, "d_kv": 4, "d_ff": 8, "num_layers": 2, "num_heads": 2, "decoder_start_token_id": 0}
    return getattr(made, kind)(config(vocab_size=vocabulary, **sizes))


def llama(folder: Path, *, chain: str = "", chat: str | None = None, context: int = 512) -> Path:
    """A causal language model: of random weights, or one that writes the words of `chain`, each after the one before.

    Args:
        chain: its first word follows any word that the tokenizer does not know.
        chat: the chat template.
    """
    made = library()
    torch.manual_seed(3)
    config = made.LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=VOCABULARY, intermediate_size=8, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=context, bos_token_id=2, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    model = made.LlamaForCausalLM(config)
    if chain:
        _learn(model, [WORDS.index(word) for word in f"<unk> {chain}".split()])
    model.save_pretrained(folder)
    tokenizer = made.PreTrainedTokenizerFast(
        tokenizer_object=word_tokenizer(closed=None), eos_token="</s>", unk_token="<unk>", chat_template=chat
    )
    tokenizer.save_pretrained(folder)
    return folder


@torch.no_grad()
def _learn(model: Any, chain: list[int]) -> None:
    """Give a model weights by which each token of a chain is followed by the next, whatever stood before."""
    layer = model.model.layers[0]
    layer.self_attn.o_proj.weight.zero_()
    layer.mlp.down_proj.weight.zero_()
    model.model.embed_tokens.weight.copy_(torch.eye(VOCABULARY))
    model.lm_head.weight.zero_()
    for token, following in pairwise(chain):
        model.lm_head.weight[following, token] = 10.0
