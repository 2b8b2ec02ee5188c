"""The autoencoder of CogVideoX."""

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from services.tae.families.autoencoder import Scaled


class CogVideoX(Scaled):
    """One factor, applied as its pipeline does: in other words the last bits would differ."""

    def normalised(self, latents: Tensor) -> Tensor:
        config = self.network.config
        factor = float(config.scaling_factor)
        # The pictures that 1.5 begins with were divided by the factor in its training.
        return (1 / factor if config.invert_scale_latents else factor) * latents

    def decode(self, latents: Tensor) -> Iterator[Tensor]:
        return super().decode(latents) if self.is_tiled else self._stream(self.denormalised(latents))

    def _stream(self, latents: Tensor) -> Iterator[Tensor]:
        """Few latent frames at a time, as the library does it, which keeps what the next ones need of those before."""
        network, size = self.network, self.network.num_latent_frames_batch_size
        over = latents.shape[2] % size
        ends = [over + size * count for count in range(1, max(latents.shape[2] // size, 1) + 1)]
        kept: Any = None
        for start, end in zip([0, *ends], ends, strict=False):
            given = latents[:, :, start:end]
            if network.post_quant_conv is not None:
                given = network.post_quant_conv(given)
            piece, kept = network.decoder(given, conv_cache=kept)
            yield piece

    def denormalised(self, latents: Tensor) -> Tensor:
        return 1 / float(self.network.config.scaling_factor) * latents
