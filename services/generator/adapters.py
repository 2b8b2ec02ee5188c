"""Adapters in the generator: every request has its own, beside a network that none of them changes.

A linear layer asks, each time it has computed, whether the request that it computes for has adapters of it. Nothing is
switched between requests, so runs that take turns step by step cannot see each other's, whatever threads they run in;
and loading an adapter touches no network.
"""

import math
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, device, nn

from kino.adapters import AdapterSettings, Chosen
from kino.manifest import Manifest
from kino.registry import Registry
from kino.weights import WeightsError, load_state

ADAPTER_BYTES = 2 << 30
"""Most bytes of adapters unless told otherwise."""


@dataclass(frozen=True)
class Change:
    """What one adapter does to one layer: `down` [rank in], `up` [out rank], the `bias` [out] of `up`, if any."""

    down: Tensor
    up: Tensor
    bias: Tensor | None
    alpha: float
    divisor: float

    @property
    def tensors(self) -> list[Tensor]:
        """Everything that takes memory."""
        return [self.down, self.up] if self.bias is None else [self.down, self.up, self.bias]


Changes = Mapping[nn.Module, Sequence[tuple[Change, float]]]
"""The changes of each layer in the order of the request, each with the weight of its adapter."""

_ACTIVE: ContextVar[Changes | None] = ContextVar("adapters", default=None)


@contextmanager
def active(changes: Changes) -> Iterator[None]:
    """Let these changes apply to what is computed meanwhile; never yield to another request inside."""
    before = _ACTIVE.set(changes)
    try:
        yield
    finally:
        _ACTIVE.reset(before)


def key_of(chosen: Sequence[Chosen]) -> Hashable:
    """What is equal for requests whose adapters change the network alike."""
    return tuple((one.manifest.digest, one.weight) for one in chosen)


class Adapters:
    """The adapters of one version, on its device; those used last are kept for further requests.

    Args:
        networks: those of the version by the names of their parts.
        base: the version.
        max_bytes: most bytes that adapters take, those of the request that is on the device included.
    """

    def __init__(
        self, networks: Mapping[str, nn.Module], base: Manifest, registry: Registry, place: device, max_bytes: int
    ) -> None:
        self.base, self.max_bytes = base, max_bytes
        self._registry, self._device = registry, place
        self._layers = {part: _linear_layers(network) for part, network in networks.items()}
        self._kept: OrderedDict[str, dict[nn.Module, Change]] = OrderedDict()
        self._lock = threading.Lock()
        for layers in self._layers.values():
            for layer in layers.values():
                layer.register_forward_hook(_change)

    @property
    def kept_bytes(self) -> int:
        """Bytes of the adapters that are loaded."""
        return sum(map(_num_bytes, self._kept.values()))

    def check(self, chosen: Sequence[Chosen]) -> int:
        """The bytes that the adapters of a request still need, without loading them.

        Raises:
            ValueError: one was made for another version.
            MemoryError: they take more than adapters may.
        """
        sizes = {}
        for one in chosen:
            if AdapterSettings.of(one.manifest).base != self.base.digest:
                raise ValueError(
                    f"adapters[{one.manifest.version}] is of another version, must be of {self.base.digest}"
                )
            sizes[one.manifest.digest] = self._size_bytes(one.manifest)
        if sum(sizes.values()) > self.max_bytes:
            raise MemoryError(
                f"adapters take {sum(sizes.values()) >> 20} MiB, this service has {self.max_bytes >> 20} MiB for them"
            )
        return sum(size for digest, size in sizes.items() if digest not in self._kept)

    def open(self, chosen: Sequence[Chosen]) -> Changes:
        """The changes of a request; what is not loaded is loaded now, and what was used longest ago makes room.

        Raises:
            WeightsError: an adapter has a layer that the version has not, or tensors of other shapes.
            kino.store.DamagedError: a file is missing, truncated or altered.
        """
        changes: dict[nn.Module, list[tuple[Change, float]]] = {}
        wanted = {one.manifest.digest for one in chosen}
        with self._lock:
            for one in chosen:
                digest = one.manifest.digest
                if digest not in self._kept:
                    self._make_room(self._size_bytes(one.manifest), wanted)
                    self._kept[digest] = self._load(one.manifest)
                self._kept.move_to_end(digest)
                for layer, change in self._kept[digest].items():
                    changes.setdefault(layer, []).append((change, one.weight))
            self._make_room(0, wanted)
        return changes

    def _size_bytes(self, manifest: Manifest) -> int:
        """What an adapter takes once it is loaded: its numbers, in the type of the network's own."""
        largest = max(self._layers[AdapterSettings.of(manifest).part].values(), key=lambda layer: layer.weight.numel())
        return int(manifest.metrics["parameters"]) * largest.weight.dtype.itemsize

    def _make_room(self, num_bytes: int, wanted: Set[str]) -> None:
        """Let go of what was used longest ago and is not wanted, until so many bytes more are within the bound."""
        for digest in [digest for digest in self._kept if digest not in wanted]:
            if self.kept_bytes + num_bytes <= self.max_bytes:
                return
            del self._kept[digest]

    def _load(self, manifest: Manifest) -> dict[nn.Module, Change]:
        settings, tensors = AdapterSettings.of(manifest), load_state(manifest, self._registry, dtype=None)
        layers = self._layers[settings.part]
        changes: dict[nn.Module, Change] = {}
        for name in sorted({key.rpartition(".lora_A.")[0] for key in tensors if ".lora_A." in key}):
            down, up, bias = (tensors.get(f"{name}.{key}") for key in ("lora_A.weight", "lora_B.weight", "lora_B.bias"))
            layer = layers.get(name)
            if layer is None or down is None or up is None or not _fits(layer, down, up):
                raise WeightsError(f"adapter/{manifest.version}: {name} is not of {self.base.version}")
            type_ = layer.weight.dtype
            changes[layer] = Change(
                down=down.to(self._device, type_, copy=True),  # out of the mapped file, as networks are
                up=up.to(self._device, type_, copy=True),
                bias=None if bias is None else bias.to(self._device, type_, copy=True),
                alpha=float(tensors[f"{name}.alpha"]),
                divisor=math.sqrt(len(down)) if settings.by_root else len(down),
            )
        return changes


def _change(layer: nn.Module, given: tuple[Any, ...], made: Tensor) -> Tensor | None:
    """What a layer gives under the changes of the request that it computes for; in the order and type of PEFT's own."""
    if torch.compiler.is_compiling():  # what is compiled is the network alone; requests with adapters do without it
        return None
    active = _ACTIVE.get()
    if active is None or layer not in active:
        return None
    x, changed = given[0], made
    for change, weight in active[layer]:
        x = x.to(change.down.dtype)
        low = F.linear(F.linear(x, change.down), change.up, change.bias)
        changed = changed + low * (weight * change.alpha / change.divisor)
    return changed.to(made.dtype)


def _linear_layers(network: nn.Module) -> dict[str, nn.Linear]:
    return {name: layer for name, layer in network.named_modules() if isinstance(layer, nn.Linear)}


def _fits(layer: nn.Linear, down: Tensor, up: Tensor) -> bool:
    return (down.shape[1], up.shape) == (layer.in_features, (layer.out_features, len(down)))


def _num_bytes(changes: Mapping[nn.Module, Change]) -> int:
    return sum(tensor.nbytes for change in changes.values() for tensor in change.tensors)
