"""HunyuanVideo reads a Llama, which is told what to look at, and the pooled row of a CLIP."""

from collections.abc import Mapping

import torch
from torch import Tensor

from kino.media import Frames
from kino.parts import module
from services.encoder.families.text import Clip, Texts

_LAYER = -3  # two layers before the last (Tencent/HunyuanVideo, hyvideo/config.py: hidden_state_skip_layer)
_PROMPT_TOKENS = 256
_INTERLEAVE = 4  # of the variant whose picture takes the place of the first latent frame
_HEADER = 4  # tokens of the header of the answer


class Hunyuan(Texts):
    """The rows of what stands around the prompt are cut off before it."""

    def encode(self, text: str) -> Mapping[str, Tensor]:
        frame = module("pipelines.hunyuan_video.pipeline_hunyuan_video").DEFAULT_PROMPT_TEMPLATE
        cut = frame["crop_start"]
        ids, there = self.tokens("text_encoder", frame["template"].format(text), self.settings.texts["llama"][0] + cut)
        made = self.networks["text_encoder"](input_ids=ids, attention_mask=there, output_hidden_states=True)
        rows = made.hidden_states[_LAYER][0, cut : int(there.sum())]
        return {"llama": rows, "clip": Clip(self, "text_encoder_2")(text)}


class HunyuanPicture(Texts):
    """The Llama reads a picture among its words; of the rows of that, one in four is kept."""

    def encode(self, text: str) -> Mapping[str, Tensor]:
        raise ValueError("picture is missing, must be given: the text is read beside it")

    def encode_beside(self, picture: Frames, text: str) -> Mapping[str, Tensor]:
        return {"llava": self._rows(picture, text), "clip": Clip(self, "text_encoder_2")(text)}

    def _rows(self, picture: Frames, text: str) -> Tensor:
        """Rows of the picture, and of the prompt without those of what stands around it."""
        made = module("pipelines.hunyuan_video.pipeline_hunyuan_video_image2video")
        frame, network = made.DEFAULT_PROMPT_TEMPLATE, self.networks["text_encoder"]
        cut, seen, begin, end = (
            frame[name] for name in ("crop_start", "image_emb_len", "image_emb_start", "image_emb_end")
        )
        length = _PROMPT_TOKENS + cut
        ids, there = self.tokens("text_encoder", frame["template"].format(text), length)
        config = network.config
        inputs = made._expand_input_ids_with_image_tokens(
            ids, there, length, config.image_token_index, seen, begin, end, config.pad_token_id
        )
        rows = network(**inputs, pixel_values=self.pixels(picture), output_hidden_states=True).hidden_states[_LAYER][0]
        answer = self._answer(ids)
        prompt = torch.cat([rows[cut - 1 + seen : answer - 1 + seen - _HEADER], rows[answer - 1 + seen :]])
        kept = torch.cat([there[0, cut : answer - _HEADER], there[0, answer:]])
        return torch.cat([rows[begin:end][::_INTERLEAVE], prompt[: int(kept.sum())]])

    def _answer(self, ids: Tensor) -> int:
        """Where the answer begins: behind its header, or at the end where a long prompt has displaced that."""
        header = self.tokenizers["text_encoder"].convert_tokens_to_ids("<|end_header_id|>")
        ends = (ids[0] == header).nonzero()[:, 0].tolist()
        return int(ends[-1] if len(ends) != 2 else ids.shape[1] - 1) + 1
