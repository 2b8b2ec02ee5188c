import hashlib
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from kino import weights
from kino.manifest import Manifest, Spaces
from kino.models.dit import DiT, DitConfig
from kino.models.tae import TAE, TaeConfig
from kino.models.text import Tower, TowerConfig
from kino.presets import PRESETS, Preset
from kino.registry import WEIGHTS_FILE, Registry
from kino.store import DamagedError, NotFoundError
from kino.weights import WeightsError


class Net(nn.Module):
    """Two matrices, a vector and a statistic."""

    steps: Tensor

    def __init__(self, width: int = 3) -> None:
        super().__init__()
        self.enter = nn.Linear(4, width)
        self.leave = nn.Linear(width, 2, bias=False)
        self.register_buffer("steps", torch.tensor(7))


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


def publish(registry: Registry, tensors: dict[str, Tensor], storage: weights.Storage = "float32") -> Manifest:
    path = registry.root.parent / "model.safetensors"
    weights.save_state(path, tensors, storage)
    return registry.publish(Manifest("tae", "1", "mini", asdict(PRESETS["mini"].tae)), {"model.safetensors": path})


def seeded(width: int = 3, seed: int = 0) -> Net:
    net = Net(width)
    weights.seeded_init(net, seed)
    return net


def test_a_network_gets_back_what_was_published(registry: Registry) -> None:
    source, target = seeded(), seeded(seed=1)
    source.steps.fill_(9)
    weights.load_into(target, publish(registry, source.state_dict()), registry)
    for name, tensor in source.state_dict().items():
        torch.testing.assert_close(target.state_dict()[name], tensor, rtol=0, atol=0)


def test_bf16_rounds_matrices_and_leaves_vectors_and_counts(registry: Registry) -> None:
    state = seeded().state_dict()
    manifest = publish(registry, state, "bf16")
    stored = weights.load_state(manifest, registry, dtype=None)
    assert {name: tensor.dtype for name, tensor in stored.items()} == {
        "enter.weight": torch.bfloat16,
        "enter.bias": torch.float32,
        "leave.weight": torch.bfloat16,
        "steps": torch.int64,
    }
    loaded = weights.load_state(manifest, registry)
    assert loaded["enter.weight"].dtype == torch.float32
    assert torch.equal(loaded["enter.weight"], state["enter.weight"].bfloat16().float())
    assert torch.equal(loaded["enter.bias"], state["enter.bias"])
    assert loaded["steps"].item() == 7


def test_eight_bits_keep_each_row_to_half_a_step_of_its_own(registry: Registry, tmp_path: Path) -> None:
    matrix = torch.tensor([[127.0, 0.4, -63.6], [0.0127, -0.00504, 0.0], [0.0, 0.0, 0.0]])
    kernel = torch.linspace(-1, 1, 24).view(2, 3, 2, 2)
    state = {"m": matrix, "k": kernel, "v": torch.tensor([0.1, 0.2])}
    manifest = publish(registry, state, "int8")
    loaded = weights.load_state(manifest, registry)
    assert loaded.keys() == {"m", "k", "v"}
    torch.testing.assert_close(loaded["m"], torch.tensor([[127.0, 0, -64], [0.0127, -0.005, 0], [0, 0, 0]]))
    steps = kernel.flatten(1).abs().amax(dim=1) / 127
    assert ((loaded["k"] - kernel).flatten(1).abs() <= steps[:, None] * 0.5001).all()
    assert torch.equal(loaded["v"], state["v"])
    weights.save_state(tmp_path / "wide", {"w": torch.ones(64, 1024)}, "int8")
    assert (tmp_path / "wide").stat().st_size < 64 * 1024 + 64 * 4 + 400


def test_equal_tensors_give_equal_files(tmp_path: Path) -> None:
    state = seeded().state_dict()
    weights.save_state(tmp_path / "a", state)
    weights.save_state(tmp_path / "b", dict(reversed(state.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_tensors_that_share_or_stride_are_saved_whole(tmp_path: Path, registry: Registry) -> None:
    matrix = torch.arange(6.0).reshape(2, 3)
    state = weights.load_state(publish(registry, {"a": matrix, "b": matrix, "c": matrix.T}), registry)
    assert state["a"].tolist() == state["b"].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert state["c"].tolist() == [[0, 3], [1, 4], [2, 5]]


def test_what_does_not_fit_is_named(registry: Registry) -> None:
    state = seeded(width=5).state_dict()
    state["extra"] = torch.zeros(1)
    del state["leave.weight"]
    net = seeded()
    with pytest.raises(WeightsError) as caught:
        weights.load_into(net, publish(registry, state), registry)
    assert str(caught.value) == (
        "tae/1 does not fit its network: missing leave.weight; unexpected extra; "
        "enter.bias is [5], must be [3]; enter.weight is [5, 4], must be [3, 4]"
    )
    assert torch.equal(net.enter.weight, seeded().enter.weight)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_values_that_are_no_numbers_are_neither_saved_nor_loaded(
    registry: Registry, tmp_path: Path, value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = seeded().state_dict()
    state["enter.bias"][1] = value
    with pytest.raises(WeightsError, match=r"model.safetensors: NaN or infinity in enter.bias"):
        publish(registry, state)
    with monkeypatch.context() as patch:
        patch.setattr(weights, "check_finite", lambda *_: None)
        manifest = publish(registry, state)
    with pytest.raises(WeightsError, match=r"tae/1: NaN or infinity in enter.bias"):
        weights.load_into(Net(), manifest, registry)


def test_weights_damaged_on_disk_are_named_with_both_digests(registry: Registry) -> None:
    manifest = publish(registry, seeded().state_dict())
    path = registry.root / "tae" / "1" / "model.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedError) as caught:
        weights.load_into(Net(), manifest, registry)
    assert caught.value.name == str(path)
    assert caught.value.expected == f"sha256 {manifest.digests['model.safetensors']}"
    assert caught.value.actual == f"sha256 {hashlib.sha256(content).hexdigest()}"


def test_a_file_that_never_was_weights_is_named(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "text").write_text("not weights")
    manifest = registry.publish(Manifest("tae", "1", "mini", {}), {"model.safetensors": tmp_path / "text"})
    with pytest.raises(DamagedError, match="expected a safetensors file"):
        weights.load_state(manifest, registry)


def test_a_version_without_weights_is_not_found(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "vocab").write_text("{}")
    manifest = registry.publish(Manifest("tae", "1", "mini", {}), {"vocab.json": tmp_path / "vocab"})
    with pytest.raises(NotFoundError, match=r"tae/1 has no file 'model.safetensors'"):
        weights.load_state(manifest, registry)


def test_find_resolves_in_the_registry_and_knows_random_presets(registry: Registry) -> None:
    manifest = publish(registry, seeded().state_dict())
    registry.set_alias("tae", "mini", "1", expected=None)
    assert weights.find("tae", "mini", registry) == manifest
    assert weights.find("tae", "nano", registry) == weights.random_manifest("tae", "nano")
    with pytest.raises(NotFoundError, match="tae has no version '2'; known: 1, mini"):
        weights.find("tae", "2", registry)
    with pytest.raises(NotFoundError, match=r"nano has no component 'vae'; known: tae, dit, .*rewriter, codec, vision"):
        weights.find("vae", "nano", registry)


def test_settings_come_back_as_the_dataclass_of_the_network(registry: Registry) -> None:
    manifest = publish(registry, seeded().state_dict())
    assert manifest.config["widths"] == list(PRESETS["mini"].tae.widths)
    assert weights.config(TaeConfig, manifest) == PRESETS["mini"].tae
    assert weights.config(DitConfig, weights.random_manifest("dit", "nano")) == PRESETS["nano"].dit


def test_settings_of_another_network_are_named() -> None:
    with pytest.raises(WeightsError, match="tae/nano: its config is no TowerConfig, they differ in attention, "):
        weights.config(TowerConfig, weights.random_manifest("tae", "nano"))


def test_random_presets_name_the_spaces_they_fit() -> None:
    dit = weights.random_manifest("dit", "nano")
    towers = {name: weights.random_manifest(name, "nano").digest for name in PRESETS["nano"].towers}
    assert dit.spaces == Spaces(weights.random_manifest("tae", "nano").digest, towers)
    assert len({dit.digest, dit.spaces.latent, *towers.values()}) == 5


def test_random_networks_are_the_same_every_time(registry: Registry) -> None:
    nets: list[list[nn.Module]] = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        made = [TAE(PRESETS["nano"].tae), DiT(PRESETS["nano"].dit), Tower(PRESETS["nano"].towers["ul2"])]
        for net, component in zip(made, ("tae", "dit", "ul2"), strict=True):
            weights.load_into(net, weights.find(component, "nano", registry), registry)
        nets.append(made)
    for first, second in zip(*nets, strict=True):
        assert weights_digest(first) == weights_digest(second)


def weights_digest(module: nn.Module) -> str:
    values = b"".join(tensor.detach().numpy().tobytes() for _, tensor in sorted(module.named_parameters()))
    return hashlib.sha256(values).hexdigest()


def test_seeded_values_are_those_of_every_machine() -> None:
    net = seeded()
    assert net.leave.weight.tolist() == [
        [0.2366199493408203, -0.4209786653518677, -0.19655609130859375],
        [0.8945779800415039, 0.29909205436706543, -0.8300298452377319],
    ]
    assert weights_digest(net) == "765351f7ee22118b387ef4f4d47a0fdc9bf8b2570373cb8a19c432c1bb7d0353"
    assert weights_digest(seeded(seed=1)) != weights_digest(net)


def test_seeded_values_have_the_scale_that_keeps_variance() -> None:
    linear, norm = nn.Linear(300, 400), nn.LayerNorm(400)
    for module in (linear, norm):
        weights.seeded_init(module)
    assert linear.weight.var().item() == pytest.approx(1 / 300, rel=0.02)
    assert linear.weight.mean().item() == pytest.approx(0, abs=1e-3)
    assert linear.weight.abs().max().item() <= (3 / 300) ** 0.5
    for values, centre in ((norm.weight, 1), (linear.bias, 0), (norm.bias, 0)):
        assert 0.09 < (values - centre).abs().max().item() <= 0.1001


def tae_of(preset: Preset) -> TAE:
    return TAE(preset.tae)


def test_a_network_is_opened_frozen_with_its_manifest_and_preset(registry: Registry) -> None:
    manifest, preset, tae = weights.open_network("tae", "nano", "nano", registry, tae_of)
    assert (manifest, preset) == (weights.random_manifest("tae", "nano"), PRESETS["nano"])
    assert not tae.training
    assert not any(parameter.requires_grad for parameter in tae.parameters())
    expected = TAE(PRESETS["nano"].tae)
    weights.seeded_init(expected)
    assert weights_digest(tae) == weights_digest(expected)


def test_a_random_preset_has_published_versions_too(registry: Registry, tmp_path: Path) -> None:
    source = TAE(PRESETS["nano"].tae)
    weights.seeded_init(source, seed=5)
    weights.save_state(tmp_path / WEIGHTS_FILE, source.state_dict(), "float32")
    manifest = Manifest("tae", "trained", "nano", asdict(source.config))
    registry.publish(manifest, {WEIGHTS_FILE: tmp_path / WEIGHTS_FILE})
    _, _, tae = weights.open_network("tae", "nano", "trained", registry, tae_of)
    assert weights_digest(tae) == weights_digest(source)
    with pytest.raises(NotFoundError, match="other"):
        weights.open_network("tae", "nano", "other", registry, tae_of)


def test_a_published_network_is_opened_with_its_weights(registry: Registry) -> None:
    source = TAE(PRESETS["mini"].tae)
    weights.seeded_init(source, seed=5)
    published = publish(registry, source.state_dict())
    manifest, preset, tae = weights.open_network("tae", "mini", "1", registry, tae_of)
    assert (manifest, preset) == (published, PRESETS["mini"])
    assert weights_digest(tae) == weights_digest(source)


def test_a_version_of_another_preset_or_with_other_settings_is_refused(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"never read")
    for version, preset, config in (("a", "1b", PRESETS["mini"].tae), ("b", "mini", PRESETS["nano"].tae)):
        manifest = Manifest("tae", version, preset, asdict(config))
        registry.publish(manifest, {"model.safetensors": tmp_path / "weights"})
    with pytest.raises(ValueError, match="version is 'a' of the preset 1b, must be one of mini"):
        weights.open_network("tae", "mini", "a", registry, tae_of)
    with pytest.raises(WeightsError, match="tae/b: its config is not that of the preset mini"):
        weights.open_network("tae", "mini", "b", registry, tae_of)
    with pytest.raises(ValueError, match="preset is 'huge', must be one of nano, mini"):
        weights.open_network("tae", "huge", "a", registry, tae_of)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_a_number_that_is_none_is_found(dtype: torch.dtype, number: float) -> None:
    tensors = {"sound": torch.ones(3, 5, dtype=dtype), "empty": torch.ones(0, dtype=dtype)}
    weights.check_finite(tensors, "here")
    tensors["broken"] = tensors["sound"].clone()
    tensors["broken"][1, 2] = number
    with pytest.raises(WeightsError, match="here: NaN or infinity in broken"):
        weights.check_finite(tensors, "here")
