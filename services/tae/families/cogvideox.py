"""The autoencoder of CogVideoX."""

from torch import Tensor

from services.tae.families.autoencoder import Scaled


class CogVideoX(Scaled):
    """One factor, applied as its pipeline does: in other words the last bits would differ."""

    def denormalised(self, latents: Tensor) -> Tensor:
        return 1 / float(self.network.config.scaling_factor) * latents
