"""Weights of published versions: read strictly, or made up by seed where a preset is random.

An engine opens a network in one line::

    manifest, preset, tae = weights.open_network("tae", "mini", "mini-1", registry, lambda preset: TAE(preset.tae))
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from kino.files import commit, scratch_file
from kino.manifest import Manifest, Spaces
from kino.presets import PRESETS, Preset
from kino.registry import WEIGHTS_FILE, Registry
from kino.store import DamagedError, NotFoundError

RANDOM_PRESETS = ("nano",)
SCALE = ".scale"
"""Ending of the tensor that holds the scales of an 8-bit matrix, beside the matrix's own name."""

Storage = Literal["float32", "bf16", "int8"]
"""How the matrices of a version are stored; vectors are float32, they are few."""

Config = TypeVar("Config")
Network = TypeVar("Network", bound=nn.Module)


class WeightsError(Exception):
    """Weights that do not fit their network, or hold values that are no numbers."""


def open_network(
    component: str, preset: str, version: str, registry: Registry, build: Callable[[Preset], Network]
) -> tuple[Manifest, Preset, Network]:
    """Return the manifest of a version, its preset, and its network with its weights, frozen, on the CPU.

    Args:
        preset: name of the row that the version has to be of; of a random preset, its name is a version too.
        build: makes the network of a row; it has its settings as `config`.

    Raises:
        ValueError: there is no such preset, the version is of another one, or a name is malformed.
        WeightsError: the version's settings are not the row's, or as `load_into`.
        kino.store.NotFoundError, kino.store.DamagedError: as `find` and `load_state`.
    """
    if preset not in PRESETS:
        raise ValueError(f"preset is {preset!r}, must be one of {', '.join(PRESETS)}")
    manifest = find(component, version, registry)
    if manifest.preset != preset:
        raise ValueError(f"version is {version!r} of the preset {manifest.preset}, must be one of {preset}")
    row = PRESETS[preset]
    network = build(row)
    if config(type(network.config), manifest) != network.config:
        raise WeightsError(f"{_name(manifest)}: its config is not that of the preset {preset}")
    load_into(network, manifest, registry)
    return manifest, row, network.eval().requires_grad_(False)


def open_part(
    component: str, digest: str, reader: Manifest, registry: Registry, build: Callable[[Preset], Network]
) -> tuple[Manifest, Network]:
    """Return the manifest and the network, as `open_network`, of the part that another version was trained with.

    Args:
        digest: of that part.
        reader: the version that was trained with it, of the same preset.

    Raises:
        ValueError: the registry does not hold it.
    """
    random = (reader.preset,) if reader.preset in RANDOM_PRESETS else ()
    names = (*random, *registry.versions(component))
    for name in names:
        if find(component, name, registry).digest == digest:
            manifest, _, network = open_network(component, reader.preset, name, registry, build)
            return manifest, network
    trained = f"{_name(reader)} was trained on the one with the digest {digest[:12] or 'unknown'}"
    raise ValueError(f"{component} is {', '.join(names) or 'not there'}, must be another version: {trained}")


def find(component: str, version: str, registry: Registry) -> Manifest:
    """Return the manifest of a version or alias; a random preset is a version of every component and needs no files.

    Raises:
        ValueError: a name is malformed.
        kino.store.NotFoundError: there is no such component or version.
        kino.store.DamagedError: its manifest is broken.
    """
    return random_manifest(component, version) if version in RANDOM_PRESETS else registry.resolve(component, version)


def random_manifest(component: str, preset: str) -> Manifest:
    """Return the manifest of a network with the weights of `seeded_init`: its settings alone define its space."""
    row = PRESETS[preset]
    networks: dict[str, object] = {
        "tae": row.tae,
        "dit": row.dit,
        "editor": row.editor,
        "rewriter": row.rewriter,
        "codec": row.codec,
        "vision": row.vision,
        "t5": row.t5,
        "audio": row.audio,
        "upsampler": row.upsampler,
        "identity": row.identity,
        "personalizer": row.personalizer,
        **row.towers,
    }
    if component not in networks:
        raise NotFoundError(f"{preset} has no component {component!r}; known: {', '.join(networks)}")
    network = networks[component]
    assert is_dataclass(network)
    assert not isinstance(network, type)
    settings = json.loads(json.dumps(asdict(network)))
    spaces = Spaces()
    if component in ("dit", "editor"):
        text = {tower: random_manifest(tower, preset).digest for tower in row.towers}
        spaces = Spaces(random_manifest("tae", preset).digest, text)
    if component == "personalizer":
        text = {tower: random_manifest(tower, preset).digest for tower in row.towers}
        vision = random_manifest("identity", preset).digest
        spaces = Spaces(random_manifest("tae", preset).digest, text, vision)
    if component == "audio":
        text = {"t5": random_manifest("t5", preset).digest}
        spaces = Spaces(random_manifest("codec", preset).digest, text, random_manifest("vision", preset).digest)
    return Manifest(component, preset, preset, settings, spaces=spaces)


def config(kind: type[Config], manifest: Manifest) -> Config:
    """Return the settings of a version as the frozen dataclass of its network, lists turned back into tuples.

    Raises:
        WeightsError: the settings are not those of this class.
    """
    assert is_dataclass(kind)
    known = {field.name: field.default is MISSING and field.default_factory is MISSING for field in fields(kind)}
    given = manifest.config.keys()
    odd = (given - known.keys()) | {name for name, required in known.items() if required and name not in given}
    if odd:
        raise WeightsError(f"{_name(manifest)}: its config is no {kind.__name__}, they differ in {some(odd)}")
    return kind(**{name: _tuples(value) for name, value in manifest.config.items()})


def load_state(manifest: Manifest, registry: Registry, dtype: torch.dtype | None = torch.float32) -> dict[str, Tensor]:
    """Return the tensors of a version, verified; those of 8 bits are multiplied by their scales, to float32.

    Args:
        dtype: type to convert floating-point tensors to; None leaves them as they were saved.

    Raises:
        kino.store.NotFoundError: the version has no weights.
        kino.store.DamagedError: the file is missing, truncated or altered.
        WeightsError: a tensor holds NaN or infinity.
    """
    path = registry.file(manifest, WEIGHTS_FILE)
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # not a mapping
    except SafetensorError as error:
        raise DamagedError(str(path), "a safetensors file", str(error)) from error
    tensors = _scaled(tensors)
    check_finite(tensors, _name(manifest))
    if dtype is None:
        return tensors
    return {name: tensor.to(dtype) if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def load_into(module: nn.Module, manifest: Manifest, registry: Registry) -> None:
    """Fill a network with the weights of a version, or with random ones where the version is a random preset.

    Raises:
        WeightsError: a tensor is missing, unexpected, of another shape, or holds NaN or infinity.
        kino.store.NotFoundError, kino.store.DamagedError: as `load_state`.
    """
    if manifest.version in RANDOM_PRESETS:
        seeded_init(module)
        return
    tensors = load_state(manifest, registry, dtype=None)
    _check_fit(module.state_dict(), tensors, _name(manifest))
    module.load_state_dict(tensors)


def save_state(path: Path, tensors: Mapping[str, Tensor], storage: Storage = "bf16") -> None:
    """Write tensors as one safetensors file, whole or not at all; equal tensors give equal bytes.

    Args:
        storage: how floating-point matrices are rounded. "int8" is symmetric, with one scale for each row, the row's
            largest value over 127, so that no value is off by more than half of that.

    Raises:
        WeightsError: a tensor holds NaN or infinity.
        kino.files.FullError: no room is left.
    """
    check_finite(tensors, path.name)
    stored: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        stored |= _stored(name, tensor.detach().cpu(), storage)
    content = safetensors.torch.save(stored)
    with scratch_file(path.parent) as file:
        file.write(content)
        commit(path.parent, file, path.name)


def seeded_init(module: nn.Module, seed: int = 0) -> None:
    """Give every parameter values that depend on its name, its shape and the seed alone, the same on every machine.

    Matrices are uniform with variance 1 / fan-in, gains lie within 0.1 of one and biases within 0.1 of zero. Uniform,
    because that takes only exactly rounded arithmetic, where a normal distribution would take library functions.
    """
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            key = hashlib.sha256(f"{seed}/{name}".encode()).digest()
            generator = np.random.Generator(np.random.PCG64(int.from_bytes(key[:16], "little")))
            values = 2 * generator.random(parameter.shape, dtype=np.float32) - 1
            if parameter.ndim >= 2:
                values *= np.sqrt(np.float32(3 * parameter.shape[0] / parameter.numel()))
            else:
                values = values * np.float32(0.1) + np.float32(not name.endswith("bias"))
            parameter.copy_(torch.as_tensor(values))


def _name(manifest: Manifest) -> str:
    return f"{manifest.component}/{manifest.version}"


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _stored(name: str, tensor: Tensor, storage: Storage) -> dict[str, Tensor]:
    """What a file holds for a tensor, by name."""
    if not tensor.is_floating_point():
        return {name: tensor.clone(memory_format=torch.contiguous_format)}
    if tensor.ndim < 2 or storage != "int8":
        rounded = torch.bfloat16 if storage == "bf16" and tensor.ndim >= 2 else torch.float32
        return {name: tensor.to(rounded).clone(memory_format=torch.contiguous_format)}
    rows = tensor.float().flatten(1)
    scales = rows.abs().amax(dim=1, keepdim=True).clamp(min=1e-30) / 127
    return {name: (rows / scales).round().to(torch.int8).view(tensor.shape), name + SCALE: scales[:, 0].contiguous()}


def _scaled(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a file with its 8-bit matrices multiplied out."""
    scales = {name: tensor for name, tensor in tensors.items() if name.endswith(SCALE) and _of_scale(name, tensors)}
    kept = {name: tensor for name, tensor in tensors.items() if name not in scales}
    for name, scale in scales.items():
        matrix = kept[name.removesuffix(SCALE)]
        kept[name.removesuffix(SCALE)] = matrix.float() * scale.view(-1, *[1] * (matrix.ndim - 1))
    return kept


def _of_scale(name: str, tensors: Mapping[str, Tensor]) -> bool:
    matrix = tensors.get(name.removesuffix(SCALE))
    return matrix is not None and matrix.dtype == torch.int8 and tensors[name].shape == matrix.shape[:1]


def check_finite(tensors: Mapping[str, Tensor], where: str) -> None:
    """Raise `WeightsError` where a tensor holds NaN or infinity."""
    broken = [name for name, tensor in tensors.items() if not _is_finite(tensor)]
    if broken:
        raise WeightsError(f"{where}: NaN or infinity in {some(broken)}")


def _is_finite(tensor: Tensor) -> bool:
    """Whether no number is NaN or infinite, told by the least and the greatest, which takes no memory of its size."""
    return not tensor.numel() or all(bool(torch.isfinite(bound)) for bound in tensor.aminmax())


def _check_fit(expected: Mapping[str, Tensor], given: Mapping[str, Tensor], where: str) -> None:
    problems = []
    if missing := expected.keys() - given.keys():
        problems.append(f"missing {some(missing)}")
    if unexpected := given.keys() - expected.keys():
        problems.append(f"unexpected {some(unexpected)}")
    for name in sorted(expected.keys() & given.keys()):
        if expected[name].shape != given[name].shape:
            problems.append(f"{name} is {list(given[name].shape)}, must be {list(expected[name].shape)}")
    if problems:
        raise WeightsError(f"{where} does not fit its network: {'; '.join(problems[:6])}")


def some(names: Iterable[str]) -> str:
    """Names as a message tells them: the first five, and how many more."""
    shown = sorted(names)
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")
