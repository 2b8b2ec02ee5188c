"""The autoencoders of Wan 2.1 and 2.2, which decode one latent frame after the other."""

from collections.abc import Iterator

from torch import Tensor

from kino.parts import module
from services.tae.families.autoencoder import Autoencoder, by_channel


class Wan(Autoencoder):
    """Causal in time: what a frame needs of those before is kept in the network, so that pieces are the whole."""

    def normalised(self, latents: Tensor) -> Tensor:
        config = self.network.config
        return (latents - by_channel(config.latents_mean, latents)) * (1.0 / by_channel(config.latents_std, latents))

    def denormalised(self, latents: Tensor) -> Tensor:
        config = self.network.config
        return latents / (1.0 / by_channel(config.latents_std, latents)) + by_channel(config.latents_mean, latents)

    def decode(self, latents: Tensor) -> Iterator[Tensor]:
        return super().decode(latents) if self.is_tiled else self._stream(latents)

    def _stream(self, latents: Tensor) -> Iterator[Tensor]:
        network = self.network
        network.clear_cache()
        try:
            given = network.post_quant_conv(self.denormalised(latents))
            for index in range(given.shape[2]):
                network._conv_idx = [0]
                first = {"first_chunk": True} if index == 0 else {}
                piece = network.decoder(
                    given[:, :, index : index + 1], feat_cache=network._feat_map, feat_idx=network._conv_idx, **first
                )
                if network.config.patch_size is not None:
                    unpatchify = module("models.autoencoders.autoencoder_kl_wan").unpatchify
                    piece = unpatchify(piece, patch_size=network.config.patch_size)
                yield piece.clamp(-1.0, 1.0)
        finally:
            network.clear_cache()
