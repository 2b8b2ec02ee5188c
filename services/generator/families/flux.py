"""Flux: pictures, by the model that reads the scale of guidance or by the one that was distilled to need none."""

from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from kino.shapes import Grid
from services.generator.families.denoiser import Denoiser, Order, Predict, shift_of_length


class Flux(Denoiser):
    """One text goes through the network; latents as a sequence of patches of 2 x 2."""

    embeds_guidance = True
    exact_rows = ("t5",)

    @property
    def noise_dtype(self) -> torch.dtype:
        return self.dtype

    def set_times(self, scheduler: Any, steps: int, grid: Grid) -> None:
        mu = shift_of_length(scheduler.config, (grid.h // 2) * (grid.w // 2))
        sigmas = None if scheduler.config.get("use_flow_sigmas") else np.linspace(1.0, 1 / steps, steps)
        scheduler.set_timesteps(**({"num_inference_steps": steps} if sigmas is None else {"sigmas": sigmas}), mu=mu)

    def predictor(self, order: Order) -> Predict:
        rows = self.exact(order.prompts, "t5")
        pooled = self.rows(order.prompts, "clip")[0][:, 0]
        height, width = order.grid.h // 2, order.grid.w // 2
        places = torch.zeros(height, width, 3, device=self.device)
        places[..., 1] = torch.arange(height, device=self.device)[:, None]
        places[..., 2] = torch.arange(width, device=self.device)[None, :]
        text_places = torch.zeros(rows.shape[1], 3, device=self.device, dtype=self.dtype)
        guidance = torch.full([len(rows)], order.guidance, device=self.device, dtype=torch.float32)

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            packed = rearrange(x_t, "b c 1 (h p) (w q) -> b (h w) (c p q)", p=2, q=2)
            said: Tensor = self.network(
                hidden_states=packed,
                timestep=t.expand(len(rows)).to(x_t.dtype) / 1000,
                guidance=guidance if self.network.config.guidance_embeds else None,
                pooled_projections=pooled,
                encoder_hidden_states=rows,
                txt_ids=text_places,
                img_ids=places.reshape(-1, 3).to(self.dtype),
                return_dict=False,
            )[0]
            return rearrange(said, "b (h w) (c p q) -> b c 1 (h p) (w q)", h=height, p=2, q=2)

        return predict
