"""What services say of themselves in the same words."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from importlib.metadata import version

from kino.manifest import Manifest
from kino.shapes import SPATIAL_COMPRESSION, TEMPORAL_COMPRESSION, SoundLatents
from kino.v1.info_pb2 import Ability, Info, IntRange, LatentSpace, Limits, SoundSpace, TextSpace
from kino.validate import MAX_PROMPT_BYTES


def part(component: str, manifest: Manifest, device: str, runtime: str = "torch") -> Info:
    """Return a part that is ready, without its spaces and limits."""
    return Info(
        component=component,
        version=manifest.version,
        digest=manifest.digest,
        family=manifest.family,
        preset=manifest.preset,
        device=device,
        runtime=runtime,
        ready=True,
        software=version("kino"),
    )


def latent_space(
    digest: str, channels: int, temporal: int = TEMPORAL_COMPRESSION, spatial: int = SPATIAL_COMPRESSION
) -> LatentSpace:
    """Return the latent space of a digest, its factors our own autoencoder's unless told otherwise."""
    return LatentSpace(digest=digest, channels=channels, temporal_factor=temporal, spatial_factor=spatial)


def sound_space(digest: str, sound: SoundLatents) -> SoundSpace:
    """Return the space of a digest that the sound of videos is made in."""
    return SoundSpace(digest=digest, **asdict(sound))


def text_spaces(digests: Mapping[str, str], shapes: Mapping[str, tuple[int, int]]) -> list[TextSpace]:
    """Return the text spaces that a model reads, by the digests of its towers, their most rows and widths."""
    return [
        TextSpace(tower=name, digest=digests[name], width=width, max_tokens=max_rows)
        for name, (max_rows, width) in shapes.items()
    ]


def abilities(names: Iterable[str]) -> list["Ability.ValueType"]:
    """Return what a part makes, by the names of `kino.family`."""
    return [Ability.Value(f"ABILITY_{name.upper().replace(' ', '_')}") for name in names]


def text_limits(queue: int) -> Limits:
    """Return the prompts that are taken, and how many calls may wait."""
    return Limits(prompt_bytes=IntRange(minimum=1, maximum=MAX_PROMPT_BYTES), queue=queue_limit(queue))


def queue_limit(queue: int) -> IntRange:
    """Return how many calls may wait."""
    return IntRange(minimum=0, maximum=queue, default_value=queue)
