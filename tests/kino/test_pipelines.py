"""What a pipeline folder may not be: each damage to a sound one is refused with its reason."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from kino.importing import import_pipeline
from kino.pipelines import read_pipeline
from kino.registry import Registry
from kino.store import DamagedError
from tests import pipelines

WEIGHTS = "diffusion_pytorch_model.safetensors"
Damage = Callable[[Path], object]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pipelines.save(pipelines.wan, tmp_path_factory.mktemp("pipelines") / "Wan2.1 T2V")


@pytest.fixture
def folder(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "wan"))


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def shard(part: Path) -> None:
    """Split the weights of a part in two."""
    tensors = load_file(part / WEIGHTS)
    names = sorted(tensors)
    places: dict[str, str] = {}
    (part / WEIGHTS).unlink()
    for number in (1, 2):
        file = f"diffusion_pytorch_model-0000{number}-of-00002.safetensors"
        held = names[number - 1 :: 2]
        save_file({name: tensors[name] for name in held}, part / file, metadata={"format": "pt"})
        places |= dict.fromkeys(held, file)
    (part / f"{WEIGHTS}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def truncate(folder: Path) -> None:
    path = folder / "vae" / WEIGHTS
    path.write_bytes(path.read_bytes()[:-8])


def lose_a_shard(folder: Path) -> None:
    shard(folder / "transformer")
    (folder / "transformer" / "diffusion_pytorch_model-00002-of-00002.safetensors").unlink()


def move_a_tensor(folder: Path) -> None:
    shard(folder / "transformer")
    index = folder / "transformer" / f"{WEIGHTS}.index.json"
    places = json.loads(index.read_text())["weight_map"]
    change(index, weight_map=places | {min(places): "diffusion_pytorch_model-00002-of-00002.safetensors"})


def name_a_shard_outside(folder: Path) -> None:
    shard(folder / "transformer")
    index = folder / "transformer" / f"{WEIGHTS}.index.json"
    change(index, weight_map={"a": "../../secret-00001-of-00001.safetensors"})


def pickle(folder: Path) -> None:
    torch.save({}, folder / "vae" / "diffusion_pytorch_model.bin")
    (folder / "vae" / WEIGHTS).unlink()


def make_integers(folder: Path) -> None:
    path = folder / "vae" / WEIGHTS
    tensors = load_file(path)
    name = min(tensors)
    save_file(tensors | {name: tensors[name].to(torch.int8)}, path, metadata={"format": "pt"})


def link_out(folder: Path) -> None:
    config = folder / "vae" / "config.json"
    config.rename(folder.parent / "config.json")
    config.symlink_to(folder.parent / "config.json")


def link_the_scheduler_out(folder: Path) -> None:
    config = folder / "scheduler" / "scheduler_config.json"
    config.rename(folder.parent / "scheduler_config.json")
    config.symlink_to(folder.parent / "scheduler_config.json")


def link_a_part_out(folder: Path) -> None:
    (folder / "vae").rename(folder.parent / "vae")
    (folder / "vae").symlink_to(folder.parent / "vae")


def swell(folder: Path) -> None:
    (folder / "vae" / "config.json").write_text("[" + "0," * (1 << 19) + "0]")


def nest(folder: Path) -> None:
    (folder / "vae" / "config.json").write_text("[" * 100_000 + "]" * 100_000)


def index(**values: object) -> Damage:
    return lambda folder: change(folder / "model_index.json", **values)


def config(part: str, **values: object) -> Damage:
    return lambda folder: change(folder / part / "config.json", **values)


REFUSED: dict[str, tuple[Damage, str]] = {
    "no pipeline": (lambda folder: (folder / "model_index.json").unlink(), "must hold model_index.json"),
    "no object": (lambda folder: (folder / "model_index.json").write_text("7"), "is 7, must be an object"),
    "no JSON": (lambda folder: (folder / "model_index.json").write_text("{"), "model_index.json is no JSON"),
    "custom pipeline": (index(_class_name=["pipeline", "Mine"]), "code of a folder is never run"),
    "unknown pipeline": (index(_class_name="Mine"), "'Mine', must be one of WanPipeline, .*FluxPipeline"),
    "custom part": (index(transformer=["transformer.mine", "Mine"]), "transformer of .* code of a folder is never run"),
    "wrong class": (index(vae=["diffusers", "AutoencoderKL"]), "vae of .* must be one of AutoencoderKLWan"),
    "no part": (index(vae=[None, None]), r"vae of model_index.json is .* must be \[library, class\]"),
    "auto map": (config("text_encoder", auto_map={"AutoModel": "mine.Mine"}), "auto_map .* code of a folder"),
    "missing config": (lambda folder: (folder / "vae" / "config.json").unlink(), "must hold vae/config.json"),
    "missing weights": (lambda folder: (folder / "vae" / WEIGHTS).unlink(), "weights of vae are missing"),
    "missing scheduler": (lambda folder: shutil.rmtree(folder / "scheduler"), "must hold scheduler/"),
    "missing tokenizer": (lambda folder: shutil.rmtree(folder / "tokenizer"), "tokenizer is empty"),
    "missing shard": (lose_a_shard, "transformer/diffusion_pytorch_model-00002-of-00002.safetensors is missing"),
    "tensor elsewhere": (move_a_tensor, "without or with extra tensors"),
    "shard outside": (name_a_shard_outside, "'../../secret-00001-of-00001.safetensors', must be a file name"),
    "pickle": (pickle, r"weights of vae are pickled \(.*bin.*\), must be safetensors"),
    "wrong dtype": (make_integers, r"dtype of \S+ in vae/\S+ is I8, must be one of F32, BF16, F16"),
    "quantised": (config("transformer", quantization_config={"bits": 4}), "weights as trained"),
    "link to a scheduler": (link_the_scheduler_out, "scheduler/scheduler_config.json is a link to .* must lie in"),
    "link to a file": (link_out, "vae/config.json is a link to .* must lie in the folder"),
    "link to a folder": (link_a_part_out, "vae/config.json is a link to .* must lie in the folder"),
    "swollen config": (swell, "vae/config.json is .* bytes long, must be at most 1048576"),
    "deep config": (nest, "vae/config.json is no JSON"),
    "endless network": (config("transformer", num_layers=10**6), "num_layers of .* is 1000000, must be at most 1000"),
    "vast network": (config("transformer", ffn_dim=10**12), "ffn_dim of .* must be at most 16777216"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_folder_that_is_not_sound_is_refused_with_the_reason(folder: Path, tmp_path: Path, name: str) -> None:
    damage, reason = REFUSED[name]
    damage(folder)
    with pytest.raises(ValueError, match=reason):
        import_pipeline(folder, Registry(tmp_path / "models"))
    assert Registry(tmp_path / "models").components() == []


def test_truncated_weights_are_damaged(folder: Path) -> None:
    truncate(folder)
    with pytest.raises(DamagedError, match=f"vae/{WEIGHTS}"):
        read_pipeline(folder)


@pytest.mark.parametrize(
    ("part", "values", "reason"),
    [
        ("transformer", {"num_layers": 3}, r"transformer does not fit WanTransformer3DModel: missing blocks\.2"),
        ("transformer", {"num_layers": 1}, r"unexpected blocks\.1"),
        ("transformer", {"ffn_dim": 16}, r"blocks\.0\.ffn\.net\.0\.proj\.bias is \[32\], must be \[16\]"),
        ("text_encoder", {"d_ff": 16}, "text_encoder does not fit UMT5EncoderModel"),
    ],
)
def test_weights_that_do_not_fit_their_config_are_refused(
    folder: Path, tmp_path: Path, part: str, values: dict[str, int], reason: str
) -> None:
    change(folder / part / "config.json", **values)
    with pytest.raises(ValueError, match=reason):
        import_pipeline(folder, Registry(tmp_path / "models"))
    assert Registry(tmp_path / "models").components() == []


def test_a_sound_folder_is_read_whole(sound: Path) -> None:
    pipeline = read_pipeline(sound)
    assert (pipeline.family, pipeline.kind, pipeline.licence) == ("wan", "WanPipeline", "")
    assert {name: (part.kind, part.dtype) for name, part in pipeline.parts.items()} == {
        "text_encoder": ("UMT5EncoderModel", "float32"),
        "tokenizer": ("TokenizersBackend", ""),
        "transformer": ("WanTransformer3DModel", "float32"),
        "scheduler": ("UniPCMultistepScheduler", ""),
        "vae": ("AutoencoderKLWan", "float32"),
    }
    assert set(pipeline.parts["vae"].files) == {"vae/config.json", f"vae/{WEIGHTS}"}


def test_shards_are_as_good_as_one_file(folder: Path) -> None:
    shard(folder / "transformer")
    part = read_pipeline(folder).parts["transformer"]
    assert {name.rpartition("/")[2] for name in part.files} == {
        "config.json",
        f"{WEIGHTS}.index.json",
        "diffusion_pytorch_model-00001-of-00002.safetensors",
        "diffusion_pytorch_model-00002-of-00002.safetensors",
    }


def test_pickles_and_code_beside_the_weights_are_left_where_they_are(folder: Path, tmp_path: Path) -> None:
    torch.save({}, folder / "vae" / "diffusion_pytorch_model.bin")
    (folder / "vae" / "mine.py").write_text("raise SystemExit('run')")
    (folder / "pipeline.py").write_text("raise SystemExit('run')")
    registry = Registry(tmp_path / "models")
    imported = import_pipeline(folder, registry)
    assert not any(name.endswith((".bin", ".py")) for found in imported.versions.values() for name in found.digests)


def test_the_links_of_a_cache_stay_within_it(sound: Path, tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "0123"
    blobs.mkdir(parents=True)
    for number, path in enumerate(sorted(sound.rglob("*"))):
        if path.is_file():
            shutil.copyfile(path, blobs / str(number))
            link = snapshot / path.relative_to(sound)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(blobs / str(number))
    assert set(read_pipeline(snapshot).parts) == set(read_pipeline(sound).parts)


def test_the_licence_is_found(folder: Path) -> None:
    (folder / "README.md").write_text("---\ntags:\n- video\nlicense: apache-2.0\n---\n# Wan\n")
    assert read_pipeline(folder).licence == "apache-2.0"
    (folder / "LICENSE.txt").write_text("Apache License\n")
    assert (read_pipeline(folder).licence, read_pipeline(folder).licence_file) == (
        "LICENSE.txt",
        folder / "LICENSE.txt",
    )
