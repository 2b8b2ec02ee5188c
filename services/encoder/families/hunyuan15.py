"""HunyuanVideo 1.5 reads a Qwen, which is told what to look at, and a ByT5 of what is written in the video."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from kino.parts import Parts, module
from services.encoder.families.text import Texts

_CHAT = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""The form of a talk with a Qwen: ours, because a template out of a folder would be a program of that folder."""


class Hunyuan15(Texts):
    """Both encoders are asked by the functions of the library's own pipeline."""

    reads_last = True

    def __init__(self, parts: Parts, device: torch.device) -> None:
        super().__init__(parts, device)
        self.tokenizers["text_encoder"].chat_template = _CHAT
        self.pipeline: Any = module("pipelines.hunyuan_video1_5.pipeline_hunyuan_video1_5").HunyuanVideo15Pipeline

    def encode(self, text: str) -> Mapping[str, Tensor]:
        network, tokenizer = self.networks["text_encoder"], self.tokenizers["text_encoder"]
        rows, there = self.pipeline._get_mllm_prompt_embeds(network, tokenizer, text, self.device)
        network, tokenizer = self.networks["text_encoder_2"], self.tokenizers["text_encoder_2"]
        written, read = self.pipeline._get_byt5_prompt_embeds(tokenizer, network, text, self.device)
        return {"qwen": rows[0, : int(there.sum())], "byt5": written[0, : int(read.sum())]}
