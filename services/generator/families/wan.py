"""Wan 2.1 and 2.2: text to video, by one transformer, by two experts, or with a time for every token."""

from typing import Any

import torch
from torch import Tensor

from kino.parts import Parts
from services.generator.families.denoiser import Denoiser, Order, Predict


class Wan(Denoiser):
    """The prompt and its opposite go through the network one after the other."""

    batches_texts = False

    def __init__(self, parts: Parts, device: torch.device) -> None:
        super().__init__(parts, device)
        self.expert: Any = parts.network("transformer_2").to(device) if "transformer_2" in parts else None
        ratio = parts.settings.pipeline.get("boundary_ratio")
        # The second expert takes over below this time.
        self.boundary = 0.0 if ratio is None else ratio * parts.scheduler().config.num_train_timesteps
        self.times_tokens = bool(parts.settings.pipeline.get("expand_timesteps"))

    @property
    def networks(self) -> dict[str, Any]:
        return super().networks | ({} if self.expert is None else {"transformer_2": self.expert})

    def predictor(self, order: Order) -> Predict:
        texts = [self.rows([text], "umt5")[0] for text in order.texts]
        tokens = order.grid.t * (order.grid.h // 2) * (order.grid.w // 2)

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            network = self.network if self.expert is None or t >= self.boundary else self.expert
            time = t.expand(1, tokens) if self.times_tokens else t.expand(1)
            said: list[Tensor] = [
                network(hidden_states=x_t.to(self.dtype), timestep=time, encoder_hidden_states=text, return_dict=False)[
                    0
                ]
                for text in texts
            ]
            return said[0] if len(said) == 1 else said[0] + order.guidance * (said[1] - said[0])

        return predict
