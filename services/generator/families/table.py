"""The generator's families: one row each."""

from typing import Any

from kino.execution import Execution
from kino.families import is_published
from kino.registry import Registry
from kino.weights import RANDOM_PRESETS
from services.generator.engine import Engine, GeneratorEngine
from services.generator.families.cogvideox import CogVideoX
from services.generator.families.denoiser import Denoiser
from services.generator.families.flux import Flux
from services.generator.families.hunyuan import Hunyuan, HunyuanPicture
from services.generator.families.hunyuan15 import Hunyuan15
from services.generator.families.ltx import Ltx
from services.generator.families.ltx2 import Ltx2
from services.generator.families.mochi import Mochi
from services.generator.families.wan import Wan
from services.generator.published import PublishedEngine

DENOISERS: dict[str, type[Denoiser]] = {
    "cogvideox": CogVideoX,
    "flux": Flux,
    "hunyuan": Hunyuan,
    "hunyuan-i2v": HunyuanPicture,
    "hunyuan15": Hunyuan15,
    "ltx": Ltx,
    "ltx2": Ltx2,
    "mochi": Mochi,
    "wan": Wan,
}


def open_engine(
    preset: str, version: str, registry: Registry, device: str, execution: Execution, adapter_bytes: int
) -> Engine[Any]:
    """The engine of a version: of our own networks, or of a published pipeline's."""
    if version not in RANDOM_PRESETS:
        manifest = registry.resolve("dit", version)
        if is_published(manifest):
            return PublishedEngine(DENOISERS[manifest.family], manifest, registry, device, adapter_bytes, execution)
    execution.check_own()
    return GeneratorEngine(preset, version, registry, device, adapter_bytes)
