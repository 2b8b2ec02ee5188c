"""Turns prompts into the embeddings that a generator reads, by three text towers. Text in, arrays out."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256

import numpy as np
import torch
from numpy.typing import NDArray

from kino.manifest import Manifest
from kino.models.text import Tower, TowerConfig
from kino.presets import PRESETS, Preset
from kino.prompts import encode_prompts, with_frame_rate
from kino.registry import Registry
from kino.tokens import BpeTokenizer, ByteTokenizer, Tokenizer
from kino.weights import open_network

TOKENIZER = "tokenizer.json"
"""File of a tower's version that holds its tokenizer."""

Rows = Mapping[str, NDArray[np.float32]]
"""Embeddings [n d] of one text, by tower."""


class EncoderEngine:
    """The text towers of a preset on one device.

    Every text goes through each tower alone, without padding, so its rows depend on nothing else, bit for bit.

    Args:
        preset: name of the row; one of random weights needs no registry.
        version: model version or alias in the registry, the same for each tower.
        device: as torch names it.
    """

    def __init__(self, preset: str, version: str, registry: Registry, device: str = "cpu") -> None:
        self.manifests: dict[str, Manifest] = {}
        self.towers: dict[str, Tower] = {}
        self._tokenizers: dict[str, Tokenizer] = {}
        for name in PRESETS[preset].towers:
            manifest, _, tower = open_network(name, preset, version, registry, _builder(name))
            self.manifests[name], self.towers[name] = manifest, tower.to(device)
            self._tokenizers[name] = _tokenizer(tower.config, manifest, registry)

    @property
    def digest(self) -> str:
        """SHA-256 over the digests of the towers' versions, in the order of the preset."""
        return sha256("".join(manifest.digest for manifest in self.manifests.values()).encode()).hexdigest()

    @torch.inference_mode()
    def encode(self, prompt: str, fps: int | None = None, towers: Sequence[str] = ()) -> Rows:
        """The embeddings of a text, float32 [n d] by tower; n is 0 where a tower has nothing to read.

        Args:
            prompt: empty for the text that guidance moves away from.
            fps: frame rate to state before a prompt that is not empty.
            towers: which towers to run, all of them if none is named.

        Raises:
            ValueError: there is no such tower, or one is named twice.
        """
        for name in towers:
            if name not in self.towers:
                raise ValueError(f"towers is {name!r}, must be among {', '.join(self.towers)}")
            if towers.count(name) > 1:
                raise ValueError(f"towers is {name!r} twice, must be each tower at most once")
        text = with_frame_rate(prompt, fps) if prompt and fps is not None else prompt
        rows = {}
        for name in towers or self.towers:
            embeddings, _ = encode_prompts(self.towers[name], self._tokenizers[name], [text])
            rows[name] = embeddings[0].float().cpu().numpy()
        return rows


def _builder(name: str) -> Callable[[Preset], Tower]:
    return lambda row: Tower(row.towers[name])


def _tokenizer(config: TowerConfig, manifest: Manifest, registry: Registry) -> Tokenizer:
    if config.tokens == "bytes":
        return ByteTokenizer()
    return BpeTokenizer(registry.file(manifest, TOKENIZER).read_text(encoding="utf-8"))
