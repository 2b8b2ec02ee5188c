"""Wan 2.1 and 2.2: text or picture to video, by one transformer, by two experts, or with a time for every token."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kino.parts import Parts
from services.generator.engine import PictureReading
from services.generator.families.denoiser import Denoiser, Order, Predict


class Wan(Denoiser):
    """The prompt and its opposite go through the network one after the other."""

    batches_texts = False

    def __init__(self, parts: Parts, device: torch.device) -> None:
        super().__init__(parts, device)
        self.expert: Any = parts.placed("transformer_2", device) if "transformer_2" in parts else None
        ratio = parts.settings.pipeline.get("boundary_ratio")
        # The second expert takes over below this time.
        self.boundary = 0.0 if ratio is None else ratio * parts.scheduler().config.num_train_timesteps
        self.expands = bool(parts.settings.pipeline.get("expand_timesteps"))

    def times_tokens(self, order: Order) -> bool:
        return self.expands

    @property
    def networks(self) -> dict[str, Any]:
        return super().networks | ({} if self.expert is None else {"transformer_2": self.expert})

    @property
    def reads_picture(self) -> PictureReading:
        return PictureReading(clip=not self.expands)

    def finish(self, latents: Tensor, order: Order) -> Tensor:
        """Where tokens have times, nobody has touched the picture's; elsewhere the latents are all of the network's."""
        return self._shown(latents, order) if self.expands else latents

    def predictor(self, order: Order) -> Predict:
        texts = [self.rows(side, "umt5")[0] for side in order.sides]
        seen = self.exact(order.prompts, "vision") if "vision" in order.prompts[0] else None
        beside = self._beside(order)

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            network = self.network if self.expert is None or t >= self.boundary else self.expert
            shown = self._shown(x_t, order) if self.expands else torch.cat([x_t, *beside], dim=1)
            said: list[Tensor] = [
                network(
                    hidden_states=shown.to(self.dtype),
                    timestep=self._times(t, order) if self.expands else t.expand(len(x_t)),
                    encoder_hidden_states=text,
                    encoder_hidden_states_image=seen,
                    return_dict=False,
                )[0]
                for text in texts
            ]
            return said[0] if len(said) == 1 else said[0] + order.guidance * (said[1] - said[0])

        return predict

    def _beside(self, order: Order) -> list[Tensor]:
        """What the network reads beside latents: which frames are given, and the latents of those."""
        if order.picture is None or self.expands:
            return []
        grid = order.grid
        given = torch.zeros(len(order.picture), self.clips.temporal, grid.t, grid.h, grid.w, device=self.device)
        given[:, :, 0] = 1
        return [given, order.picture]

    def _shown(self, latents: Tensor, order: Order) -> Tensor:
        """Latents with the picture in the place of the first of them."""
        return latents if order.picture is None else torch.cat([order.picture, latents[:, :, 1:]], dim=2)

    def _times(self, t: Tensor, order: Order) -> Tensor:
        """The time of every token: zero for those of the picture."""
        of_frame = (order.grid.h // 2) * (order.grid.w // 2)
        times = t.expand(len(order.prompts), order.grid.t * of_frame)
        return times if order.picture is None else functional.pad(times[:, of_frame:], (of_frame, 0))
