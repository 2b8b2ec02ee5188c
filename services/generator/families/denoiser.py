"""What a family's transformer offers: a prediction of noise or velocity from latents, a time and texts."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
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
    """What is to be denoised under.

    Args:
        prompt: rows [1 n d] of the text by tower.
        negative: rows of what guidance moves away from; None where there is no such guidance.
        guidance: its scale.
        grid: latent extent of the clip.
        fps: frames per second that the clip is meant for.
        picture: latents [1 c t h w] of the picture that the clip begins with, if any.
        sound: shape of the latents of the clip's sound; empty where it comes without.
        levels: of noise by time, where the family asks for them.
    """

    prompt: Mapping[str, Tensor]
    negative: Mapping[str, Tensor] | None
    guidance: float
    grid: Grid
    fps: float
    picture: Tensor | None = None
    sound: tuple[int, ...] = ()
    levels: Mapping[float, Tensor] = field(default_factory=dict)

    @property
    def texts(self) -> list[Mapping[str, Tensor]]:
        """The negative text where there is one, and the prompt."""
        return [self.prompt] if self.negative is None else [self.negative, self.prompt]


class Denoiser(ABC):
    """The transformer of a published pipeline on one device.

    Latents are in the order of axes in which the family's own pipeline keeps them; `arrange` and `restore` translate.
    """

    embeds_guidance = False
    """Whether the network reads the scale of guidance, and so needs no second text."""
    reads_fps = False
    """Whether the network is told the frame rate of the clip."""
    batches_texts = True
    """Whether both texts go through the network at once."""
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

    @property
    def dtype(self) -> torch.dtype:
        """Type of the numbers that the network takes."""
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
        rows = sum(text.shape[1] for text in order.prompt.values())
        heard = order.sound[1] if order.sound else 0
        return step_bytes(self.network.config, self.extent(order.grid), batch, rows, self.dtype.itemsize, heard)

    def picture_shape(self, grid: Grid) -> tuple[int, ...]:
        """Shape of the latents of the picture that a clip begins with."""
        return self.clips.channels, grid.t if self.reads_picture.clip else 1, grid.h, grid.w

    @abstractmethod
    def predictor(self, order: Order) -> Predict:
        """What predicts under an order."""

    def rows(self, texts: list[Mapping[str, Tensor]], tower: str) -> tuple[Tensor, Tensor]:
        """The rows [b n d] of texts by one tower, zeros where a text has fewer than it may, and which are there."""
        most, width = self.settings.texts[tower]
        padded = torch.zeros(len(texts), most, width, dtype=self.dtype, device=self.device)
        there = torch.zeros(len(texts), most, dtype=torch.bool, device=self.device)
        for index, text in enumerate(texts):
            count = text[tower].shape[1]
            padded[index, :count] = text[tower][0].to(self.dtype)
            there[index, :count] = True
        return padded, there


def guide(both: Tensor, guidance: float) -> Tensor:
    """Classifier-free guidance of predictions [2 ...], the negative one first; a single one is left alone."""
    if len(both) == 1:
        return both
    negative, positive = both.chunk(2)
    return negative + guidance * (positive - negative)


def shift_of_length(config: Mapping[str, Any], length: int) -> float:
    """How far a scheduler shifts its times for so many tokens: linear between the two lengths of its settings."""
    short, long = config.get("base_image_seq_len", 256), config.get("max_image_seq_len", 4096)
    low, high = config.get("base_shift", 0.5), config.get("max_shift", 1.15)
    slope = (high - low) / (long - short)
    return float(length * slope + (low - slope * short))
