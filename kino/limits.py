"""What the generators of each row of sizes may be asked for, and what they make when not told otherwise.

Apart from the networks, so that a command can refuse an order before anything that computes is imported.
"""

from dataclasses import dataclass
from fractions import Fraction
from functools import partial

from kino.shapes import (
    ASPECTS,
    FULL_HD,
    PATCH_SIZE,
    SPATIAL_COMPRESSION,
    TEMPORAL_COMPRESSION,
    Clips,
    Size,
    size_for_aspect,
)
from kino.v1 import info_pb2
from kino.validate import MAX_PROMPT_BYTES

MAX_STEPS = 1000
MAX_LINEAR_STEPS = 10_000
MAX_GUIDANCE = 30.0
MIN_FPS, MAX_FPS = 1, 60


@dataclass(frozen=True)
class VideoLimits:
    """What a generator row may be asked for, and what it makes when not told otherwise.

    Args:
        pixels: side of the square whose area every aspect keeps.
        max_pixels: `pixels` of the largest clips.
        max_frames: longest clip.
        frame_rates: frame rates in frames per second that the row was made for.
    """

    pixels: int
    max_pixels: int
    max_frames: int
    frame_rates: tuple[int, ...]
    frames: int
    fps: int

    @property
    def max_side(self) -> int:
        """Longest side of a clip in pixels: the longest of any aspect."""
        return max(max(size.height, size.width) for size in self._largest_sizes)

    @property
    def max_area(self) -> int:
        """Most pixels of a frame: those of the aspect whose rounding adds most."""
        return max(size.height * size.width for size in self._largest_sizes)

    @property
    def _largest_sizes(self) -> list[Size]:
        return [size_for_aspect(aspect, self.max_pixels) for aspect in ASPECTS]

    def clips(self, channels: int) -> Clips:
        """The clips of the row, whose latents have so many channels, with its bounds."""
        return Clips(
            channels=channels,
            temporal=TEMPORAL_COMPRESSION,
            first=TEMPORAL_COMPRESSION,
            spatial=SPATIAL_COMPRESSION,
            multiple=SPATIAL_COMPRESSION * PATCH_SIZE,
            frames=self.frames,
            height=self.pixels,
            width=self.pixels,
            fps=self.fps,
            max_frames=self.max_frames,
            max_side=self.max_side,
            max_area=self.max_area,
        )


@dataclass(frozen=True)
class SamplerDefaults:
    """Sampling when a request does not say: Euler steps, the linear schedule they follow, and the guidance scale."""

    steps: int
    linear_steps: int
    guidance: float


_PAPER = VideoLimits(768, 768, 256, (16, 24), 256, 16)
VIDEO: dict[str, VideoLimits] = {
    "nano": VideoLimits(32, 64, 256, (8, 12, 16, 24), 16, 16),
    "mini": VideoLimits(96, 128, 256, (16,), 32, 16),
    "1b": _PAPER,
    "5b": _PAPER,
    "30b": _PAPER,
}
_PAPER_SAMPLER = SamplerDefaults(50, 1000, 7.5)
SAMPLERS: dict[str, SamplerDefaults] = {
    "nano": SamplerDefaults(8, 200, 2.0),
    "mini": SamplerDefaults(50, 1000, 5.0),
    "1b": _PAPER_SAMPLER,
    "5b": _PAPER_SAMPLER,
    "30b": _PAPER_SAMPLER,
}
PEOPLE_SAMPLERS = SAMPLERS | {"mini": SamplerDefaults(50, 1000, 4.0)}
"""How a personalizer row samples; of `mini` likeness depends little on the guidance (`training.likeness`)."""


@dataclass(frozen=True)
class Defaults:
    """How a generator of any family samples when a request does not say.

    Args:
        linear_steps: None where the scheduler is the model's own.
        guidance: None where the model was distilled to need none.
        reads_fps: whether it is told the frame rate beside the text.
    """

    steps: int
    linear_steps: int | None
    guidance: float | None
    reads_fps: bool = False


@dataclass(frozen=True)
class SoundLimits:
    """What an audio row may be asked for, and what it makes when not told otherwise.

    Args:
        seconds: length of a sound without a video.
        max_seconds: of the longest sound, with a video or without.
        sampler: its schedule is uniform unless a request says otherwise.
    """

    seconds: float
    max_seconds: int
    sampler: SamplerDefaults


MIN_SOUND_SECONDS = 0.1
MIN_SOUND_FRAMES = 2
MIN_SOUND_FPS, MAX_SOUND_FPS = Fraction(1, 10), 1000
MAX_SOUND_FRAMES = 72_000
"""Of a video to be heard: ten minutes at 120 frames per second."""
# The paper: windows of 30 s, midpoint with 64 steps, guidance 3 (Movie Gen, section 6.2); 128 Euler steps cost as much.
_PAPER_SOUND = SoundLimits(10.0, 600, SamplerDefaults(128, 128, 3.0))
SOUND: dict[str, SoundLimits] = {
    "nano": SoundLimits(2.0, 600, SamplerDefaults(4, 4, 2.0)),
    "mini": SoundLimits(4.0, 600, SamplerDefaults(24, 24, 3.0)),
    "1b": _PAPER_SOUND,
    "5b": _PAPER_SOUND,
    "30b": _PAPER_SOUND,
}


@dataclass(frozen=True)
class EditLimits:
    """How an editor row samples when not told otherwise, and what it takes.

    Args:
        source_guidance: how closely to keep to a video; 1 is no more than the network does by itself.
        picture_guidance: how closely to keep to a picture that a video begins with.
        aspects: that it was trained on; a video to be edited is stretched to the nearest of them.
    """

    sampler: SamplerDefaults
    source_guidance: float = 1.0
    picture_guidance: float = 1.0
    aspects: tuple[str, ...] = tuple(ASPECTS)


EDITS: dict[str, EditLimits] = {
    "nano": EditLimits(SAMPLERS["nano"]),
    "mini": EditLimits(SamplerDefaults(24, 200, 4.0), picture_guidance=2.0, aspects=("1:1",)),
    "1b": EditLimits(_PAPER_SAMPLER),
    "5b": EditLimits(_PAPER_SAMPLER),
    "30b": EditLimits(_PAPER_SAMPLER),
}


MAX_UPSAMPLED_FRAMES = 2048
"""Of a video to be brought to full HD: more than two minutes at 16 frames per second."""
MIN_UPSAMPLED_SIDE = 16
MAX_UPSAMPLER_STEPS = 50
UPSAMPLER_STEPS = {"nano": 2, "mini": 1, **dict.fromkeys(("1b", "5b", "30b"), 20)}  # 20: Movie Gen, section 3.1.6


def clip_limits(preset: str) -> info_pb2.Limits:
    """Return the clips that a preset takes, as its TAE says on the wire."""
    video, multiple = VIDEO[preset], SPATIAL_COMPRESSION * PATCH_SIZE
    sides = info_pb2.IntRange(minimum=multiple, maximum=video.max_side, default_value=video.pixels)
    limits = info_pb2.Limits(
        frames=info_pb2.IntRange(minimum=1, maximum=video.max_frames, default_value=video.frames),
        height=sides,
        width=sides,
        size_multiple=multiple,
        fps=info_pb2.FloatRange(minimum=MIN_FPS, maximum=MAX_FPS, default_value=video.fps),
    )
    for aspect in ASPECTS:
        size = size_for_aspect(aspect, video.pixels)
        limits.aspects.append(
            info_pb2.AspectSize(aspect=aspect, size=info_pb2.Size(height=size.height, width=size.width))
        )
    return limits


def generator_limits(preset: str) -> info_pb2.Limits:
    """Return the clips and the sampling that a preset takes, as its generator says on the wire."""
    limits = clip_limits(preset)
    limits.ClearField("fps")
    limits.MergeFrom(_sampling_limits(SAMPLERS[preset]))
    return limits


def personalizer_limits(preset: str) -> info_pb2.Limits:
    """Return the clips and the sampling that a preset takes, as its personalizer says on the wire."""
    limits = generator_limits(preset)
    limits.MergeFrom(_sampling_limits(PEOPLE_SAMPLERS[preset]))
    return limits


def limits_of(clips: Clips, sampling: Defaults | None = None) -> info_pb2.Limits:
    """Return the clips that a model of any family takes, and how it samples where it does, as its service says it."""
    side = partial(info_pb2.IntRange, minimum=clips.multiple, maximum=clips.max_side)
    limits = info_pb2.Limits(
        frames=info_pb2.IntRange(minimum=1, maximum=clips.max_frames, default_value=clips.frames),
        size_multiple=clips.multiple,
        fps=info_pb2.FloatRange(minimum=MIN_FPS, maximum=MAX_FPS, default_value=clips.fps),
        height=side(default_value=clips.height),
        width=side(default_value=clips.width),
    )
    for aspect, size in clips.sizes.items():
        limits.aspects.add(aspect=aspect, size=info_pb2.Size(height=size.height, width=size.width))
    if sampling is None:
        return limits
    if not sampling.reads_fps:
        limits.ClearField("fps")
    limits.steps.CopyFrom(info_pb2.IntRange(minimum=1, maximum=MAX_STEPS, default_value=sampling.steps))
    if sampling.linear_steps is not None:
        steps = info_pb2.IntRange(minimum=1, maximum=MAX_LINEAR_STEPS, default_value=sampling.linear_steps)
        limits.linear_steps.CopyFrom(steps)
    if sampling.guidance is not None:
        guidance = info_pb2.FloatRange(minimum=1, maximum=MAX_GUIDANCE, default_value=sampling.guidance)
        limits.guidance.CopyFrom(guidance)
    return limits


def editor_limits(preset: str) -> info_pb2.Limits:
    """Return the videos, instructions and sampling that a preset takes, as its editor says on the wire."""
    limits, edits, video = clip_limits(preset), EDITS[preset], VIDEO[preset]
    limits.MergeFrom(_sampling_limits(edits.sampler))
    trained = [entry for entry in limits.aspects if entry.aspect in edits.aspects]
    del limits.aspects[:]
    limits.aspects.extend(trained)
    limits.prompt_bytes.CopyFrom(info_pb2.IntRange(minimum=1, maximum=MAX_PROMPT_BYTES))
    limits.seconds.CopyFrom(info_pb2.FloatRange(maximum=video.max_frames / video.fps))
    for field, default in (
        (limits.source_guidance, edits.source_guidance),
        (limits.picture_guidance, edits.picture_guidance),
    ):
        field.CopyFrom(info_pb2.FloatRange(minimum=1, maximum=MAX_GUIDANCE, default_value=default))
    return limits


def sound_limits(preset: str) -> info_pb2.Limits:
    """Return the videos, lengths and sampling that a preset takes, as its audio service says on the wire."""
    sound = SOUND[preset]
    limits = _sampling_limits(sound.sampler)
    limits.prompt_bytes.CopyFrom(info_pb2.IntRange(minimum=0, maximum=MAX_PROMPT_BYTES))
    limits.frames.CopyFrom(info_pb2.IntRange(minimum=MIN_SOUND_FRAMES, maximum=MAX_SOUND_FRAMES))
    limits.fps.CopyFrom(info_pb2.FloatRange(minimum=float(MIN_SOUND_FPS), maximum=MAX_SOUND_FPS))
    seconds = info_pb2.FloatRange(minimum=MIN_SOUND_SECONDS, maximum=sound.max_seconds, default_value=sound.seconds)
    limits.seconds.CopyFrom(seconds)
    return limits


def upsampler_limits(preset: str) -> info_pb2.Limits:
    """Return the videos and the sampling that a preset takes, as its upsampler says on the wire."""
    sides = info_pb2.IntRange(minimum=MIN_UPSAMPLED_SIDE, maximum=FULL_HD.width)
    steps = info_pb2.IntRange(minimum=1, maximum=MAX_UPSAMPLER_STEPS, default_value=UPSAMPLER_STEPS[preset])
    frames = info_pb2.IntRange(minimum=1, maximum=MAX_UPSAMPLED_FRAMES)
    return info_pb2.Limits(frames=frames, height=sides, width=sides, steps=steps)


def _sampling_limits(sampler: SamplerDefaults) -> info_pb2.Limits:
    return info_pb2.Limits(
        steps=info_pb2.IntRange(minimum=1, maximum=MAX_STEPS, default_value=sampler.steps),
        linear_steps=info_pb2.IntRange(minimum=1, maximum=MAX_LINEAR_STEPS, default_value=sampler.linear_steps),
        guidance=info_pb2.FloatRange(minimum=1, maximum=MAX_GUIDANCE, default_value=sampler.guidance),
    )
