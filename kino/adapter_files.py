"""Adapters as files of others: those of PEFT, of `diffusers` and of the tools whose layouts `diffusers` understands.

Read with suspicion into one layout; nothing of a change may be lost on the way without a word.
"""

import inspect
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import safe_open
from torch import Tensor

from kino import parts, weights
from kino.folders import MAX_JSON_BYTES, PICKLES, Folder
from kino.pipelines import tensors as headers

MAX_BYTES = 8 << 30
MAX_RANK = 1024
MAX_ALPHA = 1e6
FILES = ("adapter_model.safetensors", "pytorch_lora_weights.safetensors")
"""Names that PEFT and `diffusers` give the weights; any other name will do where there is one file alone."""
SETTINGS = "adapter_config.json"
_HEADER = "lora_adapter_metadata"  # under which diffusers keeps the same settings inside the file

_TENSOR = re.compile(
    r"(?P<layer>.+?)\.(?P<role>lora_A|lora_B|lora_down|lora_up|lora\.down|lora\.up)(?:\.default)?\.(?P<kind>weight|bias)"
)
_DOWN, _UP = ("lora_A", "lora_down", "lora.down"), ("lora_B", "lora_up", "lora.up")
_PREFIXES = ("", "transformer.", "transformer_2.", "base_model.model.", "base_model.model.transformer.")
_OTHER_KINDS = re.compile(r"dora_scale|lora_magnitude_vector|lokr_|hada_|oft_|ia3_|lora_mid|modules_to_save")
_TEXT = re.compile(
    r"(?:base_model\.model\.)?(?:text_encoder|text_model|lora_te|te[12]?_|conditioner|cond_stage_model"
    r"|connectors\.|text_embedding_projection\.)"  # what makes texts ready for LTX-2
)
_READ = ("r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora")
_IDLE = (  # settings that say how it was trained, or what its tensors say themselves
    "auto_mapping", "base_model_name_or_path", "ensure_weight_tying", "exclude_modules", "inference_mode",
    "init_lora_weights", "layers_pattern", "layers_to_transform", "loftq_config", "lora_bias", "lora_dropout",
    "megatron_core", "peft_type", "peft_version", "qalora_group_size", "revision", "target_modules", "task_type",
)  # fmt: skip
_PLAIN = re.compile(r"[\w.$^\\]{1,300}")  # of a pattern that can only be matched in one way


@dataclass(frozen=True)
class Low:
    """A change of one layer: `down` [rank in], `up` [out rank], the `bias` [out] of `up`, if any, and its alpha."""

    down: Tensor
    up: Tensor
    bias: Tensor | None
    alpha: float


@dataclass(frozen=True)
class Base:
    """The network that an adapter is for.

    Args:
        name: of its version, for messages.
        part: which network of that version.
        layers: inputs and outputs of its linear layers, by name.
        pipeline: class of `diffusers` that understands what others call its layers; empty for a network of ours.
    """

    name: str
    part: str
    layers: Mapping[str, tuple[int, int]]
    pipeline: str


@dataclass(frozen=True)
class AdapterFile:
    """A file of an adapter whose tensors are of a type that is taken, nothing else of it seen yet."""

    folder: Folder
    name: str

    @property
    def path(self) -> Path:
        """Where it lies."""
        return self.folder.real(self.name)


def find(path: Path) -> AdapterFile:
    """The file of an adapter: the path itself, or the one in that folder.

    Raises:
        ValueError: there is none or more than one, it is pickled or too large, or holds numbers of another type.
        kino.store.DamagedError: it is truncated or otherwise broken.
    """
    folder, held = (Folder(path.parent), [path.name]) if path.is_file() else (Folder(path), [])
    held = held or [name for name in FILES if folder.path(name)] or sorted(one.name for one in path.glob("*"))
    names = [name for name in held if name.endswith(".safetensors")]
    if not names and any(name.endswith(PICKLES) for name in held):
        raise ValueError(f"weights of the adapter are pickled ({', '.join(held):.80}), must be safetensors")
    if len(names) != 1:
        found = ", ".join(names) or "none"
        raise ValueError(f"safetensors files of the adapter are {found:.200}, must be one; name the file itself")
    file = AdapterFile(folder, names[0])
    size = file.path.stat().st_size
    if size > MAX_BYTES:
        raise ValueError(f"{file.name} is {size} bytes long, must be at most {MAX_BYTES}")
    if not headers(file.path, file.name):
        raise ValueError(f"{file.name} is without a tensor, must hold an adapter")
    return file


def read(file: AdapterFile, base: Base) -> tuple[dict[str, Low], bool]:
    """The changes by layer, and whether alpha is divided by the root of the rank.

    Raises:
        ValueError: the file changes more than linear layers of the base by low rank, or not such as the base has.
    """
    tensors = safetensors.torch.load_file(file.path)
    _refuse_other_kinds(tensors, base)
    settings = _settings(file)
    state, alphas = _direct(tensors, base) or _converted(tensors, base)
    changes = _paired(state, base)
    if settings is not None and alphas:
        raise ValueError(f"alphas of {file.name} are tensors and settings, must be given once")
    if alphas and alphas.keys() != changes.keys():
        raise ValueError(f"alphas of {file.name} lack {weights.some(changes.keys() ^ alphas.keys())}, must be of each")
    low = {}
    for layer, (down, up, bias) in changes.items():
        rank = len(down)
        alpha = float(alphas.get(layer, rank)) if settings is None else _alpha(settings, layer, rank)
        if not (math.isfinite(alpha) and abs(alpha) <= MAX_ALPHA):
            raise ValueError(f"alpha of {layer} is {alpha}, must be at most {MAX_ALPHA:g}")
        low[layer] = Low(down, up, bias, alpha)
    return low, bool(settings and settings.get("use_rslora"))


def _refuse_other_kinds(tensors: Mapping[str, Tensor], base: Base) -> None:
    odd = [name for name in tensors if _OTHER_KINDS.search(name)]
    if odd:
        raise ValueError(f"{odd[0][:120]} is a change of another kind, must be LoRA: lora_A and lora_B, nothing beside")
    text = [name for name in tensors if _TEXT.match(name)]
    if text:
        raise ValueError(f"{text[0][:120]} changes a text encoder, must change {base.part}: no other part is adapted")


def _settings(file: AdapterFile) -> dict[str, Any] | None:
    """The settings beside the tensors, or inside their file; None where there are none."""
    where, found = SETTINGS, None
    if file.name == FILES[0] or file.folder.path(SETTINGS) is not None:
        found = file.folder.json(SETTINGS)
    else:
        with safe_open(file.path, framework="np") as opened:
            text = (opened.metadata() or {}).get(_HEADER, "")
        if len(text) > MAX_JSON_BYTES:
            raise ValueError(f"{_HEADER} is {len(text)} characters long, must be at most {MAX_JSON_BYTES}")
        if text:
            where, given = _HEADER, json.loads(text)
            if not isinstance(given, dict):
                raise ValueError(f"{_HEADER} is {given!r:.80}, must be an object")
            found = {re.sub(r"^transformer(_2)?\.", "", key): value for key, value in given.items()}
    if found is not None:
        _check_settings(found, where)
    return found


def _check_settings(settings: Mapping[str, Any], where: str) -> None:
    if settings.get("peft_type", "LORA") != "LORA":
        raise ValueError(f"peft_type of {where} is {settings['peft_type']!r:.80}, must be LORA")
    if settings.get("init_lora_weights", True) not in (True, False, "gaussian", "orthogonal"):
        bound = "one that leaves the model as it is: true, false, gaussian or orthogonal"
        raise ValueError(f"init_lora_weights of {where} is {settings['init_lora_weights']!r:.80}, must be {bound}")
    for key, value in settings.items():
        if key not in (*_READ, *_IDLE) and value not in (None, False, "", "none", [], {}):
            raise ValueError(f"{key} of {where} is {value!r:.80}, must be left out: it is more than LoRA")
    for key in ("rank_pattern", "alpha_pattern"):
        patterns = settings.get(key) or {}
        if not isinstance(patterns, dict) or not all(_PLAIN.fullmatch(pattern) for pattern in patterns):
            raise ValueError(f"{key} of {where} is {patterns!r:.200}, must name layers without any choice")
    numbers = [settings.get("r"), settings.get("lora_alpha")]
    numbers += [value for key in ("rank_pattern", "alpha_pattern") for value in (settings.get(key) or {}).values()]
    for value in numbers:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError(f"r and lora_alpha of {where} are partly {value!r:.80}, must be numbers")


def _alpha(settings: Mapping[str, Any], layer: str, rank: int) -> float:
    """Alpha of a layer as settings say, whose rank has to be that of its tensors.

    A pattern is of a layer whose name ends with it, as in PEFT.
    """

    def of(key: str, default: float) -> float:
        patterns: Mapping[str, float] = settings.get(key) or {}
        found = [value for pattern, value in patterns.items() if re.match(rf"(.*\.)?({pattern})$", layer)]
        return found[0] if found else default

    told = of("rank_pattern", settings["r"])
    if told != rank:
        raise ValueError(f"r of {layer} is {told}, must be {rank} as its tensors are")
    return float(of("alpha_pattern", settings["lora_alpha"]))


def _direct(tensors: Mapping[str, Tensor], base: Base) -> tuple[dict[str, Tensor], dict[str, float]] | None:
    """The tensors under the base's own names for its layers, and alphas; None where these are not its names."""
    for prefix in _PREFIXES:
        if not all(name.startswith(prefix) for name in tensors):
            continue
        state = {name.removeprefix(prefix): tensor for name, tensor in tensors.items()}
        alphas = {name.removesuffix(".alpha"): name for name in state if name.endswith(".alpha")}
        found = {name: _TENSOR.fullmatch(name) for name in state if name not in alphas.values()}
        layers = {match["layer"] if match else "" for match in found.values()} | alphas.keys()
        if layers <= base.layers.keys():
            told = {layer: float(state[name]) for layer, name in alphas.items()}
            return {name: state[name] for name in found}, told
    return None


def _converted(tensors: Mapping[str, Tensor], base: Base) -> tuple[dict[str, Tensor], dict[str, float]]:
    """The tensors under the base's names, as `diffusers` translates the layouts that it understands."""
    alphas: Mapping[str, Any] = {}
    state = dict(tensors)
    if base.pipeline:
        translate = getattr(getattr(parts.library(), base.pipeline), "lora_state_dict", None)
        if translate is None:
            raise ValueError(f"model is {base.name}, must be of a family that diffusers has adapters of")
        try:
            if "return_alphas" in inspect.signature(translate).parameters:
                state, alphas = translate(dict(tensors), return_alphas=True)
            else:
                state = translate(dict(tensors))
        except Exception as error:  # a converter meets a layout it does not know with whatever it stumbles over
            bound = f"one that diffusers understands for {base.pipeline}"
            raise ValueError(f"layout of the adapter is unknown ({error!r:.200}), must be {bound}") from error
        _refuse_losses(tensors, state)
    prefix = max((one for one in _PREFIXES if all(name.startswith(one) for name in (*state, *alphas))), key=len)
    alphas = {name: value for name, value in state.items() if name.endswith(".alpha")} | dict(alphas)
    told = {name.removeprefix(prefix).removesuffix(".alpha"): float(value) for name, value in alphas.items()}
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name not in alphas}, told


def _refuse_losses(given: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    """Refuse an adapter of which a translation leaves something out that would have changed the model."""
    kept = {id(tensor) for tensor in state.values()}
    for name, tensor in given.items():
        if name.endswith((".diff", ".diff_b")) and id(tensor) not in kept and tensor.any():
            raise ValueError(
                f"{name[:120]} is a whole difference, must be left out: only changes of low rank are taken"
            )
    before, after = (_num_ups(tensors) for tensors in (given, state))
    if after < before:
        raise ValueError(f"layout of the adapter is known in part: {after} of its {before} numbers, must be of all")


def _num_ups(tensors: Mapping[str, Tensor]) -> int:
    """Numbers of all matrices that lead up from the low rank; a translation cuts them, but loses and repeats none."""
    roles = {name: match for name in tensors if (match := _TENSOR.fullmatch(name)) and match["kind"] == "weight"}
    return sum(tensors[name].numel() for name, match in roles.items() if match["role"] in _UP)


def _paired(state: Mapping[str, Tensor], base: Base) -> dict[str, tuple[Tensor, Tensor, Tensor | None]]:
    """Down, up and bias of each layer, whose shapes are those of the base."""
    downs: dict[str, Tensor] = {}
    ups: dict[str, Tensor] = {}
    biases: dict[str, Tensor] = {}
    for name, tensor in state.items():
        match = _TENSOR.fullmatch(name)
        if match is None or (match["kind"] == "bias" and match["role"] in _DOWN):
            raise ValueError(f"{name[:120]} is no part of a change by low rank, must be lora_A or lora_B of a layer")
        kept = biases if match["kind"] == "bias" else downs if match["role"] in _DOWN else ups
        kept[match["layer"]] = tensor
    layers = downs.keys() | ups.keys() | biases.keys()
    if unknown := layers - base.layers.keys():
        raise ValueError(
            f"layers of the adapter are partly {weights.some(unknown):.400}, must be linear layers of {base.part} "
            f"of {base.name}"
        )
    if halves := layers - (downs.keys() & ups.keys()):
        raise ValueError(f"lora_A or lora_B of {weights.some(halves):.400} is missing, must be there")
    for layer in layers:
        _check_shapes(layer, downs[layer], ups[layer], biases.get(layer), base)
    weights.check_finite(state, base.part)
    return {layer: (downs[layer], ups[layer], biases.get(layer)) for layer in sorted(layers)}


def _check_shapes(layer: str, down: Tensor, up: Tensor, bias: Tensor | None, base: Base) -> None:
    inputs, outputs = base.layers[layer]
    rank = down.shape[0] if down.ndim else 0
    if not 1 <= rank <= MAX_RANK:
        raise ValueError(f"rank of {layer} is {rank}, must be from 1 to {MAX_RANK}")
    expected = {"lora_A": (down, [rank, inputs]), "lora_B": (up, [outputs, rank])}
    if bias is not None:
        expected["bias"] = bias, [outputs]
    for name, (tensor, shape) in expected.items():
        if list(tensor.shape) != shape:
            raise ValueError(f"{name} of {layer} is {list(tensor.shape)}, must be {shape} for {base.name}")
