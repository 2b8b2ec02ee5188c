"""HunyuanVideo: text or picture to video, the scale of guidance told to the network."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from kino.shapes import Grid
from services.generator.families.denoiser import Denoiser, Order, Predict

_NOISE = 0.999  # share of noise in what a film of a picture begins at (HunyuanVideo-I2V, hyvideo/diffusion)


class Hunyuan(Denoiser):
    """One text goes through the network; its guidance was distilled into it."""

    embeds_guidance = True
    tower = "llama"
    """The tower whose rows it reads beside the pooled one."""

    def set_times(self, scheduler: Any, steps: int, grid: Grid) -> None:
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 0.0, steps + 1)[:-1])

    def predictor(self, order: Order) -> Predict:
        rows, there = self.rows(order.prompts, self.tower)
        pooled = self.rows(order.prompts, "clip")[0][:, 0]
        scale = torch.full([len(rows)], order.guidance, dtype=self.dtype, device=self.device) * 1000.0
        guidance = scale if self.network.config.guidance_embeds else None

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            said: Tensor = self.network(
                hidden_states=x_t.to(self.dtype),
                timestep=t.expand(len(rows)).to(x_t.dtype),
                encoder_hidden_states=rows,
                encoder_attention_mask=there.to(self.dtype),
                pooled_projections=pooled,
                guidance=guidance,
                return_dict=False,
            )[0]
            return said

        return predict


class HunyuanPicture(Hunyuan):
    """The picture takes the place of the first latent frame, and shines through the noise of all at the beginning."""

    tower = "llava"

    def begin(self, noise: Tensor, order: Order) -> Tensor:
        assert order.picture is not None
        share = torch.tensor([_NOISE], device=self.device)
        return noise * share + order.picture.repeat(1, 1, noise.shape[2], 1, 1) * (1 - share)

    def kept(self, latents: Tensor, order: Order) -> Tensor:
        return latents if order.picture is None else torch.cat([order.picture, latents[:, :, 1:]], dim=2)
