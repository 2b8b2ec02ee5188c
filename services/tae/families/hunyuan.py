"""The autoencoder of HunyuanVideo, which decodes long clips in tiles of time."""

from collections.abc import Iterator

from torch import Tensor

from services.tae.families.autoencoder import Overlapping, Scaled


class Hunyuan(Scaled, Overlapping):
    """Pieces are those of the library's own decoding, which puts all of them together before it gives any."""

    def decode(self, latents: Tensor) -> Iterator[Tensor]:
        network = self.network
        if latents.shape[2] <= network.tile_sample_min_num_frames // network.temporal_compression_ratio:
            return super().decode(latents)
        return self.decode_overlapping(self.denormalised(latents))

    def decode_tile(self, latents: Tensor, is_first: bool) -> Tensor:
        network = self.network
        if self.is_wide(latents):
            made: Tensor = network.tiled_decode(latents, return_dict=False)[0]
        else:
            made = network.decoder(network.post_quant_conv(latents))
        return made if is_first else made[:, :, 1:]
