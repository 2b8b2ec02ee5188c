"""The autoencoder of Mochi."""

from torch import Tensor

from services.tae.families.autoencoder import Scaled, by_channel


class Mochi(Scaled):
    """Latents by the mean and the deviation of each channel, or by one factor where the settings have neither."""

    def normalised(self, latents: Tensor) -> Tensor:
        config = self.network.config
        if config.latents_mean is None or config.latents_std is None:
            return super().normalised(latents)
        mean, deviation = by_channel(config.latents_mean, latents), by_channel(config.latents_std, latents)
        return (latents - mean) * float(config.scaling_factor) / deviation

    def denormalised(self, latents: Tensor) -> Tensor:
        config = self.network.config
        if config.latents_mean is None or config.latents_std is None:
            return super().denormalised(latents)
        mean, deviation = by_channel(config.latents_mean, latents), by_channel(config.latents_std, latents)
        return latents * deviation / float(config.scaling_factor) + mean
