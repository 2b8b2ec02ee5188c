"""Published networks that later stages of training stand on: the TAE, the text towers, a generator.

They are those of `$KINO_PARTS` where a registry has such a version of one, so that the stages of one plan stand on each
other; else those that the preset's name stands for.
"""

import os
from pathlib import Path

import torch
from torch import Tensor, nn

from kino import weights
from kino.manifest import Manifest
from kino.models.audio import AudioConfig, AudioDit
from kino.models.codec import Codec, CodecConfig
from kino.models.dit import DiT, DitConfig, Texts
from kino.models.tae import TAE, TaeConfig
from kino.models.text import Tower, TowerConfig
from kino.models.upsampler import Upsampler, UpsamplerConfig
from kino.models.vision import Vision, VisionConfig
from kino.presets import PRESETS
from kino.prompts import encode_prompts, open_tokenizer
from kino.registry import Registry, models_folder
from kino.tokens import Tokenizer
from training import checkpoint

MODELS = models_folder()
"""Registry of the versions shipped with the code, or the one that $KINO_MODELS names."""
PARTS = "KINO_PARTS"
"""Variable with the version that a plan publishes, and whose parts its later stages stand on."""
_PREFIXES = {
    "tae": "",
    "dit": "dit.",
    "editor": "",
    "rewriter": "",
    "codec": "",
    "vision": "vision.",
    "audio": "audio.",
    "upsampler": "",
    "identity": "identity.",
    "personalizer": "personalizer.",
}
"""Where a component's network lies in what its recipe trains; a tower lies under "tower."."""
READOUT = "readout."
"""Beginning of the names of what reads inner tokens, in training alone."""
TOKENIZER_FILE = "tokenizer.json"
GRAMMAR_FILE = "grammar.json"


def prefix_of(component: str) -> str:
    """Beginning of the names of a component's tensors in what its recipe trains."""
    return _PREFIXES.get(component, "tower.")


def averaged(recipe: str, runs: Path, registry: Registry) -> dict[str, Tensor]:
    """Averaged weights of a run: of its checkpoint on this machine, else of its version, rounded and without read-outs.

    Raises:
        FileNotFoundError: there is neither.
    """
    if (runs / recipe / checkpoint.FILE_NAME).exists():
        state: dict[str, Tensor] = checkpoint.load(runs / recipe)["average"]
        return state
    found = version_of(recipe, registry)
    if found is None:
        raise FileNotFoundError(f"{recipe} has no checkpoint in {runs} and no published version")
    prefix = prefix_of(found.component)
    return {f"{prefix}{name}": part for name, part in weights.load_state(found, registry).items()}


def fill(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Load what an earlier run learned; a read-out, which is not published, stays as it is where the state has none."""
    own = {name: part for name, part in model.state_dict().items() if name.startswith(READOUT)}
    model.load_state_dict(own | state)


def version_of(recipe: str, registry: Registry) -> Manifest | None:
    """The newest version that a run was published as."""
    made = [row for name in registry.components() for row in registry.manifests(name) if row.recipe == recipe]
    return max(made, key=lambda manifest: manifest.created, default=None)


def part(component: str, version: str, registry: Registry) -> Manifest:
    """The version of a component that training stands on: `$KINO_PARTS` where there is one, else the one asked for.

    Raises: as `kino.weights.find`.
    """
    planned = os.environ.get(PARTS, "")
    return weights.find(component, planned if planned in registry.versions(component) else version, registry)


class PromptEncoder(nn.Module):
    """All towers of a preset, frozen: prompts to embeddings and masks by tower."""

    def __init__(self, version: str, registry: Registry) -> None:
        super().__init__()
        self.towers = nn.ModuleDict()
        self.tokenizers: dict[str, Tokenizer] = {}
        self.digests: dict[str, str] = {}
        for name in PRESETS[part("ul2", version, registry).preset].towers:
            manifest = part(name, version, registry)
            tower = Tower(weights.config(TowerConfig, manifest))
            weights.load_into(tower, manifest, registry)
            self.towers[name] = tower.eval().requires_grad_(False)
            self.tokenizers[name] = open_tokenizer(tower.config, manifest, registry)
            self.digests[name] = manifest.digest

    @torch.no_grad()
    def forward(self, prompts: list[str]) -> Texts:
        """Embeddings [b, n, d] and mask [b, n] of each tower."""
        texts: Texts = {}
        for name, tower in self.towers.items():
            assert isinstance(tower, Tower)
            texts[name] = encode_prompts(tower, self.tokenizers[name], prompts)
        return texts


class SoundParts:
    """What the audio generator of a preset stands on, frozen: codec, vision encoder and the tower of sound prompts.

    Attributes:
        digests: of each part, by its component.
    """

    def __init__(self, version: str, registry: Registry) -> None:
        found = {name: part(name, version, registry) for name in ("codec", "vision", "t5")}
        self.codec = Codec(weights.config(CodecConfig, found["codec"]))
        self.vision = Vision(weights.config(VisionConfig, found["vision"]))
        self.tower = Tower(weights.config(TowerConfig, found["t5"]))
        for name, network in (("codec", self.codec), ("vision", self.vision), ("t5", self.tower)):
            weights.load_into(network, found[name], registry)
            network.eval().requires_grad_(False)
        self.tokenizer = open_tokenizer(self.tower.config, found["t5"], registry)
        self.digests = {name: manifest.digest for name, manifest in found.items()}

    @torch.no_grad()
    def read(self, prompts: list[str]) -> tuple[Tensor, Tensor]:
        """Rows [b, n, d] of sound prompts, and where there is a token [b, n]."""
        return encode_prompts(self.tower, self.tokenizer, prompts)


def open_tae(version: str, registry: Registry) -> tuple[TAE, Manifest]:
    """A published TAE, frozen, and what it says of itself."""
    manifest = part("tae", version, registry)
    tae = TAE(weights.config(TaeConfig, manifest))
    weights.load_into(tae, manifest, registry)
    return tae.eval().requires_grad_(False), manifest


def open_dit(version: str, registry: Registry, component: str = "dit") -> DiT:
    """A published generator, or an editor where `component` is "editor"."""
    manifest = part(component, version, registry)
    dit = DiT(weights.config(DitConfig, manifest))
    weights.load_into(dit, manifest, registry)
    return dit.eval()


def open_audio(version: str, registry: Registry) -> AudioDit:
    """A published audio generator."""
    manifest = part("audio", version, registry)
    audio = AudioDit(weights.config(AudioConfig, manifest))
    weights.load_into(audio, manifest, registry)
    return audio.eval()


def open_upsampler(version: str, registry: Registry) -> Upsampler:
    """A published upsampler."""
    manifest = part("upsampler", version, registry)
    upsampler = Upsampler(weights.config(UpsamplerConfig, manifest))
    weights.load_into(upsampler, manifest, registry)
    return upsampler.eval()
