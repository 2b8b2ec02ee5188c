"""LTX-2 reads every layer of a Gemma, made ready by one small network for the pictures and by one for the sound."""

from collections.abc import Mapping

import torch
from torch import Tensor

from kino.parts import Parts
from services.encoder.families.text import Texts

_PART = "text_encoder"


class Ltx2(Texts):
    """Texts end at the end of their padding, whose place the rows of the small networks take: so there are all rows."""

    def __init__(self, parts: Parts, device: torch.device) -> None:
        super().__init__(parts, device)
        self.networks["connectors"] = parts.placed("connectors", device)
        tokenizer = self.tokenizers[_PART]
        tokenizer.padding_side = "left"
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token

    def encode(self, text: str) -> Mapping[str, Tensor]:
        ids, there = self.tokens(_PART, text.strip(), self.settings.texts["gemma"][0])
        made = self.networks[_PART](input_ids=ids, attention_mask=there, output_hidden_states=True)
        layers = torch.stack(made.hidden_states, dim=-1).flatten(2, 3).to(self.networks[_PART].dtype)
        seen, heard, _ = self.networks["connectors"](layers, there, padding_side="left")
        return {"gemma": seen[0], "gemma-sound": heard[0]}
