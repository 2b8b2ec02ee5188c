"""The autoencoder of LTX-Video."""

from collections.abc import Iterator

from torch import Tensor

from services.tae.families.autoencoder import Autoencoder, by_channel


class Ltx(Autoencoder):
    """Where the decoder also denoises, it is told that nothing is left to do, as its pipeline does by default."""

    def normalised(self, latents: Tensor) -> Tensor:
        network = self.network
        mean, deviation = by_channel(network.latents_mean, latents), by_channel(network.latents_std, latents)
        return (latents - mean) * float(network.config.scaling_factor) / deviation

    def denormalised(self, latents: Tensor) -> Tensor:
        network = self.network
        mean, deviation = by_channel(network.latents_mean, latents), by_channel(network.latents_std, latents)
        return latents * deviation / float(network.config.scaling_factor) + mean

    def decode(self, latents: Tensor) -> Iterator[Tensor]:
        time = latents.new_zeros(1, dtype=self.dtype) if self.network.config.timestep_conditioning else None
        yield self.network.decode(self.denormalised(latents), time, return_dict=False)[0]
