"""LTX-2: text or picture to video with its sound, both denoised at once by one transformer."""

from collections.abc import Callable, Mapping, Sized
from functools import partial
from itertools import repeat
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from kino.parts import module
from kino.shapes import Grid
from services.generator.engine import PictureReading
from services.generator.families.denoiser import Denoiser, Order, Predict, shift_of_length
from services.generator.families.ltx import PACKED, times

_HEARD = 3.0  # how much farther guidance moves the sound than the pictures: its scale is 7 where theirs is 3
_SKIPPED = 1.0  # scale of the guidance away from what a block says without attention
_APART = 3.0  # scale of the guidance away from pictures and sound that do not know of each other
_RESCALED = 0.7  # share of the guided sample that is brought to the spread of the unguided one
# All four are the defaults of the library's pipeline.
_CRF = 33  # as its makers compressed pictures in training: `DEFAULT_IMAGE_CRF` of the library

Pair = tuple[Tensor, Tensor]
"""The patches [b n c] of pictures, and those of their sound."""


class Ltx2(Denoiser):
    """Latents are rows [b n]: the patches of the pictures, and behind them those of the sound.

    Besides the opposite of the prompt, guidance moves away from two weaker predictions: one of a block that skips its
    attention, and one of pictures and sound apart. A guidance of 1 is none of the three, as distilled models want it.
    """

    reads_fps = True
    predicts = torch.float32

    @property
    def reads_picture(self) -> PictureReading:
        return PictureReading(crf=_CRF)

    def begin(self, noise: Tensor, order: Order) -> Tensor:
        return self.kept(noise, order)

    def times_tokens(self, order: Order) -> bool:
        return order.picture is not None

    def kept(self, latents: Tensor, order: Order) -> Tensor:
        """The picture stays what it is."""
        if order.picture is None:
            return latents
        seen, sound = self.restore(latents, order)
        return self.arrange(torch.cat([order.picture, seen[:, :, 1:]], dim=2), sound)

    def set_times(self, scheduler: Any, steps: int, grid: Grid) -> None:
        patch = self._patch
        tokens = grid.t // patch["pt"] * (grid.h // patch["p"]) * (grid.w // patch["q"])
        scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=shift_of_length(scheduler.config, tokens))

    def levels(self, scheduler: Any) -> Mapping[float, Tensor]:
        return dict(zip(scheduler.timesteps.tolist(), scheduler.sigmas, strict=False))  # a last level is behind them

    def noise(self, order: Order, generator: torch.Generator) -> Tensor:
        return self.arrange(super().noise(order, generator), torch.randn((1, *order.sound), generator=generator))

    def arrange(self, latents: Tensor, sound: Tensor | None) -> Tensor:
        assert sound is not None
        seen = rearrange(latents, PACKED, **self._patch)
        return torch.cat([seen.flatten(1), rearrange(sound, "b c t m -> b (t c m)")], dim=1)

    def restore(self, latents: Tensor, order: Order) -> tuple[Tensor, Tensor | None]:
        seen, heard = self._pair(latents, order)
        patch, grid = self._patch, order.grid
        extent = {"t": grid.t // patch["pt"], "h": grid.h // patch["p"], "w": grid.w // patch["q"]}
        packing, _, lattice = PACKED.partition(" -> ")
        shown = rearrange(seen, f"{lattice} -> {packing}", **patch, **extent)
        return shown, rearrange(heard, "b t (c m) -> b c t m", c=order.sound[0])

    def predictor(self, order: Order) -> Predict:
        say = self._speaker(order)
        scales = order.guidance, 1 + _HEARD * (order.guidance - 1)
        is_first = bool(self.network.config.use_prompt_embeddings)
        skipping = [29 if is_first else 28]  # the block that its makers name for 2.0, and the one for those after it
        skips = bool(self.network.config.perturbed_attn)

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            sample, level = self._pair(x_t, order), order.levels[float(t)]
            said = say(sample, t, order.texts)
            if order.guidance == 1:
                clean = [x - v * level for x, v in zip(sample, said, strict=True)]
            else:
                ask = partial(say, sample, t, order.prompts)
                weaker = [(_SKIPPED, ask(spatio_temporal_guidance_blocks=skipping))] if skips else []
                weaker.append((_APART - 1, ask(isolate_modalities=True)))
                clean = [
                    _guided(x, v, scale, level, [(by, other[index]) for by, other in weaker])
                    for index, (x, v, scale) in enumerate(zip(sample, said, scales, strict=True))
                ]
            velocities = [(x - data) / level for x, data in zip(sample, clean, strict=True)]
            return torch.cat([v.flatten(1) for v in velocities], dim=1)

        return predict

    @property
    def _patch(self) -> dict[str, int]:
        config = self.network.config
        return {"pt": config.patch_size_t, "p": config.patch_size, "q": config.patch_size}

    def _pair(self, latents: Tensor, order: Order) -> Pair:
        count = self.clips.channels * order.grid.t * order.grid.h * order.grid.w
        channels = self.clips.channels * self._patch["pt"] * self._patch["p"] ** 2
        seen, heard = latents[:, :count], latents[:, count:]
        return seen.unflatten(1, (-1, channels)), heard.unflatten(1, (order.sound[1], -1))

    def _speaker(self, order: Order) -> Callable[..., Pair]:
        """What the network says of samples at a time for all texts, or for the prompts, which are the last of them."""
        rows, there = self.rows(order.texts, "gemma")
        heard, _ = self.rows(order.texts, "gemma-sound")
        network, grid, patch = self.network, order.grid, self._patch
        seen_at = network.rope.prepare_video_coords(1, grid.t, grid.h, grid.w, self.device, fps=order.fps)
        heard_at = network.audio_rope.prepare_audio_coords(1, order.sound[1], self.device)
        crosses = not network.config.use_prompt_embeddings  # from 2.3 on each of both is told the other's time

        def say(sample: Pair, t: Tensor, texts: Sized, **how: Any) -> Pair:
            count = len(texts)
            seen, sound = (patches.repeat(count // len(patches), 1, 1).to(self.dtype) for patches in sample)
            said = network(
                hidden_states=seen,
                audio_hidden_states=sound,
                encoder_hidden_states=rows[-count:],
                audio_encoder_hidden_states=heard[-count:],
                timestep=times(t, count, order, patch),
                audio_timestep=t.expand(count),
                sigma=t.expand(count),
                encoder_attention_mask=there[-count:],
                audio_encoder_attention_mask=there[-count:],
                num_frames=grid.t,
                height=grid.h,
                width=grid.w,
                fps=order.fps,
                audio_num_frames=order.sound[1],
                video_coords=seen_at.repeat(count, *repeat(1, seen_at.ndim - 1)),
                audio_coords=heard_at.repeat(count, *repeat(1, heard_at.ndim - 1)),
                use_cross_timestep=crosses,
                return_dict=False,
                **how,
            )
            return said[0].float(), said[1].float()

        return say


def _guided(x_t: Tensor, both: Tensor, scale: float, level: Tensor, weaker: list[tuple[float, Tensor]]) -> Tensor:
    """The data that a guided prediction stands for.

    Args:
        both: velocities under the opposites of the prompts and under the prompts.
        weaker: further velocities to move away from, each with how far; in the order of the library's sum.
    """
    negative, positive = (x_t - v * level for v in both.chunk(2))
    data = positive + (scale - 1) * (positive - negative)
    for by, other in weaker:
        data = data + by * (positive - (x_t - other * level))
    rescale = module("pipelines.ltx2.pipeline_ltx2").rescale_noise_cfg
    rescaled: Tensor = rescale(data, positive, guidance_rescale=_RESCALED)
    return rescaled
