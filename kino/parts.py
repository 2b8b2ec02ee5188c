"""The parts of published pipelines: networks, tokenizers and schedulers of two libraries, read strictly.

The libraries are `diffusers` and `transformers`; `kino.pipelines` says which files of a folder they are given.
"""

import math
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from kino import adopted, weights
from kino.devices import reserve
from kino.execution import Execution
from kino.families import BESIDE, Settings
from kino.manifest import Manifest
from kino.placement import place
from kino.registry import Registry
from kino.store import DamagedError
from kino.weights import WeightsError

WEIGHTS = ("diffusion_pytorch_model", "model")
"""Beginnings of the names of a part's weights, as `diffusers` and as `transformers` writes them."""


class Parts:
    """The parts of one version, whose files are as they were published; each is read when it is asked for.

    Args:
        execution: of the networks that are placed; as published if None.

    Raises:
        ValueError: the version is of no published pipeline.
        kino.store.DamagedError: a file is missing, truncated or altered.
    """

    def __init__(self, manifest: Manifest, registry: Registry, execution: Execution | None = None) -> None:
        self.settings, self.execution = Settings.of(manifest), execution or Execution()
        self._waiting: list[Any] = []
        for name in manifest.digests:
            registry.file(manifest, name)
        self._folder = registry.folder(manifest)

    def __contains__(self, part: str) -> bool:
        return part in self.settings.parts

    def network(self, part: str) -> Any:
        """A network, frozen, on the CPU.

        Raises:
            WeightsError: a tensor is missing, unexpected, of another shape, or holds NaN or infinity.
        """
        folder, name, dtype = self._folder / part, self.settings.parts[part], self.settings.dtype
        if of_diffusers(name):
            return read_network(folder, name, dtype)
        return adopted.read_network(folder, name, dtype)

    def placed(self, part: str, device: torch.device) -> Any:
        """A network on the device, as the execution asks.

        Raises:
            MemoryError: the host or the device has no room for it.
            WeightsError: as `network`.
        """
        self._check_room(part, device)
        return place(self.network(part), device, self.execution, self._waiting)

    def _check_room(self, part: str, device: torch.device) -> None:
        """Refuse a network that has no room, before it is read: it comes to the host whole, whatever becomes of it."""
        shapes = (shape for path in weight_files(self._folder / part) for shape in _shapes(path).values())
        count = sum(math.prod(shape) for shape in shapes)
        size = adopted.DTYPES[self.settings.dtype].itemsize
        reserve(count * size, torch.device("cpu"), f"{part} in {self.settings.dtype}")
        if device.type != "cpu" and not self.execution.offload:
            reserve(count * (1 if self.execution.weights else size), device, f"{part} on the device")

    def tokenizer(self, part: str) -> Any:
        """A tokenizer."""
        with adopted.READING:
            kind = getattr(adopted.library(), self.settings.parts[part])
            return kind.from_pretrained(self._folder / part, local_files_only=True, trust_remote_code=False)

    def image_processor(self, part: str) -> Any:
        """What makes a picture the numbers that an image encoder reads."""
        with adopted.READING:
            kind = getattr(adopted.library(), self.settings.parts[part])
            return kind.from_pretrained(self._folder / part, local_files_only=True)

    def scheduler(self) -> Any:
        """A scheduler at the beginning of its steps, a new one at each call."""
        with adopted.READING:
            kind = getattr(library(), self.settings.parts["scheduler"])
            return kind.from_pretrained(self._folder / "scheduler", local_files_only=True)


def library() -> Any:
    """The `diffusers` library, cut off from the network; it takes seconds to import, so only who needs it does."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    with adopted.READING:
        adopted.library()
        import_module("accelerate.hooks")  # which both libraries import halfway, each its own way round
        import diffusers

        diffusers.utils.logging.set_verbosity_error()
        diffusers.utils.logging.disable_progress_bar()
    return diffusers


def of_diffusers(name: str) -> bool:
    """Whether a class of network is one of `diffusers` rather than of `transformers`."""
    with adopted.READING:
        return name in BESIDE or hasattr(library(), name)


def kind_of(name: str) -> Any:
    """A class of network of `diffusers`."""
    with adopted.READING:
        return getattr(module(f"pipelines.{BESIDE[name]}") if name in BESIDE else library(), name)


def module(name: str) -> Any:
    """A module of `diffusers`, for example "pipelines.wan.pipeline_wan"; threads must not import two at once."""
    with adopted.READING:
        return import_module(f"{library().__name__}.{name}")


def read_network(folder: Path, name: str, dtype: str) -> Any:
    """The network of a folder, frozen, if every tensor of its own is there and no other.

    Args:
        name: class of `diffusers` to read it as.
        dtype: of its numbers, apart from those that the class keeps in float32.

    Raises:
        WeightsError: a tensor is missing, unexpected, of another shape, or holds NaN or infinity.
        kino.store.DamagedError: a safetensors file is damaged.
    """
    try:
        with adopted.READING:
            network, found = kind_of(name).from_pretrained(
                folder,
                dtype=adopted.DTYPES[dtype],
                local_files_only=True,
                use_safetensors=True,
                output_loading_info=True,
            )
    except SafetensorError as error:
        raise DamagedError(str(folder), "safetensors files", str(error)) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsError(f"{folder.name} does not fit {name}: {error}") from error
    problems = {
        "missing": found["missing_keys"],
        "unexpected": found["unexpected_keys"],
        "of another shape": {str(item[0]) for item in found["mismatched_keys"]},
    }
    told = "; ".join(f"{what} {weights.some(names)}" for what, names in problems.items() if names)
    if told:
        raise WeightsError(f"{folder.name} does not fit {name}: {told}")
    weights.check_finite(network.state_dict(), folder.name)
    for parameter in network.parameters():  # out of the mapped file, whose offsets would decide the last bits of sums
        parameter.data = parameter.data.clone()
    frozen: nn.Module = network.eval().requires_grad_(False)
    return frozen


def outline(folder: Path, name: str) -> Any:
    """The network of a folder without its numbers, after a look at the names and shapes of all its tensors.

    Raises:
        WeightsError: a tensor is missing, unexpected or of another shape, or the settings are not those of the class.
        kino.store.DamagedError: a safetensors file is damaged.
    """
    try:
        if not of_diffusers(name):
            return _outline_of_transformers(folder, name)
        network = blank(folder, name)
    except (AttributeError, KeyError, OSError, RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
        raise WeightsError(f"{folder.name} does not fit {name}: {error}") from error
    expected = {key: list(tensor.shape) for key, tensor in network.state_dict().items()}
    given = {key: shape for path in weight_files(folder) for key, shape in _shapes(path).items()}
    problems = [
        f"{what} {weights.some(names)}"
        for what, names in (("missing", expected.keys() - given), ("unexpected", given.keys() - expected))
        if names
    ]
    problems += [
        f"{key} is {given[key]}, must be {expected[key]}"
        for key in sorted(expected.keys() & given)
        if given[key] != expected[key]
    ]
    if problems:
        raise WeightsError(f"{folder.name} does not fit {name}: {'; '.join(problems[:6])}")
    return network


def blank(folder: Path, name: str) -> Any:
    """The network of `diffusers` that a folder's settings describe, on no device and without numbers."""
    kind = kind_of(name)
    with torch.device("meta"):
        return kind.from_config(kind.load_config(folder, local_files_only=True))


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files of a part, in the order of their names."""
    return [path for stem in WEIGHTS for path in sorted(folder.glob(f"{stem}*.safetensors"))]


def _outline_of_transformers(folder: Path, name: str) -> Any:
    with adopted.READING:
        network, found = getattr(adopted.library(), name).from_pretrained(
            folder,
            device_map="meta",
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            output_loading_info=True,
        )
    odd = {what: found[f"{what}_keys"] for what in ("missing", "unexpected") if found[f"{what}_keys"]}
    if odd:
        told = "; ".join(f"{what} {weights.some(names)}" for what, names in odd.items())
        raise WeightsError(f"{folder.name} does not fit {name}: {told}")
    return network


def _shapes(path: Path) -> dict[str, list[int]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_slice(name).get_shape() for name in file.keys()}  # noqa: SIM118  # not a mapping
    except SafetensorError as error:
        raise DamagedError(str(path), "a safetensors file", str(error)) from error
