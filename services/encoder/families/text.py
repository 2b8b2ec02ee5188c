"""What a family's text encoders offer: the rows of a text by tower, as the family's own pipeline makes them."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from kino.media import Frames
from kino.parts import Parts


class Texts(ABC):
    """The text encoders of a published pipeline on one device.

    A text goes through each of them alone, padded as its pipeline pads it, because the padding decides the last bits.
    """

    reads_last = False
    """Whether of a picture the rows of the last layer are read, rather than of the one before."""

    def __init__(self, parts: Parts, device: torch.device) -> None:
        self.device, self.settings = device, parts.settings
        self.networks: dict[str, Any] = {}
        self.tokenizers: dict[str, Any] = {}
        self.image_processor: Any = None
        for name in parts.settings.parts:
            if name.startswith("text_encoder"):
                self.networks[name] = parts.placed(name, device)
                self.tokenizers[name] = parts.tokenizer(name.replace("text_encoder", "tokenizer"))
            elif name == "image_encoder":
                self.networks[name] = parts.placed(name, device)
            elif name in ("image_processor", "feature_extractor"):
                self.image_processor = parts.image_processor(name)

    @property
    def reads_pictures(self) -> bool:
        """Whether a text comes with the picture that its video begins with."""
        return self.image_processor is not None

    @abstractmethod
    def encode(self, text: str) -> Mapping[str, Tensor]:
        """The rows [n d] of a text by tower; an empty one is what guidance moves away from."""

    def encode_beside(self, picture: Frames, text: str) -> Mapping[str, Tensor]:
        """The rows of a text and of the picture [h w c=3] that its video begins with, where pictures are read."""
        made = dict(self.encode(text))
        if "image_encoder" in self.networks:
            said = self.networks["image_encoder"](self.pixels(picture), output_hidden_states=True)
            made["vision"] = said.last_hidden_state[0] if self.reads_last else said.hidden_states[-2][0]
        return made

    def pixels(self, picture: Frames) -> Tensor:
        """A picture as an image encoder takes it, [1 c h w]."""
        pixels: Tensor = self.image_processor(images=Image.fromarray(picture), return_tensors="pt").pixel_values
        return pixels.to(self.device)

    def tokens(self, part: str, text: str, length: int) -> tuple[Tensor, Tensor]:
        """The ids [1 length] of a text, cut or padded, and which of them are no padding."""
        made = self.tokenizers[part](
            [text], padding="max_length", max_length=length, truncation=True, return_tensors="pt"
        )
        return made.input_ids.to(self.device), made.attention_mask.to(self.device)


class Clip:
    """The pooled row of a CLIP text encoder."""

    LENGTH = 77

    def __init__(self, texts: Texts, part: str) -> None:
        self.texts, self.part = texts, part

    def __call__(self, text: str) -> Tensor:
        """The row [1 d] of a text."""
        ids, _ = self.texts.tokens(self.part, text, self.LENGTH)
        pooled: Tensor = self.texts.networks[self.part](ids, output_hidden_states=False).pooler_output
        return pooled
