"""Networks that others published as Hugging Face folders: adopted into the registry once, read strictly ever after.

Of a folder only JSON and safetensors files are read: no pickle, no code of its own, nothing from the network.
"""

import os
import threading
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn

from kino import weights
from kino.manifest import Manifest
from kino.models.adopted_tower import AdoptedTower, AdoptedTowerConfig, byte_tokenizer, file_tokenizer
from kino.models.adopted_writer import AdoptedWriter, AdoptedWriterConfig
from kino.registry import Registry
from kino.store import DamagedError
from kino.weights import WeightsError

FORMAT = "transformers"
"""What the config of an adopted version says under "format"."""
TOKENIZER = "tokenizer.json"
WRITER = "AutoModelForCausalLM"
TOWERS = ("T5EncoderModel", "UMT5EncoderModel", "CLIPTextModel", "CLIPTextModelWithProjection")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
READING = threading.RLock()
"""Held while a library is asked for a part of itself: it imports that then, which two threads must not do at once."""


def is_adopted(manifest: Manifest) -> bool:
    """Whether a version is another's network rather than one of ours."""
    return manifest.config.get("format") == FORMAT


def open_tower(manifest: Manifest, registry: Registry) -> AdoptedTower:
    """An adopted tower, frozen, on the CPU.

    Raises:
        WeightsError: its settings or its tensors are not those of its architecture.
        kino.store.DamagedError: a file is missing, truncated or altered.
    """
    config = weights.config(AdoptedTowerConfig, manifest)
    if config.architecture not in TOWERS:
        raise WeightsError(f"architecture is {config.architecture!r}, must be one of {', '.join(TOWERS)}")
    return build_tower(_folder(manifest, registry), config)


def open_writer(manifest: Manifest, registry: Registry) -> AdoptedWriter:
    """An adopted language model, frozen, on the CPU. Raises as `open_tower`."""
    config = weights.config(AdoptedWriterConfig, manifest)
    return build_writer(_folder(manifest, registry), config)


def build_tower(folder: Path, config: AdoptedTowerConfig) -> AdoptedTower:
    """The tower of these settings that lies in a folder, with nothing beside it."""
    network = read_network(folder, config.architecture, config.dtype)
    if config.tokens == "bytes":
        return AdoptedTower(network, byte_tokenizer(config.max_tokens), config)
    definition = (folder / TOKENIZER).read_text(encoding="utf-8")
    return AdoptedTower(network, file_tokenizer(definition, config.max_tokens), config)


def build_writer(folder: Path, config: AdoptedWriterConfig) -> AdoptedWriter:
    """The language model of these settings that lies in a folder, with nothing beside it."""
    return AdoptedWriter(read_network(folder, WRITER, config.dtype), read_tokenizer(folder), config)


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer of a folder's `tokenizer.json`, with the chat template beside it."""
    with READING:
        return library().PreTrainedTokenizerFast.from_pretrained(folder, local_files_only=True)


def read_network(folder: Path, architecture: str, dtype: str, beside: tuple[str, ...] = ()) -> Any:
    """The network of a folder, frozen, if every tensor of its own is there and none that belongs to nothing.

    Args:
        architecture: class of `transformers` to read it as.
        beside: beginnings of the names of tensors that belong to parts left out, such as "decoder.".

    Raises:
        WeightsError: a tensor is missing, unexpected, of another shape, or holds NaN or infinity.
        kino.store.DamagedError: a safetensors file is damaged.
    """
    try:
        with READING:
            kind = getattr(library(), architecture)
            # The class of a writer is found by the library itself: its numbers are float32 until they are cast below.
            network, found = (kind if architecture == WRITER else _typed(kind, DTYPES[dtype])).from_pretrained(
                folder,
                dtype=torch.float32,  # any other is set for the whole process meanwhile, networks beside this included
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
    except SafetensorError as error:
        raise DamagedError(str(folder), "safetensors files", str(error)) from error
    except (OSError, RuntimeError, ValueError) as error:
        raise WeightsError(f"{folder.name} does not fit {architecture}: {error}") from error
    problems = {
        "missing": found["missing_keys"],
        "unexpected": {name for name in found["unexpected_keys"] if not name.startswith(beside)},
        "of another shape": {str(item[0]) for item in found["mismatched_keys"]},
    }
    told = "; ".join(f"{what} {weights.some(names)}" for what, names in problems.items() if names)
    if told or found["error_msgs"]:
        raise WeightsError(f"{folder.name} does not fit {architecture}: {told or found['error_msgs'][0]}")
    weights.check_finite(network.state_dict(), folder.name)
    for parameter in network.parameters():  # out of the mapped file, whose offsets would decide the last bits of sums
        parameter.data = parameter.data.to(DTYPES[dtype], copy=True)
    frozen: nn.Module = network.eval().requires_grad_(False)
    return frozen


def _typed(kind: Any, dtype: torch.dtype) -> Any:
    """A class of network that has parameters of a type before they are read: the library casts each to what is there.

    So a network of half precision is never in memory in float32.
    """

    def begin(self: Any, *given: Any, **named: Any) -> None:
        kind.__init__(self, *given, **named)
        for parameter in self.parameters():
            parameter.data = parameter.data.to(dtype)  # still without numbers
        self.__class__ = kind

    return type(kind.__name__, (kind,), {"__init__": begin, "__module__": kind.__module__})


def causal_architectures() -> set[str]:
    """Names of the causal language models that the library holds."""
    return set(library().models.auto.modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values())


def library() -> Any:
    """The `transformers` library, cut off from the network; it takes seconds to import, so only who needs it does."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    with READING:
        import transformers

        with torch.device("meta"):  # torch notes its constructors at first use; reading a network replaces one of them
            torch.empty(0)
        transformers.utils.logging.set_verbosity_error()
        transformers.utils.logging.disable_progress_bar()
    return transformers


def _folder(manifest: Manifest, registry: Registry) -> Path:
    """The folder of a version, all of whose files are as they were published."""
    return {registry.file(manifest, name).parent for name in manifest.digests}.pop()
