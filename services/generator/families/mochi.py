"""Mochi: text to video, its times running from noise at 0 to data at 1."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from kino.parts import module
from kino.shapes import Grid
from services.generator.families.denoiser import Denoiser, Order, Predict, guide

_THRESHOLD_NOISE = 0.025  # of the linear half of its schedule (genmoai/models, infer.py)


class Mochi(Denoiser):
    """Both texts go through the network in one batch."""

    predicts = torch.float32

    def kept(self, latents: Tensor, order: Order) -> Tensor:
        return latents.to(self.dtype)

    def set_times(self, scheduler: Any, steps: int, grid: Grid) -> None:
        sigmas = module("pipelines.mochi.pipeline_mochi").linear_quadratic_schedule(steps, _THRESHOLD_NOISE)
        scheduler.set_timesteps(sigmas=np.array(sigmas))

    def predictor(self, order: Order) -> Predict:
        texts, there = self.rows(order.texts, "t5")

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            said = self.network(
                hidden_states=order.repeated(x_t.to(self.dtype)),
                encoder_hidden_states=texts,
                timestep=t.expand(len(texts)).to(self.dtype),
                encoder_attention_mask=there,
                return_dict=False,
            )[0]
            return guide(said.float(), order)

        return predict
