"""HunyuanVideo: text to video, the scale of guidance told to the network."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from kino.shapes import Grid
from services.generator.families.denoiser import Denoiser, Order, Predict


class Hunyuan(Denoiser):
    """One text goes through the network; its guidance was distilled into it."""

    embeds_guidance = True

    def set_times(self, scheduler: Any, steps: int, grid: Grid) -> None:
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 0.0, steps + 1)[:-1])

    def predictor(self, order: Order) -> Predict:
        rows, there = self.rows([order.prompt], "llama")
        pooled = order.prompt["clip"][:, 0].to(self.dtype)
        guidance = torch.tensor([order.guidance], dtype=self.dtype, device=self.device) * 1000.0

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            said: Tensor = self.network(
                hidden_states=x_t.to(self.dtype),
                timestep=t.expand(1).to(x_t.dtype),
                encoder_hidden_states=rows,
                encoder_attention_mask=there.to(self.dtype),
                pooled_projections=pooled,
                guidance=guidance,
                return_dict=False,
            )[0]
            return said

        return predict
