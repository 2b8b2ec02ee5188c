"""Brings videos to full HD: frames in, windows of them carried along the flow, frames out."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from kino.devices import reserve
from kino.footage import iter_frames
from kino.limits import MAX_UPSAMPLED_FRAMES, MAX_UPSAMPLER_STEPS, MIN_UPSAMPLED_SIDE, UPSAMPLER_STEPS
from kino.media import Frames, Limits, Source
from kino.models.upsampler import Upsampler
from kino.presets import PRESETS, Preset
from kino.registry import Registry
from kino.shapes import FULL_HD, Size, full_hd
from kino.upsampling import Piece, Plan, upsample
from kino.validate import MAX_SEED
from kino.weights import open_network


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

    def upsample(self, task: Task) -> Iterator[Piece]:
        """Check a task, and return the iterator that does one piece of the work for each item.

        A piece is a window denoised by one step, or a frame that comes out. Dropping the iterator ends the computation.

        Raises:
            ValueError: a bound is broken; field, value and bound are named. What is wrong with the video may only be
                found while it is read.
            MemoryError: the device has no room for a task of this size.
        """
        plan = self.plan(task)
        reserve(plan.needed_bytes(self.config), self.device, f"a video of {plan.size.width}x{plan.size.height}")
        return upsample(self.network, _frames(task.video), plan, task.seed)

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
        return Plan.of(self.config, video.num_frames, _size(task), steps)


def _frames(video: Video) -> Iterator[Frames]:
    """The frames [y x c=3] of a video, as many as it promises."""
    count = 0
    for (frame,) in iter_frames(video.source, 1, video.limits):
        count += 1
        yield frame
    if count != video.num_frames:
        raise ValueError(f"video is of {count} frames, must be of the {video.num_frames} it promises")


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
