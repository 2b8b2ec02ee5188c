"""The autoencoders of LTX-Video and of LTX-2."""

from collections.abc import Iterator

from torch import Tensor

from services.tae.families.autoencoder import Overlapping, by_channel


class Ltx(Overlapping):
    """Where the decoder also denoises, it is told that nothing is left to do, as its pipeline does by default.

    Long clips are decoded in tiles of time where tiles are asked for; otherwise whole.
    """

    def tile(self) -> None:
        super().tile()
        self.network.use_framewise_decoding = True

    def normalised(self, latents: Tensor) -> Tensor:
        network = self.network
        mean, deviation = by_channel(network.latents_mean, latents), by_channel(network.latents_std, latents)
        return (latents - mean) * float(network.config.scaling_factor) / deviation

    def denormalised(self, latents: Tensor) -> Tensor:
        network = self.network
        mean, deviation = by_channel(network.latents_mean, latents), by_channel(network.latents_std, latents)
        return latents * deviation / float(network.config.scaling_factor) + mean

    def decode(self, latents: Tensor) -> Iterator[Tensor]:
        network, given = self.network, self.denormalised(latents)
        is_long = given.shape[2] > network.tile_sample_min_num_frames // network.temporal_compression_ratio
        if self.is_tiled and is_long:
            yield from self.decode_overlapping(given)
        else:
            yield network.decode(given, self._time(given), return_dict=False)[0]

    def decode_tile(self, latents: Tensor, is_first: bool) -> Tensor:
        network, time = self.network, self._time(latents)
        if self.is_wide(latents):
            made: Tensor = network.tiled_decode(latents, time, return_dict=False)[0]
        else:
            made = network.decoder(latents, time)
        return made if is_first else made[:, :, :-1]

    def _time(self, latents: Tensor) -> Tensor | None:
        return latents.new_zeros(1, dtype=self.dtype) if self.network.config.timestep_conditioning else None
