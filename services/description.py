"""What services say of themselves in the same words: the part, and the clips that its preset takes."""

from importlib.metadata import version

from kino.manifest import Manifest
from kino.presets import VideoLimits
from kino.shapes import ASPECTS, PATCH_SIZE, SPATIAL_COMPRESSION, TEMPORAL_COMPRESSION, size_for_aspect
from kino.v1.info_pb2 import AspectSize, Info, IntRange, LatentSpace, Limits, Size
from kino.validate import MAX_PROMPT_BYTES


def part(component: str, manifest: Manifest, device: str) -> Info:
    """Return a part that is ready, without its spaces and limits."""
    return Info(
        component=component,
        version=manifest.version,
        digest=manifest.digest,
        family=manifest.family,
        preset=manifest.preset,
        device=device,
        ready=True,
        software=version("kino"),
    )


def latent_space(digest: str, channels: int) -> LatentSpace:
    """Return the latent space of a digest."""
    return LatentSpace(
        digest=digest, channels=channels, temporal_factor=TEMPORAL_COMPRESSION, spatial_factor=SPATIAL_COMPRESSION
    )


def video_limits(video: VideoLimits, queue: int) -> Limits:
    """Return the clips that a preset takes, and how many calls may wait."""
    multiple = SPATIAL_COMPRESSION * PATCH_SIZE
    sides = IntRange(minimum=multiple, maximum=video.max_side, default_value=video.pixels)
    limits = Limits(
        frames=IntRange(minimum=1, maximum=video.max_frames, default_value=video.frames),
        height=sides,
        width=sides,
        size_multiple=multiple,
        queue=IntRange(minimum=0, maximum=queue, default_value=queue),
    )
    for aspect in ASPECTS:
        size = size_for_aspect(aspect, video.pixels)
        limits.aspects.append(AspectSize(aspect=aspect, size=Size(height=size.height, width=size.width)))
    return limits


def text_limits(queue: int) -> Limits:
    """Return the prompts that are taken, and how many calls may wait."""
    return Limits(
        prompt_bytes=IntRange(minimum=1, maximum=MAX_PROMPT_BYTES),
        queue=IntRange(minimum=0, maximum=queue, default_value=queue),
    )
