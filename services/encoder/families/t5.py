"""Families that read one T5: they differ in what they make of padding."""

from collections.abc import Mapping

import torch
from torch import Tensor

from kino.parts import module
from services.encoder.families.text import Texts

_PART = "text_encoder"


class Wan(Texts):
    """Rows of a cleaned text; padding is masked in the encoder, and zeros in the transformer."""

    def encode(self, text: str) -> Mapping[str, Tensor]:
        clean = module("pipelines.wan.pipeline_wan").prompt_clean(text)
        ids, there = self.tokens(_PART, clean, self.settings.texts["umt5"][0])
        rows = self.networks[_PART](ids, there).last_hidden_state[0]
        return {"umt5": rows[: int(there.sum())]}


class Ltx(Texts):
    """Padding is read in the encoder, and masked in the transformer."""

    def encode(self, text: str) -> Mapping[str, Tensor]:
        ids, there = self.tokens(_PART, text, self.settings.texts["t5"][0])
        return {"t5": self.networks[_PART](ids)[0][0][: int(there.sum())]}


class CogVideoX(Texts):
    """Padding is read in both."""

    def encode(self, text: str) -> Mapping[str, Tensor]:
        ids, _ = self.tokens(_PART, text, self.settings.texts["t5"][0])
        return {"t5": self.networks[_PART](ids)[0][0]}


class Mochi(Texts):
    """Padding is masked in both; where the pipeline says so, all of an empty text is padding."""

    def encode(self, text: str) -> Mapping[str, Tensor]:
        ids, there = self.tokens(_PART, text, self.settings.texts["t5"][0])
        if not text and self.settings.pipeline.get("force_zeros_for_empty_prompt"):
            ids, there = torch.zeros_like(ids), torch.zeros_like(there)
        rows = self.networks[_PART](ids, attention_mask=there.bool())[0][0]
        return {"t5": rows[: int(there.sum())]}
