"""Where a published version comes from: a digest of the data that its run saw, and the run that it went on from."""

import hashlib
import json
import tempfile
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from kino import weights
from kino.manifest import Parent
from kino.registry import WEIGHTS_FILE, Registry
from training import checkpoint
from training.objectives import wishes
from training.published import prefix_of, version_of
from training.recipe import Recipe
from training.recipes import RECIPES
from training.world import scene

_WISHES = Path(wishes.__file__).with_suffix(".toml")
_WORLD = {
    "objects": scene.OBJECTS,
    "characters": scene.CHARACTERS,
    "colours": scene.COLOURS,
    "motions": scene.MOTIONS,
    "places": scene.PLACES,
    "cameras": scene.CAMERAS + scene.TILTS,
    "relations": scene.RELATIONS,
    "styles": scene.STYLES,
    "people": (scene.SKINS, scene.HAIR_COLOURS, scene.HAIR_CUTS),
}
_NOT_DATA = frozenset(
    ["preset", "start", "pruned", "layers", "decoder_layers", "align_layer", "latent_noise", "outlier_deviations"]
)
"""Settings that say how to learn, besides all that end in "_weight"; any other says what is learned from."""


def data_digest(recipe: Recipe) -> str:
    """SHA-256 of what a run is trained on: the world's words, the seed, and the settings that choose and mix its data.

    It is of parameters and not of code or pixels: whoever has the recipe gets the same digest, on any machine.
    """
    chosen = {name: value for name, value in _plain(recipe.settings).items() if _is_data(name)}
    said = {"world": _plain(_WORLD), "seed": recipe.seed, "data": chosen}
    if recipe.component == "rewriter":
        said["words"] = hashlib.sha256(_WISHES.read_bytes()).hexdigest()
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def published_state(recipe: Recipe, runs: Path) -> dict[str, Tensor]:
    """Averaged weights of a run's component; the parts that only training needs are left out."""
    prefix = prefix_of(recipe.component)
    state: dict[str, Tensor] = checkpoint.load(runs / recipe.name)["average"]
    return {name.removeprefix(prefix): part for name, part in state.items() if name.startswith(prefix)}


def parent_of(recipe: Recipe, runs: Path, registry: Registry) -> Parent:
    """The run that a recipe went on from, and the version it was published as, if it was."""
    start = RECIPES.get(recipe.start)
    if start is None:
        return Parent()
    if not (runs / start.name / checkpoint.FILE_NAME).exists():
        version = version_of(start.name, registry)
        assert version is not None, f"{recipe.name} was trained without {start.name}"
        return Parent(start.component, version.version, start.name, version.digests[WEIGHTS_FILE])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / WEIGHTS_FILE
        weights.save_state(path, published_state(start, runs), start.storage)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    versions = registry.manifests(start.component)
    name = next((manifest.version for manifest in versions if manifest.digests.get(WEIGHTS_FILE) == digest), "")
    return Parent(start.component, name, start.name, digest)


def _is_data(name: str) -> bool:
    return name not in _NOT_DATA and not name.endswith("_weight")


def _plain(value: Any) -> Any:
    """Settings as JSON knows them, each record with the name of its kind."""
    if is_dataclass(value) and not isinstance(value, type):
        return {"kind": type(value).__name__} | {item.name: _plain(getattr(value, item.name)) for item in fields(value)}
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, tuple) else value
