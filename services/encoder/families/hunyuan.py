"""HunyuanVideo reads a Llama, which is told what to look at, and the pooled row of a CLIP."""

from collections.abc import Mapping

from torch import Tensor

from kino.parts import module
from services.encoder.families.text import Clip, Texts

_LAYER = -3  # two layers before the last (Tencent/HunyuanVideo, hyvideo/config.py: hidden_state_skip_layer)


class Hunyuan(Texts):
    """The rows of what stands around the prompt are cut off before it."""

    def encode(self, text: str) -> Mapping[str, Tensor]:
        frame = module("pipelines.hunyuan_video.pipeline_hunyuan_video").DEFAULT_PROMPT_TEMPLATE
        cut = frame["crop_start"]
        ids, there = self.tokens("text_encoder", frame["template"].format(text), self.settings.texts["llama"][0] + cut)
        made = self.networks["text_encoder"](input_ids=ids, attention_mask=there, output_hidden_states=True)
        rows = made.hidden_states[_LAYER][0, cut : int(there.sum())]
        return {"llama": rows, "clip": Clip(self, "text_encoder_2")(text)}
