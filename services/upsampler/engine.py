"""Brings videos to full HD: frames in, windows of them carried along the flow, frames out."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from math import ceil

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from kino import flow
from kino.devices import reserve
from kino.footage import iter_frames
from kino.limits import MAX_UPSAMPLED_FRAMES, MAX_UPSAMPLER_STEPS, MIN_UPSAMPLED_SIDE, UPSAMPLER_STEPS
from kino.media import Frames, Limits, Source
from kino.models.upsampler import LATENT_CHANNELS, Upsampler, enlarged
from kino.presets import PRESETS, Preset
from kino.registry import Registry
from kino.shapes import FULL_HD, PATCH_SIZE, SPATIAL_COMPRESSION, Size, full_hd
from kino.validate import MAX_SEED
from kino.weights import open_network
from services.upsampler.windows import Axis, Frame, Item, Predict, advance

TOKEN = SPATIAL_COMPRESSION * PATCH_SIZE


@dataclass(frozen=True)
class Video:
    """A video to be enlarged, as `kino.footage.probe` tells it; its file is read under `limits`."""

    source: Source
    num_frames: int
    height: int
    width: int
    limits: Limits


@dataclass(frozen=True)
class Task:
    """What to bring to which size. What is None is full HD of the video's aspect, or the preset's own value."""

    video: Video
    seed: int
    size: Size | None = None
    steps: int | None = None


@dataclass(frozen=True)
class Stage:
    """A finished piece of the work: its number, how many there are, and the frames [t h w c=3] that came out."""

    step: int
    of: int
    frames: Frames | None = None


@dataclass(frozen=True)
class Plan:
    """A checked task: its size, its steps, and how the latents are cut into windows of time, height and width."""

    size: Size
    steps: int
    time: Axis
    space: tuple[Axis, Axis]

    @property
    def num_windows(self) -> int:
        """Windows of all steps."""
        return self.steps * len(self.time.spans) * len(self.space[0].spans) * len(self.space[1].spans)

    @property
    def latent_size(self) -> tuple[int, int]:
        """Height and width in latents."""
        return self.space[0].spans[-1].stop, self.space[1].spans[-1].stop


class UpsamplerEngine:
    """An upsampler on one device.

    A frame's noise depends on the seed and its place alone, and no two tasks share a batch, so a result depends on its
    task alone, bit for bit.

    Args:
        preset: name of the row; one of random weights needs no registry.
        version: model version or alias in the registry.
        device: as torch names it.

    Raises:
        ValueError: as `open_network`, or the row has no upsampler of ours.
    """

    def __init__(self, preset: str, version: str, registry: Registry, device: str = "cpu") -> None:
        config = PRESETS[preset].upsampler
        if config is None:
            raise ValueError(f"preset is {preset!r}, must be one whose upsampler is ours")
        self.device, self.config = torch.device(device), config
        self.preset: Preset
        self.manifest, self.preset, self.network = open_network(
            "upsampler", preset, version, registry, lambda _: Upsampler(config)
        )
        self.network.to(self.device)

    def upsample(self, task: Task) -> Iterator[Stage]:
        """Check a task, and return the iterator that does one piece of the work for each item.

        A piece is a window denoised by one step, or a frame that comes out. Dropping the iterator ends the computation.

        Raises:
            ValueError: a bound is broken; field, value and bound are named. What is wrong with the video may only be
                found while it is read.
            MemoryError: the device has no room for a task of this size.
        """
        plan = self.plan(task)
        reserve(self._needed_bytes(plan), self.device, f"a video of {plan.size.width}x{plan.size.height}")
        return self._upsample(task, plan)

    def plan(self, task: Task) -> Plan:
        """The windows of a task; raises ValueError as `upsample`."""
        video = task.video
        steps = UPSAMPLER_STEPS[self.preset.name] if task.steps is None else task.steps
        for field, value, least, most in (
            ("video.frames", video.num_frames, 1, MAX_UPSAMPLED_FRAMES),
            ("video.height", video.height, MIN_UPSAMPLED_SIDE, FULL_HD.width),
            ("video.width", video.width, MIN_UPSAMPLED_SIDE, FULL_HD.width),
            ("seed", task.seed, 0, MAX_SEED),
            ("steps", steps, 1, MAX_UPSAMPLER_STEPS),
        ):
            if not least <= value <= most:
                raise ValueError(f"{field} is {value}, must be from {least} to {most}")
        size, config = _size(task), self.config
        rows, columns = (
            Axis.of(ceil(side / TOKEN), config.window_tokens, config.overlap_tokens, PATCH_SIZE)
            for side in (size.height, size.width)
        )
        time = Axis.of(video.num_frames, config.window_frames, config.overlap_frames)
        return Plan(size, steps, time, (rows, columns))

    @torch.inference_mode()
    def _upsample(self, task: Task, plan: Plan) -> Iterator[Stage]:
        times = torch.linspace(0, 1, plan.steps + 1)
        items: Iterator[Item] = self._started(task, plan)
        for t, after in pairwise(times):
            items = advance(items, plan.time, plan.space, self._velocity(t), float(after - t))
        done = 0
        for item in items:
            if item is None:
                done += 1
                yield Stage(done, plan.num_windows)
            else:
                yield Stage(done, plan.num_windows, self._finished(item.x_t, plan.size))

    def _started(self, task: Task, plan: Plan) -> Iterator[Frame]:
        """The frames where the flow starts: enlarged, with a little noise, drawn on the CPU alike for every device."""
        noise, count = torch.Generator().manual_seed(task.seed), 0
        height, width = (SPATIAL_COMPRESSION * side for side in plan.latent_size)
        for (frame,) in iter_frames(task.video.source, 1, task.video.limits):
            count += 1
            pixels = torch.tensor(frame, device=self.device).float() / 127.5 - 1.0
            large = filled(rearrange(pixels, "y x c -> 1 c 1 y x"), plan.size)
            padding = (0, width - plan.size.width, 0, height - plan.size.height, 0, 0)
            condition = self.network.encode(F.pad(large, padding, mode="replicate"))[0, :, 0]
            start = torch.randn(condition.shape, generator=noise).to(self.device)
            yield Frame(condition + self.config.start_noise * start, condition)
        if count != task.video.num_frames:
            raise ValueError(f"video is of {count} frames, must be of the {task.video.num_frames} it promises")

    def _velocity(self, t: Tensor) -> Predict:
        def predict(x_t: Tensor, condition: Tensor) -> Tensor:
            now = t.to(self.device).expand(1)
            return flow.velocity_to_data(x_t, self.network(x_t, now, condition), now)

        return predict

    def _finished(self, x_t: Tensor, size: Size) -> Frames:
        if not torch.isfinite(x_t).all():
            raise FloatingPointError("the latents are not finite after the last step")
        video = self.network.decode(x_t[None, :, None])[0, :, :, : size.height, : size.width]
        pixels = ((video.clamp(-1, 1) + 1.0) * 127.5).round().to(torch.uint8)
        return rearrange(pixels, "c t y x -> t y x c").cpu().numpy()

    def _needed_bytes(self, plan: Plan) -> int:
        """Most bytes held at once beside the weights: the frames within the steps, a window of time, one of space."""
        height, width = plan.latent_size
        frame = LATENT_CHANNELS * height * width
        window = plan.time.spans[0].stop
        held = plan.steps * (2 * window + plan.time.overlap) + 4 * window
        tokens = window * self.config.window_tokens**2
        activations = tokens * (6 * PATCH_SIZE**2 * LATENT_CHANNELS + 4 * self.config.width + 2 * self.config.hidden)
        return 4 * (held * frame + activations)


def filled(video: Tensor, size: Size) -> Tensor:
    """Frames [b 3 t y x] enlarged until they fill a size; what is over is cut off evenly on both sides."""
    height, width = video.shape[-2:]
    scale = max(Fraction(size.height, height), Fraction(size.width, width))
    large = enlarged(video, max(size.height, round(scale * height)), max(size.width, round(scale * width)))
    top, left = (large.shape[-2] - size.height) // 2, (large.shape[-1] - size.width) // 2
    return large[..., top : top + size.height, left : left + size.width]


def _size(task: Task) -> Size:
    """The size of the result, which is not smaller than the video."""
    video, size = task.video, task.size
    own = full_hd(video.height, video.width)
    if size is None:
        size = own
    sides = min(size.height, size.width), max(size.height, size.width)
    for field, value in (("size.height", size.height), ("size.width", size.width)):
        if value < 2 or value % 2:
            raise ValueError(f"{field} is {value}, must be even and at least 2")
    if sides[0] > FULL_HD.height or sides[1] > FULL_HD.width:
        raise ValueError(f"size is {size.width}x{size.height}, must be within {FULL_HD.width}x{FULL_HD.height}")
    if video.height >= size.height or video.width >= size.width:
        raise ValueError(
            f"video is {video.width}x{video.height}, must be smaller than the {size.width}x{size.height} it is "
            "brought to"
        )
    return size
