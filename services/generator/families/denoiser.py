"""What a family's transformer offers: a prediction of noise or velocity from latents, a time and texts."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from kino.memory import step_bytes
from kino.parts import Parts
from kino.shapes import Clips, Grid
from services.generator.engine import PictureReading

Predict = Callable[[Tensor, Tensor], Tensor]
"""The guided prediction for latents, both in the family's own order, at a time of the scheduler's, a scalar."""


@dataclass(frozen=True)
class Order:
    """What clips are to be denoised under: one, or several of one shape.

    Args:
        prompts: rows [1 n d] of the text of each clip, by tower.
        negatives: rows of what guidance moves away from; none where there is no such guidance.
        guidance: its scale.
        grid: latent extent of a clip.
        fps: frames per second that a clip is meant for.
        picture: latents [b c t h w] of the picture that each clip begins with, if any.
        sound: shape of the latents of a clip's sound; empty where it comes without.
        levels: of noise by time, where the family asks for them.
    """

    prompts: Sequence[Mapping[str, Tensor]]
    negatives: Sequence[Mapping[str, Tensor]]
    guidance: float
    grid: Grid
    fps: float
    picture: Tensor | None = None
    sound: tuple[int, ...] = ()
    levels: Mapping[float, Tensor] = field(default_factory=dict)

    @property
    def texts(self) -> list[Mapping[str, Tensor]]:
        """The negative texts of all clips where there are any, and the prompts of all."""
        return [*self.negatives, *self.prompts]

    @property
    def sides(self) -> list[Sequence[Mapping[str, Tensor]]]:
        """The same texts apart: negative ones, if any, and prompts."""
        return [texts for texts in (self.negatives, self.prompts) if texts]

    def repeated(self, latents: Tensor) -> Tensor:
        """Latents [b ...], once for each text of every clip."""
        return torch.cat([latents] * len(self.sides))


def joined(orders: Sequence[Order]) -> Order:
    """The orders of clips that differ in texts and pictures alone as one."""
    pictures = [order.picture for order in orders if order.picture is not None]
    return replace(
        orders[0],
        prompts=[text for order in orders for text in order.prompts],
        negatives=[text for order in orders for text in order.negatives],
        picture=torch.cat(pictures) if pictures else None,
    )


class Denoiser(ABC):
    """The transformer of a published pipeline on one device.

    Latents are in the order of axes in which the family's own pipeline keeps them; `arrange` and `restore` translate.
    """

    embeds_guidance = False
    """Whether the network reads the scale of guidance, and so needs no second text."""
    reads_fps = False
    """Whether the network is told the frame rate of the clip."""
    batches_texts = True
    """Whether both texts of a clip go through the network at once."""
    exact_rows: tuple[str, ...] = ("vision",)
    """Towers whose rows the network reads without any that are not there: clips of as many alone fit one batch."""
    whole_rows: tuple[str, ...] = ()
    """Towers of whose texts all rows must be there, since the network does not tell padding from text."""
    predicts: torch.dtype | None = None
    """Type of predictions where it is not the network's own."""

    def __init__(self, parts: Parts, device: torch.device) -> None:
        assert parts.settings.clips is not None
        self.clips: Clips = parts.settings.clips
        self.settings, self.device = parts.settings, device
        self.network: Any = parts.placed("transformer", device)

    @property
    def networks(self) -> dict[str, Any]:
        """Its transformers by the names of their parts."""
        return {"transformer": self.network}

    @cached_property
    def dtype(self) -> torch.dtype:
        """Type of the numbers that the network takes; it looks through all its modules to say so."""
        dtype: torch.dtype = self.network.dtype
        return dtype

    @property
    def reads_picture(self) -> PictureReading:
        """How it reads the picture that a clip begins with, where its pipeline can."""
        return PictureReading()

    @property
    def noise_dtype(self) -> torch.dtype:
        """Type of numbers that noise is drawn in."""
        return torch.float32

    def begin(self, noise: Tensor, order: Order) -> Tensor:
        """What sampling begins at."""
        return noise

    def kept(self, latents: Tensor, order: Order) -> Tensor:
        """Latents at the beginning and after a step, in the numbers that the family's own pipeline keeps them in."""
        return latents

    def finish(self, latents: Tensor, order: Order) -> Tensor:
        """What sampling ends with."""
        return latents

    def extent(self, grid: Grid) -> Grid:
        """The latent extent that is denoised for a clip; frames before the clip's own are cut off in the end."""
        return grid

    def noise(self, order: Order, generator: torch.Generator) -> Tensor:
        """Noise, drawn on the CPU as the family's own pipeline draws it."""
        grid = self.extent(order.grid)
        shape = (1, self.clips.channels, grid.t, grid.h, grid.w)
        return torch.randn(shape, generator=generator, dtype=self.noise_dtype)

    def arrange(self, latents: Tensor, sound: Tensor | None) -> Tensor:
        """Latents [1 c t h w], and those [1 c t m] of their sound if any, in the family's own order."""
        return latents

    def restore(self, latents: Tensor, order: Order) -> tuple[Tensor, Tensor | None]:
        """Latents of the family's own order as [1 c t h w], and those of their sound as [1 c t m], if any."""
        return latents, None

    def set_times(self, scheduler: Any, steps: int, grid: Grid) -> None:
        """Lay out the times of so many steps."""
        scheduler.set_timesteps(steps)

    def levels(self, scheduler: Any) -> Mapping[float, Tensor]:
        """The levels of noise at the times of a scheduler, where predictions are guided as data."""
        return {}

    def needed_bytes(self, order: Order) -> int:
        """Most bytes that a step holds at once beside the weights."""
        batch = len(order.texts) if self.batches_texts else 1
        rows = sum(text.shape[1] for text in order.prompts[0].values())
        heard = order.sound[1] if order.sound else 0
        extent, times_tokens = self.extent(order.grid), self.times_tokens(order)
        config, itemsize = self.network.config, self.dtype.itemsize
        return step_bytes(config, extent, batch, rows, itemsize, heard, times_tokens=times_tokens)

    def times_tokens(self, order: Order) -> bool:
        """Whether each token is told a time of its own."""
        return False

    def picture_shape(self, grid: Grid) -> tuple[int, ...]:
        """Shape of the latents of the picture that a clip begins with."""
        return self.clips.channels, grid.t if self.reads_picture.clip else 1, grid.h, grid.w

    @abstractmethod
    def predictor(self, order: Order) -> Predict:
        """What predicts under an order."""

    def exact(self, texts: Sequence[Mapping[str, Tensor]], tower: str) -> Tensor:
        """The rows [b n d] of texts that have as many of one tower."""
        return torch.cat([text[tower] for text in texts]).to(self.dtype)

    def rows(self, texts: Sequence[Mapping[str, Tensor]], tower: str) -> tuple[Tensor, Tensor]:
        """The rows [b n d] of texts by one tower, zeros where a text has fewer than it may, and which are there."""
        most, width = self.settings.texts[tower]
        padded = torch.zeros(len(texts), most, width, dtype=self.dtype, device=self.device)
        there = torch.zeros(len(texts), most, dtype=torch.bool, device=self.device)
        for index, text in enumerate(texts):
            count = text[tower].shape[1]
            padded[index, :count] = text[tower][0].to(self.dtype)
            there[index, :count] = True
        return padded, there


def guide(said: Tensor, order: Order) -> Tensor:
    """Classifier-free guidance of predictions for all texts of an order; of prompts alone they are left as they are."""
    if not order.negatives:
        return said
    negative, positive = said.chunk(2)
    return negative + order.guidance * (positive - negative)


def shift_of_length(config: Mapping[str, Any], length: int) -> float:
    """How far a scheduler shifts its times for so many tokens: linear between the two lengths of its settings."""
    short, long = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    slope = (high - low) / (long - short)
    return float(length * slope + (low - slope * short))
