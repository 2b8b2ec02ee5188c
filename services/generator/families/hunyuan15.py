"""HunyuanVideo 1.5: text or picture to video."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kino.shapes import Grid
from services.generator.families.denoiser import Denoiser, Order, Predict

_SEEN = 729  # rows of a picture; as many zeros stand for none


class Hunyuan15(Denoiser):
    """The prompt and its opposite go through the network one after the other, beside the picture or nothing."""

    batches_texts = False

    @property
    def noise_dtype(self) -> torch.dtype:
        return self.dtype

    def set_times(self, scheduler: Any, steps: int, grid: Grid) -> None:
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 0.0, steps + 1)[:-1])

    def predictor(self, order: Order) -> Predict:
        texts = [(*self.rows(side, "qwen"), *self.rows(side, "byt5")) for side in order.sides]
        beside, seen = self._beside(order), self._seen(order)

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            said: list[Tensor] = [
                self.network(
                    hidden_states=torch.cat([x_t, beside], dim=1),
                    image_embeds=seen,
                    timestep=t.expand(len(rows)).to(self.dtype),
                    encoder_hidden_states=rows,
                    encoder_attention_mask=there.to(self.dtype),
                    encoder_hidden_states_2=written,
                    encoder_attention_mask_2=read.to(self.dtype),
                    return_dict=False,
                )[0]
                for rows, there, written, read in texts
            ]
            return said[0] if len(said) == 1 else said[0] + order.guidance * (said[1] - said[0])

        return predict

    def _beside(self, order: Order) -> Tensor:
        """Latents [b c t h w] of the picture, zeros after the first frame or for all, and which of them are there."""
        grid, picture = order.grid, order.picture
        if picture is None:
            shape = len(order.prompts), self.clips.channels + 1, grid.t, grid.h, grid.w
            return torch.zeros(shape, dtype=self.dtype, device=self.device)
        there = torch.ones_like(picture[:, :1])
        after = (0, 0, 0, 0, 0, grid.t - 1)
        return functional.pad(torch.cat([picture, there], dim=1), after).to(self.dtype)

    def _seen(self, order: Order) -> Tensor:
        """Rows of the picture, zeros for none."""
        if "vision" in order.prompts[0]:
            return self.exact(order.prompts, "vision")
        width = self.network.config.image_embed_dim
        return torch.zeros(len(order.prompts), _SEEN, width, dtype=self.dtype, device=self.device)
