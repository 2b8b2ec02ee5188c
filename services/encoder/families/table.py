"""The encoder's families: one row each."""

from kino.execution import Execution
from kino.families import TOWERS, is_published
from kino.registry import Registry
from kino.weights import RANDOM_PRESETS
from services.encoder.engine import EncoderEngine, Engine
from services.encoder.families.flux import Flux
from services.encoder.families.hunyuan import Hunyuan, HunyuanPicture
from services.encoder.families.hunyuan15 import Hunyuan15
from services.encoder.families.ltx2 import Ltx2
from services.encoder.families.t5 import CogVideoX, Ltx, Mochi, Wan
from services.encoder.families.text import Texts
from services.encoder.published import PublishedEncoder

TEXTS: dict[str, type[Texts]] = {
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
    preset: str, version: str, registry: Registry, device: str, runtime: str, execution: Execution
) -> Engine:
    """The engine of a version: of our own towers, or of a published pipeline's, which compute by torch."""
    names = () if version in RANDOM_PRESETS else (*registry.versions(TOWERS), *registry.aliases(TOWERS))
    if version in names:
        manifest = registry.resolve(TOWERS, version)
        if is_published(manifest):
            return PublishedEncoder(TEXTS[manifest.family], manifest, registry, device, execution)
    execution.check_own()
    return EncoderEngine(preset, version, registry, device, runtime)
