"""Flux reads the pooled row of a CLIP and a T5, padding and all."""

from collections.abc import Mapping

from torch import Tensor

from services.encoder.families.text import Clip, Texts


class Flux(Texts):
    """Both encoders read the same text."""

    def encode(self, text: str) -> Mapping[str, Tensor]:
        ids, _ = self.tokens("text_encoder_2", text, self.settings.texts["t5"][0])
        rows = self.networks["text_encoder_2"](ids, output_hidden_states=False)[0][0]
        return {"clip": Clip(self, "text_encoder")(text), "t5": rows}
