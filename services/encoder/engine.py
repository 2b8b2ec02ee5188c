"""Turns prompts into the embeddings that a generator reads, by three text towers. Text in, arrays out."""

from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from kino.adopted import is_adopted, open_tower
from kino.exported import Runtime, place
from kino.manifest import Manifest
from kino.media import Frames
from kino.models.adopted_tower import AdoptedTower, AdoptedTowerConfig
from kino.models.text import Tower, TowerConfig
from kino.presets import PRESETS
from kino.prompts import encode_prompts, open_tokenizer, with_frame_rate
from kino.registry import Registry
from kino.tokens import Tokenizer
from kino.weights import find, open_network

Rows = Mapping[str, NDArray[np.float32]]
"""Embeddings [n d] of one text, by tower."""


class Space(NamedTuple):
    """The space of one tower's rows: its digest, their width, and how many one text becomes at most."""

    digest: str
    width: int
    max_rows: int


class Engine(Protocol):
    """What the service needs of an engine, whatever family of models it holds."""

    @property
    def manifest(self) -> Manifest:
        """The version that is served, the first of several."""

    @property
    def preset(self) -> str:
        """Name of its row of sizes, empty where it is of none."""

    @property
    def digest(self) -> str:
        """SHA-256 of all that encodes."""

    @property
    def spaces(self) -> Mapping[str, Space]:
        """The spaces of the towers by their names."""

    @property
    def runtime(self) -> str:
        """What computes."""

    @property
    def states_fps(self) -> bool:
        """Whether the text says the frame rate."""

    @property
    def reads_pictures(self) -> bool:
        """Whether a text comes with the picture that its video begins with."""

    def encode(
        self,
        prompt: str,
        fps: int | None = None,
        towers: Sequence[str] = (),
        picture: Frames | None = None,
    ) -> Rows:
        """The embeddings of a text, float32 [n d] by tower; n is 0 where a tower has nothing to read.

        Args:
            prompt: empty for the text that guidance moves away from.
            fps: frame rate to state before a prompt that is not empty.
            towers: which towers to run, all of them if none is named.
            picture: what the video begins with, uint8 [h w c=3].

        Raises:
            ValueError: there is no such tower, one is named twice, or a frame rate or a picture is given or missing
                against what the models take.
        """


class TextTower(Protocol):
    """What the engine needs of a tower, ours or an adopted one."""

    @property
    def config(self) -> TowerConfig | AdoptedTowerConfig:
        """Its settings."""

    @property
    def network(self) -> nn.Module:
        """What computes."""

    def __call__(self, prompt: str) -> Tensor:
        """The rows [n d] of a prompt."""


class OwnTower(nn.Module):
    """A tower that was trained here, with its tokenizer."""

    def __init__(self, tower: Tower, tokenizer: Tokenizer) -> None:
        super().__init__()
        self.network, self.tokenizer, self.config = tower, tokenizer, tower.config

    def forward(self, prompt: str) -> Tensor:
        """The rows [n d] of a prompt."""
        embeddings, _ = encode_prompts(self.network, self.tokenizer, [prompt])
        return embeddings[0].float()


class EncoderEngine:
    """The text towers of a preset on one device.

    Every text goes through each tower alone, without padding, so its rows depend on nothing else, bit for bit.

    Args:
        preset: name of the row; one of random weights needs no registry.
        version: model version or alias in the registry, the same for each tower; a row without towers of its own takes
            adopted ones alone, any other row takes them too.
        device: as torch names it.
        runtime: of every tower, as in `kino.exported.place`.

    Raises:
        ValueError: a tower's rows are not as wide as the row's generator reads them, or the runtime cannot be had.
    """

    def __init__(
        self, preset: str, version: str, registry: Registry, device: str = "cpu", runtime: str = "auto"
    ) -> None:
        self.preset, self.states_fps, self.reads_pictures = preset, True, False
        self.manifests: dict[str, Manifest] = {}
        self.runtimes: dict[str, Runtime] = {}
        self.towers: dict[str, TextTower] = {}
        for name, width in PRESETS[preset].dit.text_widths:
            manifest, tower = _open(name, preset, version, registry)
            if tower.config.width != width:
                told = f"{name}/{manifest.version} is {tower.config.width}"
                raise ValueError(f"width of {told}, must be {width}: that is what the generator of {preset} reads")
            self.manifests[name], self.towers[name] = manifest, tower
            self.runtimes[name] = place(tower.network, manifest, registry, runtime, device)

    @property
    def manifest(self) -> Manifest:
        """The first tower's version."""
        return next(iter(self.manifests.values()))

    @property
    def runtime(self) -> str:
        """What computes, both with a comma between where the towers differ."""
        return ", ".join(sorted(set(self.runtimes.values())))

    @property
    def spaces(self) -> Mapping[str, Space]:
        """The spaces of the towers."""
        return {
            name: Space(self.manifests[name].digest, tower.config.width, tower.config.max_rows)
            for name, tower in self.towers.items()
        }

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of the towers' versions, in the order of the preset."""
        return sha256("".join(manifest.digest for manifest in self.manifests.values()).encode()).hexdigest()

    @torch.inference_mode()
    def encode(
        self,
        prompt: str,
        fps: int | None = None,
        towers: Sequence[str] = (),
        picture: Frames | None = None,
    ) -> Rows:
        """The embeddings of a text; see `Engine`."""
        check_towers(towers, self.towers)
        check_picture(picture, self.reads_pictures)
        text = with_frame_rate(prompt, fps) if prompt and fps is not None else prompt
        rows = {}
        for name in towers or self.towers:
            rows[name] = self.towers[name](text).cpu().numpy()
        return rows


def check_towers(named: Sequence[str], known: Collection[str]) -> None:
    """Refuse a tower that is not there or is named twice; raises `ValueError`."""
    for name in named:
        if name not in known:
            raise ValueError(f"towers is {name!r}, must be among {', '.join(known)}")
        if named.count(name) > 1:
            raise ValueError(f"towers is {name!r} twice, must be each tower at most once")


def check_picture(picture: Frames | None, is_read: bool) -> None:
    """Refuse a picture that nobody reads, and the lack of one that is read; raises `ValueError`."""
    if picture is not None and not is_read:
        raise ValueError("picture is given, must be left out: these encoders read texts alone")
    if picture is None and is_read:
        raise ValueError("picture is missing, must be given: these encoders read what the video begins with")


def _open(name: str, preset: str, version: str, registry: Registry) -> tuple[Manifest, OwnTower | AdoptedTower]:
    own = PRESETS[preset].towers
    manifest = find(name, version, registry)
    if is_adopted(manifest):
        return manifest, open_tower(manifest, registry)
    if name not in own:
        raise ValueError(f"version of {name} is {version!r}, must be an adopted one: {preset} has no towers of ours")
    manifest, _, tower = open_network(name, preset, version, registry, lambda row: Tower(row.towers[name]))
    return manifest, OwnTower(tower, open_tokenizer(tower.config, manifest, registry))
