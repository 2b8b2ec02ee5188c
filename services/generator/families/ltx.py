"""LTX-Video: text or picture to video at a frame rate that the network is told."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from kino.shapes import Grid
from services.generator.engine import PictureReading
from services.generator.families.denoiser import Denoiser, Order, Predict, guide, shift_of_length

PACKED = "b c (t pt) (h p) (w q) -> b (t h w) (c pt p q)"
"""How latents become a sequence of patches."""


class Ltx(Denoiser):
    """Both texts go through the network in one batch; latents as a sequence of patches."""

    reads_fps = True
    predicts = torch.float32

    def set_times(self, scheduler: Any, steps: int, grid: Grid) -> None:
        sigmas = np.linspace(1.0, 1 / steps, steps)
        scheduler.set_timesteps(sigmas=sigmas, mu=shift_of_length(scheduler.config, grid.t * grid.h * grid.w))

    @property
    def reads_picture(self) -> PictureReading:
        return PictureReading(drawn=True)

    def begin(self, noise: Tensor, order: Order) -> Tensor:
        return self.kept(noise, order)

    def times_tokens(self, order: Order) -> bool:
        return order.picture is not None

    def kept(self, latents: Tensor, order: Order) -> Tensor:
        """The picture stays what it is."""
        return latents if order.picture is None else torch.cat([order.picture, latents[:, :, 1:]], dim=2)

    def predictor(self, order: Order) -> Predict:
        texts, there = self.rows(order.texts, "t5")
        config, grid = self.network.config, order.grid
        patch = {"pt": config.patch_size_t, "p": config.patch_size, "q": config.patch_size}
        extent = {"t": grid.t // patch["pt"], "h": grid.h // patch["p"], "w": grid.w // patch["q"]}
        scale = (self.clips.temporal / order.fps, self.clips.spatial, self.clips.spatial)

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            packed = order.repeated(rearrange(x_t, PACKED, **patch))
            said = self.network(
                hidden_states=packed.to(self.dtype),
                encoder_hidden_states=texts,
                timestep=times(t, len(texts), order, patch),
                encoder_attention_mask=there,
                num_frames=grid.t,
                height=grid.h,
                width=grid.w,
                rope_interpolation_scale=scale,
                return_dict=False,
            )[0]
            packing, _, lattice = PACKED.partition(" -> ")
            return rearrange(guide(said.float(), order), f"{lattice} -> {packing}", **patch, **extent)

        return predict


def times(t: Tensor, count: int, order: Order, patch: Mapping[str, int]) -> Tensor:
    """The time of each of so many texts [b]; where the clip begins with a picture of each token [b n], 0 of its own."""
    if order.picture is None:
        return t.expand(count)
    grid = order.grid
    left = torch.ones(1, 1, grid.t, grid.h, grid.w, device=t.device)
    left[:, :, 0] = 0
    return t * rearrange(left, PACKED, **patch)[..., 0].expand(count, -1)
