"""CogVideoX 1.0 and 1.5: text or picture to video."""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from kino.parts import module
from kino.shapes import Grid
from services.generator.engine import PictureReading
from services.generator.families.denoiser import Denoiser, Order, Predict, guide


class CogVideoX(Denoiser):
    """Both texts go through the network in one batch; in latents, frames come before channels."""

    predicts = torch.float32
    whole_rows = ("t5",)

    @property
    def reads_picture(self) -> PictureReading:
        return PictureReading(drawn=True)

    @property
    def noise_dtype(self) -> torch.dtype:
        return self.dtype

    def kept(self, latents: Tensor, order: Order) -> Tensor:
        return latents.to(self.dtype)

    def extent(self, grid: Grid) -> Grid:
        """Temporal patches of 1.5 need whole ones."""
        patch = self.network.config.patch_size_t or 1
        return Grid(-(-grid.t // patch) * patch, grid.h, grid.w)

    def noise(self, order: Order, generator: torch.Generator) -> Tensor:
        grid = self.extent(order.grid)
        shape = (1, grid.t, self.clips.channels, grid.h, grid.w)
        return torch.randn(shape, generator=generator, dtype=self.noise_dtype)

    def arrange(self, latents: Tensor, sound: Tensor | None) -> Tensor:
        return latents.transpose(1, 2)

    def restore(self, latents: Tensor, order: Order) -> tuple[Tensor, Tensor | None]:
        return latents.transpose(1, 2), None

    def predictor(self, order: Order) -> Predict:
        texts, _ = self.rows(order.texts, "t5")
        looked = [order.repeated(picture) for picture in self._looked(order)]
        offset = torch.full((1,), 2.0, dtype=self.dtype, device=self.device)
        rotary = self._rotary(self.extent(order.grid)) if self.network.config.use_rotary_positional_embeddings else None

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            said = self.network(
                hidden_states=torch.cat([order.repeated(x_t), *looked], dim=2),
                encoder_hidden_states=texts,
                timestep=t.expand(len(texts)),
                ofs=None if self.network.config.ofs_embed_dim is None else offset,
                image_rotary_emb=rotary,
                return_dict=False,
            )[0]
            return guide(said.float(), order)

        return predict

    def _looked(self, order: Order) -> list[Tensor]:
        """The latents of the picture as the network takes them beside its own: zeros after the first frame."""
        if order.picture is None:
            return []
        first = order.picture.transpose(1, 2).to(self.dtype)
        after = self.extent(order.grid).t - first.shape[1]
        return [functional.pad(first, (0, 0, 0, 0, 0, 0, 0, after))]

    def _rotary(self, grid: Grid) -> tuple[Tensor, Tensor]:
        """Cosines and sines of the positions, those of 1.0 as if the clip were of the size it was trained on."""
        config, embeddings = self.network.config, module("models.embeddings")
        patch, height, width = config.patch_size, config.sample_height, config.sample_width
        size = grid.h // patch, grid.w // patch
        settings: dict[str, Any] = {"embed_dim": config.attention_head_dim, "grid_size": size, "device": self.device}
        if config.patch_size_t is not None:
            largest = (height // patch, width // patch)
            settings |= {"crops_coords": None, "grid_type": "slice", "max_size": largest}
            settings |= {"temporal_size": grid.t // config.patch_size_t}
        else:
            crop = module("pipelines.cogvideo.pipeline_cogvideox").get_resize_crop_region_for_grid
            settings |= {"crops_coords": crop(size, width // patch, height // patch), "temporal_size": grid.t}
        rotary: tuple[Tensor, Tensor] = embeddings.get_3d_rotary_pos_embed(**settings)
        return rotary
