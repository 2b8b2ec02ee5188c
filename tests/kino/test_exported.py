import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from kino import exported
from kino.exported import Runtime, choose, place, seam
from kino.manifest import Manifest
from kino.models.text import Tower
from kino.registry import GRAPH_FILE, WEIGHTS_FILE, Registry
from kino.store import DamagedError
from kino.weights import WeightsError, open_network, random_manifest

MODELS = Path(__file__).parents[2] / "models"


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A registry that holds one shipped tower, the smallest."""
    shutil.copytree(MODELS / "byt5", tmp_path / "byt5")
    return Registry(tmp_path)


def tower(registry: Registry) -> tuple[Manifest, Tower]:
    manifest, _, network = open_network("byt5", "mini", "mini", registry, lambda row: Tower(row.towers["byt5"]))
    return manifest, network


def graph_path(registry: Registry) -> Path:
    return registry.file(registry.resolve("byt5", "mini"), GRAPH_FILE)


def test_a_placed_network_computes_by_its_graph_alone(registry: Registry) -> None:
    (manifest, network), (_, by_torch) = tower(registry), tower(registry)
    assert place(network, manifest, registry, "onnx") == "onnx"
    ids, mask = torch.tensor([[2, 70, 71, 1]]), torch.ones(1, 4, dtype=torch.bool)
    rows = network(ids, mask)
    assert rows.shape == (1, 4, 96)
    torch.testing.assert_close(rows, by_torch(ids, mask), rtol=0, atol=1e-5)
    assert sum(parameter.numel() for parameter in network.parameters()) == 0
    assert network.embedding.weight.device == torch.device("cpu")


def test_by_torch_a_network_stays_as_it_was(registry: Registry) -> None:
    manifest, network = tower(registry)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert place(network, manifest, registry, "torch") == "torch"
    assert "forward" not in vars(network)
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())


@pytest.mark.parametrize("cut", [0, 1000])
def test_a_damaged_graph_is_refused(registry: Registry, cut: int) -> None:
    manifest, network = tower(registry)
    path = graph_path(registry)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DamagedError, match=GRAPH_FILE):
        place(network, manifest, registry, "auto")


def test_what_is_no_graph_of_these_weights_is_refused(registry: Registry) -> None:
    manifest, network = tower(registry)
    for content in (b"not a graph", graph_path(registry).read_bytes().replace(WEIGHTS_FILE.encode(), b"m" * 17)):
        attached = registry.attach_graph(manifest, content)
        with pytest.raises(WeightsError, match=r"model\.onnx is no graph of these weights: "):
            place(network, attached, registry, "onnx")


def test_a_graph_that_deviates_from_its_network_is_refused(registry: Registry) -> None:
    manifest, network = tower(registry)
    attached = registry.attach_graph(manifest, graph_path(registry).read_bytes().replace(b"Sigmoid", b"Softmax"))
    with pytest.raises(
        WeightsError, match=r"byt5/mini-1: model.onnx deviates from the network by .* --again renews it"
    ):
        place(network, attached, registry, "auto")
    assert "forward" not in vars(network)


SHIPPED = Registry(MODELS).resolve("byt5", "mini")
UNEXPORTED = replace(SHIPPED, version="one", digests={WEIGHTS_FILE: "ab"})


@pytest.mark.parametrize(
    ("manifest", "runtime", "device", "chosen"),
    [
        (SHIPPED, "auto", "cpu", "onnx"),
        (SHIPPED, "onnx", "cpu", "onnx"),
        (SHIPPED, "onnx", "cuda:1", "onnx"),
        (SHIPPED, "torch", "cpu", "torch"),
        (SHIPPED, "auto", "cuda:0", "torch"),  # not measured
        (UNEXPORTED, "auto", "cpu", "torch"),
        (random_manifest("byt5", "nano"), "auto", "cpu", "torch"),
        (replace(SHIPPED, family="t5"), "auto", "cpu", "torch"),
    ],
)
def test_auto_is_the_faster_one_that_can_be_had(manifest: Manifest, runtime: str, device: str, chosen: Runtime) -> None:
    assert choose(manifest, runtime, device) == chosen


@pytest.mark.parametrize(
    ("manifest", "runtime", "device", "message"),
    [
        (SHIPPED, "tensorrt", "cpu", "runtime is 'tensorrt', must be auto, torch or onnx"),
        (
            UNEXPORTED,
            "onnx",
            "cpu",
            "byt5/one has no model.onnx; python -m training.export --component byt5 --version one",
        ),
        (random_manifest("byt5", "nano"), "onnx", "cpu", "the weights of nano are made up at each start"),
        (replace(SHIPPED, family="t5"), "onnx", "cpu", "byt5/mini-1 is adopted, and adopted networks are not exported"),
        (SHIPPED, "onnx", "mps", "onnxruntime does not compute on mps"),
    ],
)
def test_a_runtime_that_cannot_be_had_is_refused(manifest: Manifest, runtime: str, device: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose(manifest, runtime, device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_device_without_a_working_provider_is_refused(registry: Registry) -> None:
    manifest, network = tower(registry)
    with pytest.raises(
        ValueError, match="must be torch: onnxruntime finds no working CUDAExecutionProvider for cuda:0"
    ):
        place(network, manifest, registry, "onnx", "cuda:0")


def test_without_onnxruntime_auto_is_torch_and_onnx_an_error(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest, network = tower(registry)
    monkeypatch.setattr(exported, "find_spec", lambda name: None)
    assert choose(manifest, "auto", "cpu") == "torch"
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ModuleNotFoundError, match="onnxruntime"):
        place(network, manifest, registry, "onnx")


def test_networks_without_a_seam_have_none() -> None:
    assert seam(nn.Linear(2, 2)) is None
