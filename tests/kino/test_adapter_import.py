"""Adapters in the layouts of others, all of which must come to the same change, and what is refused with its reason."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from kino.adapter_import import import_adapter
from kino.adapters import AdapterSettings, versions_for
from kino.importing import import_pipeline
from kino.models.dit import DiT
from kino.presets import PRESETS
from kino.registry import WEIGHTS_FILE, Registry, VersionExistsError
from kino.store import DamagedError, NotFoundError
from tests import adapters, pipelines, sound_pipelines

ALL = ("to_q", "to_k", "to_v", "to_out.0", "net.0.proj", "net.2")
ORIGINAL = {  # what the authors of Wan call the layers of a block
    **{f"attn{n}.{ours}": f"{kind}_attn.{theirs}"
       for n, kind in ((1, "self"), (2, "cross"))
       for ours, theirs in (("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "o"))},
    "ffn.net.0.proj": "ffn.0",
    "ffn.net.2": "ffn.2",
}  # fmt: skip
OF_LTX2 = {  # what the authors of LTX-2 call layers outside its blocks
    "audio_proj_in": "audio_patchify_proj", "time_embed.linear": "adaln_single.linear",
    "av_cross_attn_video_a2v_gate.linear": "av_ca_a2v_gate_adaln_single.linear",
}  # fmt: skip
WEIGHTS = "adapter_model.safetensors"


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    root = tmp_path_factory.mktemp("adapters")
    registry = Registry(root / "models")
    import_pipeline(pipelines.save(pipelines.wan, root / "wan"), registry, "tiny")
    return registry


@pytest.fixture(scope="module")
def tensors() -> dict[str, Tensor]:
    """An adapter of every layer of the blocks, rank 4, alpha 8, by the library's own names."""
    return adapters.trained(pipelines.make(pipelines.wan).transformer, 1, target_modules=list(ALL))


def changes(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What a stored adapter adds to each layer's matrix."""
    layers = {name.removesuffix(".lora_A.weight") for name in tensors if name.endswith(".lora_A.weight")}
    return {
        layer: float(tensors[f"{layer}.alpha"])
        / len(tensors[f"{layer}.lora_A.weight"])
        * (tensors[f"{layer}.lora_B.weight"] @ tensors[f"{layer}.lora_A.weight"])
        for layer in layers
    }


def named(tensors: Mapping[str, Tensor], name: Callable[[str, str], str], alpha: str = "") -> dict[str, Tensor]:
    """The tensors under other names, of a block and a layer in it, with alphas where such a layout has them."""
    made = {}
    for key, tensor in tensors.items():
        _, block, layer = key.partition(".lora_")[0].split(".", 2)
        role = "lora_" + key.partition(".lora_")[2]
        made[name(f"{block}.{layer}", role)] = tensor
        if alpha:
            made[name(f"{block}.{layer}", alpha)] = torch.tensor(8.0)
    return made


def original(layer: str) -> str:
    block, _, name = layer.partition(".")
    return f"{block}.{ORIGINAL[name]}"


def kohya(role: str) -> str:
    return role.replace("lora_A", "lora_down").replace("lora_B", "lora_up")


LAYOUTS: dict[str, Callable[[Mapping[str, Tensor]], dict[str, Tensor]]] = {
    "its own": lambda given: named(given, lambda layer, role: f"blocks.{layer}.{role}", "alpha"),
    "diffusers": lambda given: named(given, lambda layer, role: f"transformer.blocks.{layer}.{role}", "alpha"),
    "old diffusers": lambda given: named(
        given,
        lambda layer, role: f"transformer.blocks.{layer}.{kohya(role).replace('lora_', 'lora.')}",
        "alpha",
    ),
    "authors": lambda given: named(
        given, lambda layer, role: f"diffusion_model.blocks.{original(layer)}.{kohya(role)}", "alpha"
    ),
    "musubi": lambda given: named(
        given, lambda layer, role: f"lora_unet_blocks_{original(layer).replace('.', '_')}.{kohya(role)}", "alpha"
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_comes_to_the_same_change(
    layout: str, tensors: dict[str, Tensor], registry: Registry, tmp_path: Path
) -> None:
    save_file(LAYOUTS[layout](tensors), tmp_path / "any-name.safetensors")
    made = import_adapter(tmp_path / "any-name.safetensors", registry, "tiny", f"layout-{layout.replace(' ', '-')}")
    stored = changes(load_file(registry.file(made.manifest, WEIGHTS_FILE)))
    assert len(stored) == 2 * 10
    for layer, change in stored.items():
        expected = 8 / 4 * (tensors[f"{layer}.lora_B.weight"] @ tensors[f"{layer}.lora_A.weight"])
        torch.testing.assert_close(change, expected)


def test_the_layout_of_ltx2_too_and_what_it_changes_of_texts_is_refused(tmp_path: Path) -> None:
    registry, file = Registry(tmp_path / "models"), tmp_path / "theirs.safetensors"
    import_pipeline(pipelines.save(sound_pipelines.ltx2, tmp_path / "pipeline"), registry, "tiny")
    given = adapters.trained(pipelines.make(sound_pipelines.ltx2).transformer, 1, target_modules=[*ALL, *OF_LTX2])
    theirs: dict[str, Tensor] = {}
    for key, tensor in given.items():
        layer, _, role = key.partition(".lora_")
        name = f"diffusion_model.{OF_LTX2.get(layer, layer)}"
        theirs |= {f"{name}.lora_{role}": tensor, f"{name}.alpha": torch.tensor(8.0)}
    save_file(theirs, file)
    stored = changes(load_file(registry.file(import_adapter(file, registry, "tiny").manifest, WEIGHTS_FILE)))
    assert len(stored) == 3 + 30 * (6 * 4 + 2 * 2)
    for layer, change in stored.items():
        torch.testing.assert_close(change, 8 / 4 * (given[f"{layer}.lora_B.weight"] @ given[f"{layer}.lora_A.weight"]))
    save_file(theirs | {"text_embedding_projection.aggregate_embed.lora_A.weight": torch.zeros(4, 48)}, file)
    with pytest.raises(ValueError, match=r"aggregate_embed\.lora_A\.weight changes a text encoder, must change tr"):
        import_adapter(file, registry, "tiny", "texts")


def test_what_is_stored_says_what_it_is_for(registry: Registry, tmp_path: Path) -> None:
    folder = adapters.save(pipelines.make(pipelines.wan), tmp_path / "My LoRA (v1)")
    (folder / "LICENSE").write_text("Nobody's\n")
    made = import_adapter(folder, registry, "tiny")
    base = registry.resolve("dit", "tiny")
    assert (made.name, made.is_new, made.licence) == ("my-lora-v1", True, "LICENSE")
    assert AdapterSettings.of(made.manifest) == AdapterSettings(base.digest, "transformer", 4, 16, False)
    assert made.manifest.metrics["parameters"] == 16 * (4 * 24 + 24 * 4 + 1)
    assert set(made.manifest.digests) == {WEIGHTS_FILE, "card.md", "license.md"}
    assert versions_for(registry, base.digest)["my-lora-v1"] == made.manifest
    assert "my-lora-v1" not in versions_for(registry, "0" * 64)


def test_what_is_there_already_becomes_an_alias_and_a_taken_name_is_refused(registry: Registry, tmp_path: Path) -> None:
    pipeline = pipelines.make(pipelines.wan)
    one, other = (adapters.save(pipeline, tmp_path / str(seed), seed) for seed in (21, 22))
    first, again = (import_adapter(one, registry, "tiny", name) for name in ("one", "again"))
    assert (first.is_new, again.is_new, again.manifest) == (True, False, first.manifest)
    assert {"one", "again"} <= versions_for(registry, registry.resolve("dit", "tiny").digest).keys()
    with pytest.raises(VersionExistsError, match="adapter/one exists with other content"):
        import_adapter(other, registry, "tiny", "one")


def test_peft_says_rank_and_alpha_layer_by_layer(registry: Registry, tmp_path: Path) -> None:
    network = pipelines.make(pipelines.wan).transformer
    patterns: dict[str, Any] = {"rank_pattern": {"to_k": 2}, "alpha_pattern": {"blocks.1.attn1.to_q": 3}}
    folder = adapters.save_peft(network, tmp_path / "peft", **patterns)
    made = import_adapter(folder, registry, "tiny", "patterns")
    stored = load_file(registry.file(made.manifest, WEIGHTS_FILE))
    assert len(stored["blocks.0.attn1.to_k.lora_A.weight"]) == 2
    alphas = {name: float(stored[f"{name}.alpha"]) for name in ("blocks.0.attn1.to_q", "blocks.1.attn1.to_q")}
    assert alphas == {"blocks.0.attn1.to_q": 8.0, "blocks.1.attn1.to_q": 3.0}


def test_a_network_of_our_own_has_adapters_too(registry: Registry, tmp_path: Path) -> None:
    with torch.device("meta"):
        outline = DiT(PRESETS["nano"].dit)
    network = outline.to_empty(device="cpu")
    made = import_adapter(adapters.save_peft(network, tmp_path / "own", targets=("qkv", "kv")), registry, "nano")
    assert (made.manifest.family, made.manifest.preset) == ("kino", "nano")
    assert AdapterSettings.of(made.manifest).layers == 2 * PRESETS["nano"].dit.layers
    with pytest.raises(ValueError, match="part is 'transformer_2', must be one of transformer of nano"):
        import_adapter(tmp_path / "own", registry, "nano", "x", "transformer_2")


def change_tensors(folder: Path, change: Callable[[dict[str, Tensor]], None]) -> None:
    held = load_file(folder / WEIGHTS)
    change(held)
    save_file(held, folder / WEIGHTS)


def change_settings(folder: Path, **changes: Any) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def put(name: str, tensor: Tensor) -> Callable[[Path], None]:
    return lambda folder: change_tensors(folder, lambda held: held.update({name: tensor}))


def only(held: dict[str, Tensor], name: str) -> None:
    held.clear()
    held[name] = torch.ones(24, 4)


def link(folder: Path) -> None:
    os.rename(folder / WEIGHTS, folder.parent / f"{folder.name}.outside")
    (folder / WEIGHTS).symlink_to(folder.parent / f"{folder.name}.outside")


def pickled(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    (folder / "adapter_model.bin").write_bytes(b"")


Q = "base_model.model.blocks.0.attn1.to_q"
BROKEN: dict[str, tuple[Callable[[Path], Any], str]] = {
    "pickled": (pickled, r"weights of the adapter are pickled \(.*adapter_model.bin.*\), must be safetensors"),
    "nothing": (lambda folder: (folder / WEIGHTS).unlink(), "safetensors files of the adapter are none, must be one"),
    "linked out": (link, r"adapter_model.safetensors is a link to '.*outside', must lie in the folder"),
    "8 bits": (put(f"{Q}.lora_A.weight", torch.zeros(4, 24, dtype=torch.int8)), "is I8, must be one of F32, BF16, F16"),
    "no number": (put(f"{Q}.lora_A.weight", torch.full((4, 24), torch.nan)), "NaN or infinity in blocks.0.attn1.to_q"),
    "wrong width": (
        put(f"{Q}.lora_A.weight", torch.zeros(4, 25)),
        r"lora_A of blocks.0.attn1.to_q is \[4, 25\], must be \[4, 24\] for tiny",
    ),
    "wrong rank": (
        put(f"{Q}.lora_B.weight", torch.zeros(24, 5)),
        r"lora_B of blocks.0.attn1.to_q is \[24, 5\], must be \[24, 4\] for tiny",
    ),
    "no rank": (put(f"{Q}.lora_A.weight", torch.zeros(0, 24)), "rank of blocks.0.attn1.to_q is 0, must be from 1 to"),
    "half": (
        lambda folder: change_tensors(folder, lambda held: held.__delitem__(f"{Q}.lora_B.weight")),
        "lora_A or lora_B of blocks.0.attn1.to_q is missing",
    ),
    "a layer too many": (
        put("base_model.model.blocks.7.attn1.to_q.lora_A.weight", torch.zeros(4, 24)),
        "layers of the adapter are partly blocks.7.attn1.to_q, must be linear layers of transformer of tiny",
    ),
    "DoRA": (put(f"{Q}.lora_magnitude_vector", torch.zeros(24)), "is a change of another kind, must be LoRA"),
    "LoKr": (put("transformer.blocks.0.attn1.to_q.lokr_w1", torch.zeros(2, 2)), "another kind, must be LoRA"),
    "of a text encoder": (
        put("text_encoder.layers.0.q_proj.lora_A.weight", torch.zeros(4, 24)),
        "changes a text encoder, must change transformer",
    ),
    "a kind of PEFT's": (lambda folder: change_settings(folder, peft_type="LOHA"), "peft_type of .* must be LORA"),
    "whole modules": (
        lambda folder: change_settings(folder, modules_to_save=["proj_out"]),
        r"modules_to_save of adapter_config.json is \['proj_out'\], must be left out",
    ),
    "biases": (lambda folder: change_settings(folder, bias="all"), "bias of .* is 'all', must be left out"),
    "a changed base": (lambda folder: change_settings(folder, init_lora_weights="pissa"), "init_lora_weights of .*pis"),
    "another rank": (lambda folder: change_settings(folder, r=8), "r of .* is 8, must be 4 as its tensors are"),
    "no rank said": (lambda folder: change_settings(folder, r="4"), "partly '4', must be numbers"),
    "endless alpha": (lambda folder: change_settings(folder, lora_alpha=1e300), "alpha of .* must be at most 1e"),
    "a slow pattern": (
        lambda folder: change_settings(folder, alpha_pattern={"(a*)*b": 1}),
        "alpha_pattern of .* must name layers without any choice",
    ),
    "code": (lambda folder: change_settings(folder, auto_map={"x": "y"}), "auto_map of .* code of a folder is never"),
    "unknown layout": (
        lambda folder: change_tensors(folder, lambda held: only(held, "diffusion_model.x.lora_A.weight")),
        "layout of the adapter is unknown",
    ),
    "a whole difference": (
        lambda folder: change_tensors(
            folder,
            lambda held: only(held, "diffusion_model.blocks.0.norm3.diff"),
        ),
        "norm3.diff is a whole difference, must be left out",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sound") / "adapter"
    return adapters.save_peft(pipelines.make(pipelines.wan).transformer, folder)


@pytest.mark.parametrize("fault", BROKEN)
def test_what_is_no_adapter_of_the_model_is_refused_with_its_reason(
    fault: str, sound: Path, registry: Registry, tmp_path: Path
) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    for path in sound.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    damage, reason = BROKEN[fault]
    before = registry.versions("adapter")
    damage(folder)
    with pytest.raises(ValueError, match=reason):
        import_adapter(folder, registry, "tiny", "broken")
    assert registry.versions("adapter") == before


def test_a_truncated_file_is_damaged(sound: Path, registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "cut.safetensors"
    path.write_bytes((sound / WEIGHTS).read_bytes()[:-10])
    with pytest.raises(DamagedError, match=r"cut\.safetensors"):
        import_adapter(path, registry, "tiny", "cut")


def test_a_base_that_is_not_there_is_named(sound: Path, registry: Registry) -> None:
    with pytest.raises(NotFoundError, match="dit has no version 'other'; known: tiny"):
        import_adapter(sound, registry, "other")
    with pytest.raises(ValueError, match="part is 'transformer_2', must be one of transformer of tiny"):
        import_adapter(sound, registry, "tiny", "x", "transformer_2")
