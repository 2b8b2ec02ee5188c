"""Adopt a network that others published: python -m training.adopt --component ul2 --folder PATH --version NAME.

The folder is one of Hugging Face's: config.json, safetensors and a tokenizer. Only the part that kino uses is taken.
"""

import argparse
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from kino import adopted
from kino.adopted import TOKENIZER, WRITER
from kino.manifest import Manifest
from kino.models.adopted_tower import AdoptedTowerConfig, Tokenize
from kino.models.adopted_writer import AdoptedWriterConfig
from kino.registry import Registry, VersionExistsError
from kino.store import DamagedError
from kino.weights import WeightsError
from training.published import MODELS

Dtype = Literal["float32", "bfloat16"]
PROBE = 'a sign says "GO"'
MAX_ANSWER = 256
"""Tokens of a rewriting: captions have about 100 words (Movie Gen, arXiv 2410.13720, section 3.2.1)."""
MAX_CONTEXT = 8192
_DECODER = ("decoder.", "lm_head.")
_PICTURES = ("vision_model.", "visual_projection.", "logit_scale")


@dataclass(frozen=True)
class Reading:
    """How a component reads text, and the architectures that it may be of.

    Args:
        max_tokens: ids of a text at most, unless the network's positions end before.
    """

    networks: tuple[str, ...]
    tokens: Literal["file", "bytes"]
    reads: Literal["prompt", "quotes"]
    output: Literal["sequence", "pooled"]
    max_tokens: int


# What UL2 was trained on (arXiv 2205.05131, section 4.1.3); ByT5's bound is that of a re-implementation of Movie Gen.
READINGS = {
    "ul2": Reading(("T5EncoderModel", "UMT5EncoderModel"), "file", "prompt", "sequence", 512),
    "byt5": Reading(("T5EncoderModel",), "bytes", "quotes", "sequence", 100),
    "metaclip": Reading(("CLIPTextModel", "CLIPTextModelWithProjection"), "file", "prompt", "pooled", 512),
}
NETWORKS: dict[str, tuple[str, tuple[str, ...]]] = {
    "T5EncoderModel": ("T5EncoderModel", ()),
    "T5ForConditionalGeneration": ("T5EncoderModel", _DECODER),
    "UMT5EncoderModel": ("UMT5EncoderModel", ()),
    "UMT5ForConditionalGeneration": ("UMT5EncoderModel", _DECODER),
    "CLIPTextModel": ("CLIPTextModel", ()),
    "CLIPTextModelWithProjection": ("CLIPTextModelWithProjection", ()),
    "CLIPModel": ("CLIPTextModelWithProjection", _PICTURES),
}
"""What a folder says it holds, to the class of the text tower in it and where the tensors of the rest begin."""


def adopt(
    component: str,
    folder: Path,
    registry: Registry,
    version: str,
    dtype: Dtype = "float32",
    max_tokens: int | None = None,
    temperature: float = 0.6,
) -> Manifest:
    """Add the network of a folder as a new version, after it has read a prompt.

    Args:
        dtype: numbers that it is kept and computes in.
        max_tokens: ids of a text, or of an answer, at most; the component's own bound if None.
        temperature: of a rewriter; 0 takes the likeliest token.

    Raises:
        ValueError: the folder holds no such network or no tokenizer of its kind, or a setting is out of range.
        kino.weights.WeightsError, kino.store.DamagedError: as `kino.adopted.read_network`.
        kino.registry.VersionExistsError: the version exists with other content.
    """
    if max_tokens is not None and not 2 <= max_tokens <= MAX_CONTEXT:
        raise ValueError(f"max_tokens is {max_tokens}, must be from 2 to {MAX_CONTEXT}")
    if not 0 <= temperature <= 2:
        raise ValueError(f"temperature is {temperature}, must be from 0 to 2")
    architecture = declared(folder)
    with tempfile.TemporaryDirectory() as scratch:
        staged = Path(scratch)
        if component == "rewriter":
            network, config = stage_writer(folder, architecture, staged, dtype, max_tokens, temperature)
        else:
            network, config = stage_tower(component, folder, architecture, staged, dtype, max_tokens)
        (staged / "card.md").write_text(card(component, folder, architecture))
        manifest = Manifest(
            component=component,
            version=version,
            preset="",
            family=network.config.model_type,
            config=config,
            metrics={"parameters": sum(parameter.numel() for parameter in network.parameters())},
            created=datetime.now(UTC).isoformat(timespec="seconds"),
        )
        return registry.publish(manifest, {path.name: path for path in staged.iterdir()})


def declared(folder: Path) -> str:
    """The architecture that a folder's config.json names.

    Raises:
        ValueError: there is no such file, it names none, or the weights are not safetensors.
    """
    architectures = _json(folder, "config.json").get("architectures")
    if not (isinstance(architectures, list) and len(architectures) == 1 and isinstance(architectures[0], str)):
        raise ValueError(f"architectures of config.json is {architectures!r:.80}, must be one name")
    if not list(folder.glob("*.safetensors")):
        found = ", ".join(sorted(path.name for path in folder.iterdir()))
        raise ValueError(f"folder is one of {found:.200}, must hold *.safetensors: pickled weights are never read")
    return architectures[0]


def stage_tower(
    component: str, folder: Path, architecture: str, staged: Path, dtype: Dtype, max_tokens: int | None
) -> tuple[Any, Mapping[str, Any]]:
    """Put the text tower of a folder alone into `staged`; return the network and the settings to publish it with."""
    reading = READINGS[component]
    name, beside = NETWORKS.get(architecture, ("", ()))
    if name not in reading.networks:
        taken = ", ".join(known for known, (kind, _) in NETWORKS.items() if kind in reading.networks)
        raise ValueError(f"architecture is {architecture!r}, must be one of {taken} for {component}")
    network = adopted.read_network(folder, name, dtype, beside)
    positions = getattr(network.config, "max_position_embeddings", reading.max_tokens)
    limit = min(max_tokens or reading.max_tokens, positions)
    config = AdoptedTowerConfig(name, dtype, 0, limit, reading.tokens, reading.reads, reading.output)
    _stage_tokenizer(component, reading, folder, staged)
    network.save_pretrained(staged)
    tower = adopted.build_tower(staged, config)
    _check_closed(tower.tokenize)
    _check_ids(tower.tokenize(PROBE), network.config.vocab_size)
    with torch.inference_mode():
        rows = tower(PROBE)
    return network, asdict(replace(config, width=rows.shape[1]))


def stage_writer(
    folder: Path, architecture: str, staged: Path, dtype: Dtype, max_tokens: int | None, temperature: float
) -> tuple[Any, Mapping[str, Any]]:
    """Put a causal language model into `staged`; return the network and the settings to publish it with."""
    if architecture not in adopted.causal_architectures():
        raise ValueError(f"architecture is {architecture!r}, must be a causal language model of transformers")
    if not (folder / TOKENIZER).is_file():
        raise ValueError(f"tokenizer is {_tokenizer_class(folder)!r}, must come as a {TOKENIZER}")
    network = adopted.read_network(folder, WRITER, dtype)
    limit = max_tokens or MAX_ANSWER
    context = min(getattr(network.config, "max_position_embeddings", MAX_CONTEXT), MAX_CONTEXT)
    if limit >= context:
        raise ValueError(f"max_tokens is {limit}, must be below the {context} that the network reads")
    config = AdoptedWriterConfig(architecture, dtype, limit, context, temperature)
    adopted.read_tokenizer(folder).save_pretrained(staged)
    network.save_pretrained(staged)
    writer = adopted.build_writer(staged, config)
    question = writer.question("", PROBE)
    _check_ids(question, network.config.vocab_size)
    found = network(torch.tensor([question]), use_cache=True)
    if getattr(found, "past_key_values", None) is None:
        raise ValueError(f"architecture is {architecture!r}, must keep a key-value cache")
    return network, asdict(config)


def card(component: str, folder: Path, architecture: str) -> str:
    """Model card: what was taken, and the digests by which its origin can be found again."""
    files = [folder / "config.json", *sorted(folder.glob("*.safetensors"))]
    lines = [
        f"# {component}, adopted from a Hugging Face folder",
        "",
        f"- Architecture in the folder: {architecture}",
        "- Trained by others: their licence and their card hold",
        "",
        "## SHA-256 of the folder's files",
        "",
        *(f"- {path.name}: {_digest(path)}" for path in files),
    ]
    return "\n".join(lines) + "\n"


def _stage_tokenizer(component: str, reading: Reading, folder: Path, staged: Path) -> None:
    has_file = (folder / TOKENIZER).is_file()
    if reading.tokens == "file" and not has_file:
        raise ValueError(f"tokenizer is {_tokenizer_class(folder)!r}, must come as a {TOKENIZER} for {component}")
    if reading.tokens == "bytes" and (has_file or _tokenizer_class(folder) != "ByT5Tokenizer"):
        raise ValueError(f"tokenizer is {_tokenizer_class(folder)!r}, must be 'ByT5Tokenizer' for {component}")
    if has_file:
        shutil.copyfile(folder / TOKENIZER, staged / TOKENIZER)


def _tokenizer_class(folder: Path) -> str:
    """The class that a folder's tokenizer_config.json names, empty where there is none."""
    path = folder / "tokenizer_config.json"
    return str(_json(folder, path.name).get("tokenizer_class", "")) if path.is_file() else ""


def _check_closed(tokenize: Tokenize) -> None:
    if not tokenize("") or tokenize("")[-1] != tokenize(PROBE)[-1]:
        raise ValueError(f"{TOKENIZER} is without an end of text, must close every text with one")


def _check_ids(ids: Sequence[int], vocabulary: int) -> None:
    if max(ids) >= vocabulary:
        raise ValueError(f"id of the tokenizer is {max(ids)}, must be below the network's {vocabulary}")


def _json(folder: Path, name: str) -> dict[str, Any]:
    try:
        found = json.loads((folder / name).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ValueError(f"folder is {str(folder)!r}, must hold a {name}") from None
    except ValueError as error:
        raise ValueError(f"{name} is no JSON ({error}), must be an object") from error
    if not isinstance(found, dict):
        raise ValueError(f"{name} is {found!r:.80}, must be an object")
    return found


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line of the adopter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--component", required=True, choices=[*READINGS, "rewriter"])
    add("--folder", type=Path, required=True, help="config.json, *.safetensors and the tokenizer")
    add("--version", required=True, help="name of the new version")
    add("--alias", help="alias to move to it; a preset's name makes it that preset's own")
    add("--dtype", choices=get_args(Dtype), default="float32", help="numbers that it computes in (%(default)s)")
    add("--max-tokens", type=int, help="of a text, or of a rewriter's answer (the component's own bound)")
    add("--temperature", type=float, default=0.6, help="of a rewriter; 0 takes the likeliest token (%(default)s)")
    add("--models", default=MODELS, help="model registry (%(default)s)")
    given = parser.parse_args(arguments)
    registry = Registry(given.models)
    settings = (given.dtype, given.max_tokens, given.temperature)
    try:
        manifest = adopt(given.component, given.folder, registry, given.version, *settings)
        if given.alias:
            before = registry.aliases(manifest.component).get(given.alias)
            registry.set_alias(manifest.component, given.alias, manifest.version, before)
    except (ValueError, WeightsError, DamagedError, VersionExistsError) as error:
        parser.exit(2, f"{error}\n")
    print(f"published {manifest.component}/{manifest.version}, digest {manifest.digest}")


if __name__ == "__main__":
    main()
