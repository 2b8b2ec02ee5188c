"""The families whose sound the audio service decodes: one row each."""

from kino.families import AUDIO, is_published
from kino.registry import Registry
from kino.weights import RANDOM_PRESETS
from services.audio.engine import AudioEngine
from services.audio.families.ltx2 import Ltx2
from services.audio.published import PublishedSound

SOUNDS: dict[str, type[Ltx2]] = {"ltx2": Ltx2}


def open_engine(
    preset: str, version: str, registry: Registry, device: str, runtime: str
) -> AudioEngine | PublishedSound:
    """The engine of a version: of our own network, or of what decodes the sound of a published pipeline."""
    if version not in RANDOM_PRESETS:
        manifest = registry.resolve(AUDIO, version)
        if is_published(manifest):
            return PublishedSound(SOUNDS[manifest.family], manifest, registry, device)
    return AudioEngine(preset, version, registry, device, runtime)
