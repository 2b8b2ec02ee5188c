"""Write the ONNX graph of a published version beside its weights: python -m training.export --version mini.

The graph is `model.onnx`, a few tens of kilobytes that point into `model.safetensors`; copy both to use it elsewhere.
A version that has its graph is left alone. Adopted networks and the generator are not exported.
"""

import argparse
import json
import struct
import warnings
from pathlib import Path

import onnx_ir
import torch
from torch import Tensor, nn

from kino import weights
from kino.exported import TOLERANCE, Graph, Seam, deviation, seam
from kino.manifest import Manifest
from kino.models.lm import LanguageModel, LmConfig
from kino.models.tae import TAE, TaeConfig
from kino.models.text import Tower, TowerConfig
from kino.registry import GRAPH_FILE, WEIGHTS_FILE, Registry
from kino.weights import WeightsError
from training.published import MODELS

COMPONENTS = ("ul2", "byt5", "metaclip", "t5", "rewriter", "tae")
OPSET = 20
_DTYPES = {"F32": onnx_ir.DataType.FLOAT, "BF16": onnx_ir.DataType.BFLOAT16}


def export(manifest: Manifest, registry: Registry, again: bool = False) -> Manifest:
    """Add the graph of a version to it, once it was compared with the network, and return the manifest.

    Args:
        again: write it anew where there is one.

    Raises:
        ValueError: the version is of another component, or adopted.
        WeightsError: the graph deviates from the network.
        kino.store.NotFoundError, kino.store.DamagedError: as `weights.load_state`.
    """
    if manifest.component not in COMPONENTS or manifest.family != "kino":
        told = f"{manifest.component}/{manifest.version} of family {manifest.family}"
        raise ValueError(f"version is {told}, must be a network of kino's own and one of {', '.join(COMPONENTS)}")
    if GRAPH_FILE in manifest.digests and not again:
        return manifest
    network = open_network(manifest, registry)
    path, cut = registry.file(manifest, WEIGHTS_FILE), seam(network)
    assert cut is not None
    prefix = next(name for name, module in network.named_modules() if module is cut.module)
    content = draw(cut, path, f"{prefix}." if prefix else "")
    found = deviation(cut, Graph(content, path.parent, cut))
    if found > TOLERANCE:
        raise WeightsError(f"the graph deviates from the network by {found:.2g}, more than {TOLERANCE:.0e}")
    return registry.attach_graph(manifest, content)


def open_network(manifest: Manifest, registry: Registry) -> nn.Module:
    """The network of a version that can be exported, frozen."""
    network: Tower | LanguageModel | TAE
    if manifest.component == "tae":
        network = TAE(weights.config(TaeConfig, manifest))
    elif manifest.component == "rewriter":
        network = LanguageModel(weights.config(LmConfig, manifest))
    else:
        network = Tower(weights.config(TowerConfig, manifest))
    weights.load_into(network, manifest, registry)
    return network.eval().requires_grad_(False)


class Method(nn.Module):
    """The method of a seam as a module of its own."""

    def __init__(self, cut: Seam) -> None:
        super().__init__()
        self.owner, self.method = cut.module, cut.method

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """What the method returns."""
        return getattr(self.owner, self.method)(*inputs)


def draw(cut: Seam, path: Path, prefix: str) -> bytes:
    """The graph of a seam, its weights named as places in a safetensors file.

    Args:
        path: the file.
        prefix: what the names of the module's tensors begin with in it.
    """
    named = {name: torch.export.Dim(name) for axes in cut.axes for name in axes.values()}
    shapes = tuple({number: named[name] for number, name in axes.items()} for axes in cut.axes)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="# The axis name")  # told of every axis that two inputs share
        program = torch.onnx.export(
            Method(cut).eval(),
            cut.samples[0],
            input_names=cut.inputs,
            output_names=cut.outputs,
            dynamic_shapes=(shapes,),
            optimize=False,  # onnxruntime folds constants as it loads; folded here they would not be in the file
            opset_version=OPSET,
            verbose=False,
        )
    assert program is not None
    model = program.model
    _point(model.graph, path, prefix)
    for node in model.graph:  # they tell where in the code it came from, with paths of this machine
        node.metadata_props.clear()
    return onnx_ir.to_proto(model).SerializeToString()


def _point(graph: onnx_ir.Graph, path: Path, prefix: str) -> None:
    """Let the weights of a graph be read from a safetensors file, and be float32 where they are bfloat16 there."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    for name, weight in list(graph.initializers.items()):
        entry = header.get(prefix + name.removeprefix("owner."))
        if entry is None:
            continue  # a constant of the code, which stays in the graph
        assert weight.shape is not None
        begin, end = entry["data_offsets"]
        dtype = _DTYPES[entry["dtype"]]
        stored = onnx_ir.ExternalTensor(
            path.name, 8 + length + begin, end - begin, dtype, shape=weight.shape, name=name, base_dir=path.parent
        )
        if dtype == weight.dtype:
            weight.const_value = stored
            continue
        del graph.initializers[name]
        source = onnx_ir.Value(name=name, shape=weight.shape, type=onnx_ir.TensorType(dtype), const_value=stored)
        graph.register_initializer(source)
        cast = onnx_ir.node("Cast", [source], {"to": onnx_ir.DataType.FLOAT})
        cast.outputs[0].name = f"{name}.float"
        graph.insert_before(graph[0], cast)
        weight.replace_all_uses_with(cast.outputs[0])


def main() -> None:
    """Command line of the exporter."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--component", action="append", choices=COMPONENTS, help="which network; all of them if none")
    parser.add_argument("--version", required=True, help="version or alias")
    parser.add_argument("--models", default=MODELS)
    parser.add_argument("--again", action="store_true", help="write a graph anew where there is one")
    arguments = parser.parse_args()
    registry = Registry(arguments.models)
    for component in arguments.component or COMPONENTS:
        before = registry.resolve(component, arguments.version)
        after = export(before, registry, arguments.again)
        done = "has" if GRAPH_FILE in before.digests and not arguments.again else "got"
        size = registry.file(after, GRAPH_FILE).stat().st_size
        print(f"{component}/{after.version} {done} {GRAPH_FILE}, {size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
