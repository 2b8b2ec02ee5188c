import json
from collections.abc import Callable
from dataclasses import asdict
from functools import cache, partial
from pathlib import Path

import jaxtyping
import onnx
import pytest
import torch
from torch import Tensor, nn

from kino import weights
from kino.exported import TOLERANCE, place
from kino.manifest import Manifest
from kino.models.lm import LanguageModel, generate
from kino.models.tae import TAE
from kino.models.text import Tower
from kino.presets import PRESETS
from kino.registry import GRAPH_FILE, WEIGHTS_FILE, Registry
from kino.weights import WeightsError
from training import export

Exported = Callable[[str], Registry]
NANO = PRESETS["nano"]
BUILD: dict[str, Callable[[], Tower | LanguageModel | TAE]] = {
    "ul2": lambda: Tower(NANO.towers["ul2"]),
    "rewriter": lambda: LanguageModel(NANO.rewriter),
    "tae": lambda: TAE(NANO.tae),
}


def publish(registry: Registry, component: str, scratch: Path) -> Manifest:
    network = BUILD[component]()
    weights.seeded_init(network, seed=1)
    weights.save_state(scratch / WEIGHTS_FILE, network.state_dict())
    manifest = Manifest(component, "one", "nano", json.loads(json.dumps(asdict(network.config))))
    return registry.publish(manifest, {WEIGHTS_FILE: scratch / WEIGHTS_FILE})


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Gives the registry of the small networks once it holds the one named, with its graph; each is exported once."""
    registry = Registry(tmp_path_factory.mktemp("models"))

    @cache
    def open_with(component: str) -> Registry:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # traced sizes are symbols, which are no int
            export.export(publish(registry, component, tmp_path_factory.mktemp("scratch")), registry)
        return registry

    return open_with


@pytest.fixture
def registry(exported: Exported) -> Registry:
    """A registry that holds a tower with its graph."""
    return exported("ul2")


def both(registry: Registry, component: str) -> tuple[nn.Module, nn.Module]:
    """A network by torch and by its graph."""
    manifest = registry.resolve(component, "one")
    by_torch, by_onnx = (export.open_network(manifest, registry) for _ in range(2))
    assert place(by_onnx, manifest, registry, "onnx") == "onnx"
    return by_torch, by_onnx


def farthest(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max()) if ours.numel() else 0.0


def greedy(logits: Tensor, seen: list[Tensor]) -> int:
    """The likeliest token; the logits are kept."""
    seen.append(logits)
    return int(logits.argmax())


@pytest.mark.parametrize("count", [0, 1, 2, 17, 64])
def test_a_tower_gives_the_same_rows_for_any_number_of_tokens(exported: Exported, count: int) -> None:
    by_torch, by_onnx = both(exported("ul2"), "ul2")
    ids = torch.randint(259, (1, count), generator=torch.Generator().manual_seed(count))
    mask = torch.arange(count)[None] < max(count - 3, 1)
    rows = by_torch(ids, mask)
    assert farthest(rows, by_onnx(ids, mask)) < TOLERANCE
    assert count == 0 or rows.abs().max() > 0.5


def test_a_language_model_writes_the_same_tokens(exported: Exported) -> None:
    by_torch, by_onnx = both(exported("rewriter"), "rewriter")
    assert isinstance(by_torch, LanguageModel)
    assert isinstance(by_onnx, LanguageModel)
    written: list[list[int]] = []
    logits: list[list[Tensor]] = []
    for network in (by_torch, by_onnx):
        seen: list[Tensor] = []
        written.append(list(generate(network, list(b"a red ball"), partial(greedy, seen=seen))))
        logits.append(seen)
    assert written[0] == written[1]
    assert len(set(written[0])) > 3
    assert farthest(torch.stack(logits[0]), torch.stack(logits[1])) < TOLERANCE
    with pytest.raises(ValueError, match="513 tokens exceed the model's 512"):
        by_onnx(torch.zeros(1, 513, dtype=torch.long))


def test_a_tae_decodes_the_same_pixels_tile_by_tile(exported: Exported) -> None:
    by_torch, by_onnx = both(exported("tae"), "tae")
    assert isinstance(by_torch, TAE)
    assert isinstance(by_onnx, TAE)
    latents = torch.randn(1, 16, 6, 2, 4, generator=torch.Generator().manual_seed(0))
    pieces = zip(by_torch.decode_tiled(latents, 45), by_onnx.decode_tiled(latents, 45), strict=True)
    assert max(farthest(ours, theirs) for ours, theirs in pieces) < TOLERANCE


@pytest.mark.parametrize(
    ("component", "shape"), [("ul2", [1, "n"]), ("rewriter", [1, "n"]), ("tae", [1, "t", "h", "w", 16])]
)
def test_a_graph_holds_no_weights_and_no_paths_of_the_machine(
    exported: Exported, component: str, shape: list[int | str]
) -> None:
    registry = exported(component)
    manifest = registry.resolve(component, "one")
    path = registry.file(manifest, GRAPH_FILE)
    graph = onnx.load(path, load_external_data=False).graph
    places = [
        {entry.key: entry.value for entry in tensor.external_data}
        for tensor in graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    ]
    tensors = weights.load_state(manifest, registry, dtype=None)
    read = [tensor for name, tensor in tensors.items() if component != "tae" or name.startswith("decoder.")]
    assert {place["location"] for place in places} == {WEIGHTS_FILE}
    assert sum(int(place["length"]) for place in places) == sum(tensor.nbytes for tensor in read)
    assert path.stat().st_size < 200_000
    assert b".py" not in path.read_bytes()
    assert [axis.dim_param or axis.dim_value for axis in graph.input[0].type.tensor_type.shape.dim] == shape


def test_the_digest_of_a_version_stays(registry: Registry, tmp_path: Path) -> None:
    plain = publish(Registry(tmp_path / "models"), "ul2", tmp_path)
    with_graph = registry.resolve("ul2", "one")
    assert set(with_graph.digests) - set(plain.digests) == {GRAPH_FILE}
    assert with_graph.digest == plain.digest


def test_what_is_exported_is_not_exported_again_unless_asked(
    registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = registry.resolve("ul2", "one")
    drawn: list[Path] = []

    def draw(cut: object, path: Path, prefix: str) -> bytes:
        drawn.append(path)
        return registry.file(manifest, GRAPH_FILE).read_bytes()

    monkeypatch.setattr(export, "draw", draw)
    assert export.export(manifest, registry) == manifest
    assert drawn == []
    assert export.export(manifest, registry, again=True) == manifest
    assert drawn == [registry.file(manifest, WEIGHTS_FILE)]


def test_a_graph_that_deviates_is_not_kept(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = Registry(tmp_path / "models")
    manifest = publish(other, "ul2", tmp_path)
    good = registry.file(registry.resolve("ul2", "one"), GRAPH_FILE).read_bytes()
    monkeypatch.setattr(export, "draw", lambda *_: good.replace(b"Sigmoid", b"Softmax"))
    with pytest.raises(WeightsError, match="the graph deviates from the network by"):
        export.export(manifest, other)
    assert other.resolve("ul2", "one") == manifest
    assert not (tmp_path / "models" / "ul2" / "one" / GRAPH_FILE).exists()


@pytest.mark.parametrize(("component", "family"), [("dit", "kino"), ("ul2", "t5")])
def test_other_networks_are_refused(component: str, family: str, tmp_path: Path) -> None:
    manifest = Manifest(component, "one", "", {}, family=family)
    with pytest.raises(ValueError, match=f"version is {component}/one of family {family}, must be a network of kino's"):
        export.export(manifest, Registry(tmp_path))


def test_the_command_says_what_it_did(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["export", "--component", "ul2", "--version", "one", "--models", str(registry.root)]
    monkeypatch.setattr("sys.argv", arguments)
    export.main()
    size = registry.file(registry.resolve("ul2", "one"), GRAPH_FILE).stat().st_size
    assert capsys.readouterr().out == f"ul2/one has {GRAPH_FILE}, {size / 1e3:.0f} kB\n"
