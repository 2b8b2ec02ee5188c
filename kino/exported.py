"""Networks as ONNX graphs beside their weights, computed by onnxruntime in the place of torch.

A version's `model.onnx` is a graph without weights: it points into the `model.safetensors` beside it, so these are kept
once, and any ONNX tool reads the two together. `python -m training.export` writes it; `place` decides what computes.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from kino.manifest import Manifest
from kino.models.lm import LanguageModel
from kino.models.tae import TAE
from kino.models.text import Tower
from kino.registry import GRAPH_FILE, WEIGHTS_FILE, Registry
from kino.weights import RANDOM_PRESETS, WeightsError

Runtime = Literal["torch", "onnx"]

FASTER_ON = ("cpu",)
"""Types of devices on which "auto" is onnxruntime: on one thread of an AMD EPYC it takes 0.43 of torch's time for a
rewriting, 0.55 for the rows of a text, 0.82 for decoding a film (`python -m tests.bench onnx`). No GPU was measured.
"""
TOLERANCE = 1e-4
"""Largest absolute difference between the outputs of a graph and of its network, over the samples of their seam."""
_PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
_log = logging.getLogger("kino.exported")


@dataclass(frozen=True)
class Seam:
    """The method that a graph stands for: tensors in, tensors out.

    Args:
        module: owner of the method.
        axes: by number, the names of the axes of each input that may have any length.
        samples: inputs of several lengths, for which graph and network must agree; the method is traced with the first.
            Inputs left out at the end have length zero.
    """

    module: nn.Module
    method: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    axes: tuple[Mapping[int, str], ...]
    samples: tuple[tuple[Tensor, ...], ...]


def seam(network: nn.Module) -> Seam | None:
    """Where a network is cut: a tower whole, a step of a language model, the decoder of a TAE; None for any other."""
    generator = torch.Generator().manual_seed(0)
    samples: tuple[tuple[Tensor, ...], ...]
    match network:
        case Tower(config=config):
            texts = [torch.randint(config.vocabulary, (1, count), generator=generator) for count in (7, 1, 24)]
            samples = tuple((ids, torch.ones_like(ids, dtype=torch.bool)) for ids in texts)
            return Seam(network, "forward", ("ids", "mask"), ("rows",), ({1: "n"}, {1: "n"}), samples)
        case LanguageModel(config=config):
            past, present = ([f"{name}_{layer}" for layer in range(config.layers)] for name in ("past", "present"))
            size = config.width // config.heads
            new, first, next_ = (
                torch.randint(config.vocabulary, (1, count), generator=generator) for count in (3, 9, 1)
            )
            seen = [torch.randn(2, 1, config.kv_heads, 5, size, generator=generator) for _ in past]
            axes = ({1: "n"}, *({3: "m"} for _ in past))
            samples = ((new, *seen), (first,), (next_, *seen))
            return Seam(network, "advance", ("ids", *past), ("logits", *present), axes, samples)
        case TAE(config=config):
            grids = ((3, 2, 4), (1, 2, 2), (2, 4, 3))
            samples = tuple((torch.randn(1, *grid, config.latent_channels, generator=generator),) for grid in grids)
            return Seam(network.decoder, "forward", ("latents",), ("pixels",), ({1: "t", 2: "h", 3: "w"},), samples)
    return None


class Graph:
    """A graph on a device, called as the method it stands for.

    Args:
        content: what `model.onnx` holds.
        folder: where the weights lie that it points into.
        device: as torch names it.

    Raises:
        ValueError: onnxruntime cannot compute on the device.
        WeightsError: onnxruntime cannot read the graph.
        ModuleNotFoundError: onnxruntime is not installed.
    """

    def __init__(self, content: bytes, folder: Path, seam: Seam, device: str = "cpu") -> None:
        import onnxruntime  # an extra, and who computes by torch has no need of it

        place = torch.device(device)
        provider = _PROVIDERS[place.type]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
        settings = {}
        if place.type == "cuda":
            onnxruntime.preload_dlls()  # those that were installed beside torch
            settings = {"device_id": str(place.index or 0), "use_tf32": "0"}
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=[(provider, settings)])
        except Exception as error:  # the library raises bare Exception
            raise WeightsError(f"{GRAPH_FILE} is no graph of these weights: {error}") from error
        if provider not in self._session.get_providers():  # it would go on without a word, on the CPU
            raise ValueError(
                f"runtime is 'onnx', must be torch: onnxruntime finds no working {provider} for {device}; "
                "it needs a GPU and the libraries of kino's extra cuda"
            )
        self._inputs = seam.inputs
        self._nothing = [
            sample.new_zeros([0 if number in axes else length for number, length in enumerate(sample.shape)])
            for axes, sample in zip(seam.axes, seam.samples[0], strict=True)
        ]

    def __call__(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The outputs, on the device of the inputs; of a single one the tensor alone."""
        given = (*inputs, *self._nothing[len(inputs) :])
        arrays = {name: tensor.cpu().numpy() for name, tensor in zip(self._inputs, given, strict=True)}
        outputs = tuple(torch.from_numpy(array).to(inputs[0].device) for array in self._session.run(None, arrays))
        return outputs if len(outputs) > 1 else outputs[0]


@torch.inference_mode()
def deviation(seam: Seam, graph: Graph) -> float:
    """Largest absolute difference between graph and network over the samples; infinity where shapes differ."""
    largest = 0.0
    for sample in seam.samples:
        expected, given = (_outputs(function(*sample)) for function in (getattr(seam.module, seam.method), graph))
        for ours, theirs in zip(expected, given, strict=True):
            if ours.shape != theirs.shape or not torch.isfinite(theirs).all():
                return float("inf")
            largest = max(largest, float((ours - theirs).abs().max()))
    return largest


def place(
    network: nn.Module, manifest: Manifest, registry: Registry, runtime: str = "auto", device: str = "cpu"
) -> Runtime:
    """Let a network compute on a device, by torch or by its graph, and return by which; it is called as before.

    A graph that does not give what the network gives is refused, so that a stale one is never served.

    Args:
        network: with its weights, on the CPU.
        runtime: "torch", "onnx", or "auto": whichever is the faster one, if it can be had.

    Raises:
        ValueError: there is no such runtime, or the network cannot compute by it here; the message says why.
        WeightsError: the graph cannot be read, or deviates from the network.
        kino.store.DamagedError: the graph's file is missing, truncated or altered.
        ModuleNotFoundError: onnxruntime is asked for and not installed.
    """
    chosen = choose(manifest, runtime, device)
    if chosen == "onnx":
        _replace(network, manifest, registry, device)
    network.to(device)
    _log.info("placed", extra={"model": _name(manifest), "runtime": chosen, "device": device})
    return chosen


def choose(manifest: Manifest, runtime: str, device: str) -> Runtime:
    """The runtime that a version computes by; raises ValueError as `place`."""
    if runtime == "torch":
        return "torch"
    obstacle = _obstacle(manifest, device)
    if runtime == "onnx" and obstacle:
        raise ValueError(f"runtime is 'onnx', must be torch: {obstacle}")
    if runtime == "onnx":
        return "onnx"
    if runtime != "auto":
        raise ValueError(f"runtime is {runtime!r}, must be auto, torch or onnx")
    if obstacle or torch.device(device).type not in FASTER_ON or find_spec("onnxruntime") is None:
        return "torch"
    return "onnx"


def _obstacle(manifest: Manifest, device: str) -> str:
    """Why a version cannot compute by onnxruntime; empty where it can."""
    if manifest.family != "kino":
        return f"{_name(manifest)} is adopted, and adopted networks are not exported"
    if manifest.version in RANDOM_PRESETS:
        return f"the weights of {manifest.version} are made up at each start, and have no {GRAPH_FILE}"
    if torch.device(device).type not in _PROVIDERS:
        return f"onnxruntime does not compute on {device}"
    if GRAPH_FILE not in manifest.digests:
        named = f"--component {manifest.component} --version {manifest.version}"
        return f"{_name(manifest)} has no {GRAPH_FILE}; python -m training.export {named} writes it"
    return ""


def _replace(network: nn.Module, manifest: Manifest, registry: Registry, device: str) -> None:
    """Put the graph of a version in the place of the method it stands for, if the two agree."""
    cut = seam(network)
    assert cut is not None, f"{_name(manifest)} has a graph and no seam"
    content = registry.file(manifest, GRAPH_FILE).read_bytes()
    graph = Graph(content, registry.file(manifest, WEIGHTS_FILE).parent, cut, device)
    found = deviation(cut, graph)
    if found > TOLERANCE:
        raise WeightsError(
            f"{_name(manifest)}: {GRAPH_FILE} deviates from the network by {found:.2g}, more than {TOLERANCE:.0e}; "
            f"python -m training.export --component {manifest.component} --version {manifest.version} --again renews it"
        )
    setattr(cut.module, cut.method, graph)
    for parameter in cut.module.parameters():
        parameter.data = parameter.data.new_empty(0)  # the graph has its own


def _outputs(given: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return given if isinstance(given, tuple) else (given,)


def _name(manifest: Manifest) -> str:
    return f"{manifest.component}/{manifest.version}"
