"""The autoencoder of CogVideoX."""

from torch import Tensor

from services.tae.families.autoencoder import Scaled


class CogVideoX(Scaled):
    """One factor, applied as its pipeline does: in other words the last bits would differ."""

    def normalised(self, latents: Tensor) -> Tensor:
        config = self.network.config
        factor = float(config.scaling_factor)
        # The pictures that 1.5 begins with were divided by the factor in its training.
        return (1 / factor if config.invert_scale_latents else factor) * latents

    def denormalised(self, latents: Tensor) -> Tensor:
        return 1 / float(self.network.config.scaling_factor) * latents
