"""Pipeline folders in the format of `diffusers`, read with suspicion: what lies in one, and whether all of it is right.

Nothing here runs code of a folder, opens a pickle, follows a link out of it, or asks the network.
"""

import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from kino.families import BESIDE, DTYPES, FAMILIES, PLAIN, TOKENIZERS, family_of
from kino.family import Family
from kino.folders import PICKLES, Folder
from kino.store import DamagedError

INDEX = "model_index.json"
MAX_TOKENIZER_BYTES = 64 << 20
MAX_DEPTH = 1000
"""Most layers, blocks and the like that a config may ask for; the largest published networks have a tenth of it."""
MAX_NUMBER = 1 << 24
_WEIGHTS = ("diffusion_pytorch_model", "model")
_SHARDED = re.compile(r"-\d{5}-of-\d{5}\.safetensors")
_TOKENIZER_FILES = (
    "added_tokens.json", "merges.txt", "special_tokens_map.json", "spiece.model", "tokenizer.json", "tokenizer.model",
    "tokenizer_config.json", "vocab.json",
)  # fmt: skip
_COUNTS = re.compile(r"layers|blocks|depth")


@dataclass(frozen=True)
class Part:
    """One part of a pipeline.

    Args:
        kind: its class.
        files: by name, the paths that the names stand for once links are followed.
        dtype: type of most of its numbers, as torch names it; empty for what has no weights.
    """

    name: str
    kind: str
    files: Mapping[str, Path]
    dtype: str = ""

    @property
    def num_bytes(self) -> int:
        """Bytes of its files."""
        return sum(path.stat().st_size for path in self.files.values())


@dataclass(frozen=True)
class Pipeline:
    """A pipeline folder whose files are all there and sound, their shapes still unseen.

    Args:
        settings: of the pipeline itself, those its family reads.
        licence: name of its licence file or of the licence its README names, empty where neither is there.
    """

    folder: Path
    family: str
    kind: str
    parts: Mapping[str, Part]
    settings: Mapping[str, Any]
    licence: str
    licence_file: Path | None

    @property
    def row(self) -> Family:
        """Its family's row."""
        return FAMILIES[self.family]

    @property
    def abilities(self) -> tuple[str, ...]:
        """What it can do."""
        return self.row.abilities(self.kind, self.settings)


def read_pipeline(folder: Path) -> Pipeline:
    """The pipeline that lies in a folder.

    Raises:
        ValueError: it is of no known family, names code to run or a class of no use, lacks a file or a part, holds
            pickled weights alone, weights of another type than float32, bfloat16 or float16, or settings out of bounds,
            or a link leads out of it.
        kino.store.DamagedError: a safetensors file is truncated or otherwise broken.
    """
    reader = _Reader(folder)
    index = reader.json(INDEX)
    kind = index.get("_class_name")
    if not isinstance(kind, str):
        raise ValueError(f"_class_name of {INDEX} is {kind!r:.80}, must be one name: code of a folder is never run")
    family = family_of(kind)
    row = FAMILIES[family]
    wanted = {part: kinds for parts in row.parts.values() for part, kinds in parts.items()}
    parts = {name: reader.network(name, index, kinds, name in row.optional) for name, kinds in wanted.items()}
    for name in [key for key in index if key.startswith("tokenizer")]:
        parts[name] = reader.tokenizer(name, index)
    for name, (kinds, file) in PLAIN.items():
        if name == "scheduler" or index.get(name) not in (None, [None, None]):
            parts[name] = reader.plain(name, index, kinds, file)
    settings = {name: index[name] for name in row.read if index.get(name) is not None}
    found = {name: part for name, part in parts.items() if part is not None}
    return Pipeline(folder, family, kind, found, settings, *reader.licence())


class _Reader(Folder):
    """Parts of one folder."""

    def network(self, name: str, index: Mapping[str, Any], kinds: tuple[str, ...], is_optional: bool) -> Part | None:
        """A part with weights, None where it may be missing and is."""
        if is_optional and index.get(name) in (None, [None, None]):
            return None
        kind = _kind(name, index, kinds)
        config_name = f"{name}/config.json"
        config = self.json(config_name)
        _check_bounds(config, config_name)
        if config.get("quantization_config"):
            raise ValueError(f"quantization_config of {config_name} is given, must be left out: weights as trained")
        files = {config_name: self.real(config_name)} | self._weights(name)
        return Part(name, kind, files, _dtype(files))

    def tokenizer(self, name: str, index: Mapping[str, Any]) -> Part:
        kind = _kind(name, index, TOKENIZERS)
        files = {}
        for file in (f"{name}/{file}" for file in _TOKENIZER_FILES):
            path = self.path(file)
            if path is None:
                continue
            if file.endswith("config.json"):
                self.json(file)
            if path.stat().st_size > MAX_TOKENIZER_BYTES:
                raise ValueError(f"{file} is {path.stat().st_size} bytes long, must be at most {MAX_TOKENIZER_BYTES}")
            files[file] = path
        if not files:
            raise ValueError(f"{name} is empty, must hold one of {', '.join(_TOKENIZER_FILES)}")
        return Part(name, kind, files)

    def plain(self, part: str, index: Mapping[str, Any], kinds: tuple[str, ...], file: str) -> Part:
        """A part of settings alone."""
        name, kind = f"{part}/{file}", _kind(part, index, kinds)
        _check_bounds(self.json(name), name)
        return Part(part, kind, {name: self.real(name)})

    def _weights(self, part: str) -> dict[str, Path]:
        """The safetensors files of a part: one, or the shards that its index names."""
        for stem in _WEIGHTS:
            whole, listing = f"{part}/{stem}.safetensors", f"{part}/{stem}.safetensors.index.json"
            if self.path(whole) is not None:
                return {whole: self.real(whole)}
            if self.path(listing) is not None:
                return {listing: self.real(listing)} | self._shards(part, listing)
        held = [path.name for path in sorted((self.folder / part).glob("*"))]
        if any(name.endswith(PICKLES) for name in held):
            raise ValueError(f"weights of {part} are pickled ({', '.join(held):.80}), must be safetensors")
        names = " or ".join(f"{stem}.safetensors" for stem in _WEIGHTS)
        raise ValueError(f"weights of {part} are missing, must be {names}")

    def _shards(self, part: str, listing: str) -> dict[str, Path]:
        places = self.json(listing, MAX_TOKENIZER_BYTES).get("weight_map")
        if not isinstance(places, dict) or not all(isinstance(name, str) for name in places.values()):
            raise ValueError(f"weight_map of {listing} is {places!r:.80}, must name the shard of each tensor")
        shards = {}
        for name in sorted(set(places.values())):
            if "/" in name or not _SHARDED.search(name):
                bound = "a file name that ends as -00001-of-00002.safetensors"
                raise ValueError(f"shard of {listing} is {name!r:.80}, must be {bound}")
            shards[f"{part}/{name}"] = self.real(f"{part}/{name}")
        for name, path in shards.items():
            listed = {tensor for tensor, place in places.items() if place == name.rpartition("/")[2]}
            held = set(tensors(path, name))
            if odd := sorted(listed ^ held):
                raise ValueError(f"{name} is without or with extra tensors ({odd[0]:.80}), must be as {listing} says")
        return shards


def tensors(path: Path, name: str) -> dict[str, tuple[str, int]]:
    """The type and the bytes of each tensor of a safetensors file.

    Raises:
        kino.store.DamagedError: it is truncated or otherwise broken.
        ValueError: a tensor is of another type than float32, bfloat16 or float16.
    """
    found = {}
    try:
        with safe_open(path, framework="np") as file:
            for tensor in file.keys():  # noqa: SIM118  # not a mapping
                part = file.get_slice(tensor)
                dtype = part.get_dtype()
                if dtype not in DTYPES:
                    raise ValueError(f"dtype of {tensor} in {name} is {dtype}, must be one of {', '.join(DTYPES)}")
                found[tensor] = DTYPES[dtype], math.prod(part.get_shape()) * (4 if dtype == "F32" else 2)
    except SafetensorError as error:
        raise DamagedError(name, "a whole safetensors file", str(error)) from error
    return found


def _kind(name: str, index: Mapping[str, Any], kinds: tuple[str, ...]) -> str:
    """The class that an index names for a part, of one of the two libraries and of these kinds."""
    entry = index.get(name)
    if not (isinstance(entry, list) and len(entry) == 2 and all(isinstance(word, str) for word in entry)):
        raise ValueError(f"{name} of {INDEX} is {entry!r:.80}, must be [library, class]")
    library, kind = entry
    if library not in ("diffusers", "transformers", BESIDE.get(kind)):
        bound = "diffusers or transformers: code of a folder is never run"
        raise ValueError(f"{name} of {INDEX} is of {library!r:.80}, must be of {bound}")
    if kind not in kinds:
        raise ValueError(f"{name} of {INDEX} is {kind!r:.80}, must be one of {', '.join(kinds)}")
    return str(kind)


def _check_bounds(config: Any, where: str, key: str = "") -> None:
    """Refuse numbers by which a small file would ask for an endless network."""
    if isinstance(config, Mapping):
        for name, value in config.items():
            _check_bounds(value, where, str(name))
    elif isinstance(config, list):
        if len(config) > MAX_DEPTH:
            raise ValueError(f"{key} of {where} has {len(config)} items, must have at most {MAX_DEPTH}")
        for value in config:
            _check_bounds(value, where, key)
    elif isinstance(config, int):
        most = MAX_DEPTH if _COUNTS.search(key) else MAX_NUMBER
        if abs(config) > most:
            raise ValueError(f"{key} of {where} is {config}, must be at most {most}")


def _dtype(files: Mapping[str, Path]) -> str:
    """The type of most numbers in the weights among some files."""
    num_bytes: Counter[str] = Counter()
    for name, path in files.items():
        if name.endswith(".safetensors"):
            for dtype, size in tensors(path, name).values():
                num_bytes[dtype] += size
    if not num_bytes:
        raise ValueError(f"weights among {', '.join(files)} are without a tensor, must hold a network")
    return num_bytes.most_common(1)[0][0]
