"""The autoencoder of Flux, which knows pictures alone."""

from collections.abc import Iterator

import torch
from torch import Tensor

from services.tae.families.autoencoder import Scaled, drawn


class Flux(Scaled):
    """A picture is a video of one frame."""

    def decode(self, latents: Tensor) -> Iterator[Tensor]:
        yield self.network.decode(self.denormalised(latents[:, :, 0]), return_dict=False)[0][:, :, None]

    def encode(self, video: Tensor, generator: torch.Generator | None) -> Tensor:
        return self.normalised(drawn(self.network.encode(video[:, :, 0]).latent_dist, generator))[:, :, None]
