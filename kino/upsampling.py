"""From frames to full-HD frames by an upsampler: enlarged, carried along the flow in windows, and cut out again."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from kino import flow
from kino.devices import multiplies_bfloat16
from kino.media import Frames
from kino.models.upsampler import COLOURS, FINEST, LATENT_CHANNELS, TOKEN, Upsampler, UpsamplerConfig, enlarged
from kino.multidiffusion import Axis, Frame, Item, Predict, advance
from kino.shapes import PATCH_SIZE, SPATIAL_COMPRESSION, Size


class Piece(NamedTuple):
    """A finished piece of the work: the windows done, how many there are, and the frame [y x c=3] that came out."""

    step: int
    of: int
    frame: Frames | None = None


@dataclass(frozen=True)
class Plan:
    """How a video is brought to a size: in steps, its latents cut into windows of time, height and width."""

    size: Size
    steps: int
    time: Axis
    space: tuple[Axis, Axis]

    @classmethod
    def of(cls, config: UpsamplerConfig, num_frames: int, size: Size, steps: int) -> "Plan":
        """The plan for so many frames."""
        rows, columns = (
            Axis.of(ceil(side / TOKEN), config.window_tokens, config.overlap_tokens, PATCH_SIZE)
            for side in (size.height, size.width)
        )
        time = Axis.of(num_frames, config.window_frames, config.overlap_frames)
        return cls(size, steps, time, (rows, columns))

    @property
    def num_windows(self) -> int:
        """Windows of all steps."""
        return self.steps * len(self.time.spans) * len(self.space[0].spans) * len(self.space[1].spans)

    @property
    def latent_size(self) -> tuple[int, int]:
        """Height and width in latents."""
        return self.space[0].spans[-1].stop, self.space[1].spans[-1].stop

    def needed_bytes(self, config: UpsamplerConfig) -> int:
        """Most bytes held at once beside the weights: the frames within the steps, a window of time, one of space."""
        height, width = self.latent_size
        window = self.time.spans[0].stop
        held = self.steps * (2 * window + self.time.overlap) + 4 * window
        pixels = window * (config.window_tokens * TOKEN) ** 2
        activations = pixels * (12 * COLOURS + 8 * config.widths[0] // FINEST**2)
        return 4 * (held * LATENT_CHANNELS * height * width + activations)


@torch.inference_mode()
def upsample(network: Upsampler, frames: Iterator[Frames], plan: Plan, seed: int) -> Iterator[Piece]:
    """Yield a piece for each window that is denoised, and one for each frame [y x c=3] that comes out.

    A frame's noise depends on the seed and its place alone, drawn on the CPU alike for every device. Where a device
    multiplies bfloat16 the network does, as it did in training; all that surrounds it is float32.

    Args:
        frames: as many as the plan is for, smaller than its size.
    """
    times = torch.linspace(0, 1, plan.steps + 1)
    items: Iterator[Item] = _started(network, frames, plan, seed)
    for t, after in pairwise(times):
        items = advance(items, plan.time, plan.space, _velocity(network, t), float(after - t))
    done = 0
    for item in items:
        if item is None:
            done += 1
            yield Piece(done, plan.num_windows)
        else:
            yield Piece(done, plan.num_windows, _finished(network, item.x_t, plan.size))


def filled(video: Tensor, size: Size) -> Tensor:
    """Frames [b 3 t y x] enlarged until they fill a size; what is over is cut off evenly on both sides."""
    height, width = video.shape[-2:]
    scale = max(Fraction(size.height, height), Fraction(size.width, width))
    large = enlarged(video, max(size.height, round(scale * height)), max(size.width, round(scale * width)))
    top, left = (large.shape[-2] - size.height) // 2, (large.shape[-1] - size.width) // 2
    return large[..., top : top + size.height, left : left + size.width]


def _started(network: Upsampler, frames: Iterator[Frames], plan: Plan, seed: int) -> Iterator[Frame]:
    """The frames where the flow starts: enlarged, with a little noise."""
    device, noise = network.latent_mean.device, torch.Generator().manual_seed(seed)
    height, width = (SPATIAL_COMPRESSION * side for side in plan.latent_size)
    for frame in frames:
        pixels = torch.tensor(frame, device=device).float() / 127.5 - 1.0
        large = filled(rearrange(pixels, "y x c -> 1 c 1 y x"), plan.size)
        padding = (0, width - plan.size.width, 0, height - plan.size.height, 0, 0)
        condition = network.encode(F.pad(large, padding, mode="replicate"))[0, :, 0]
        start = torch.randn(condition.shape, generator=noise).to(device)
        yield Frame(condition + network.config.start_noise * start, condition)


def _velocity(network: Upsampler, t: Tensor) -> Predict:
    device = network.latent_mean.device
    coarse = torch.autocast(device.type, torch.bfloat16, enabled=multiplies_bfloat16(device))

    def predict(x_t: Tensor, condition: Tensor) -> Tensor:
        now = t.to(device).expand(1)
        with coarse:
            return flow.velocity_to_data(x_t, network(x_t, now, condition), now)

    return predict


def _finished(network: Upsampler, x_t: Tensor, size: Size) -> Frames:
    if not torch.isfinite(x_t).all():
        raise FloatingPointError("the latents are not finite after the last step")
    picture = network.decode(x_t[None, :, None])[0, :, 0, : size.height, : size.width]
    pixels = ((picture.clamp(-1, 1) + 1.0) * 127.5).round().to(torch.uint8)
    return rearrange(pixels, "c y x -> y x c").cpu().numpy()
