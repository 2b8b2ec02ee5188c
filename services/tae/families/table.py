"""The TAE's families: one row each."""

from kino.families import is_published
from kino.registry import Registry
from kino.weights import RANDOM_PRESETS
from services.tae.engine import Engine, TaeEngine
from services.tae.families.autoencoder import Autoencoder, Scaled
from services.tae.families.cogvideox import CogVideoX
from services.tae.families.flux import Flux
from services.tae.families.hunyuan import Hunyuan
from services.tae.families.ltx import Ltx
from services.tae.families.mochi import Mochi
from services.tae.families.wan import Wan
from services.tae.published import PublishedTae

AUTOENCODERS: dict[str, type[Autoencoder]] = {
    "cogvideox": CogVideoX,
    "flux": Flux,
    "hunyuan": Hunyuan,
    "hunyuan-i2v": Hunyuan,
    "hunyuan15": Scaled,
    "ltx": Ltx,
    "ltx2": Ltx,
    "mochi": Mochi,
    "wan": Wan,
}


def open_engine(preset: str, version: str, registry: Registry, device: str, runtime: str, tiled: bool) -> Engine:
    """The engine of a version: of our own network, or of a published pipeline's, which computes by torch.

    Raises:
        ValueError: tiles are asked of our own, which has tiles of time anyway.
    """
    if version not in RANDOM_PRESETS:
        manifest = registry.resolve("tae", version)
        if is_published(manifest):
            return PublishedTae(AUTOENCODERS[manifest.family], manifest, registry, device, tiled)
    if tiled:
        raise ValueError("tiled is true, must be left out: it is for published models alone")
    return TaeEngine(preset, version, registry, device, runtime)
