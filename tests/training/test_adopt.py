import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from kino import adopted
from kino.registry import Registry
from kino.store import DamagedError
from kino.weights import WeightsError
from tests import folders
from training.adopt import adopt, main

PROMPT = 'a red ball and a sign says "GO"'


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


@pytest.mark.parametrize("kind", ["T5EncoderModel", "T5ForConditionalGeneration", "UMT5ForConditionalGeneration"])
@torch.inference_mode()
def test_a_t5_gives_the_rows_that_its_own_library_gives(kind: str, registry: Registry, tmp_path: Path) -> None:
    folder = folders.t5(tmp_path / "t5", kind=kind)
    manifest = adopt("ul2", folder, registry, "1")
    rows = adopted.open_tower(manifest, registry)("a red ball")
    encoder = getattr(adopted.library(), "UMT5EncoderModel" if kind.startswith("UMT5") else "T5EncoderModel")
    expected = encoder.from_pretrained(folder)(input_ids=torch.tensor([[4, 5, 6, 1]])).last_hidden_state[0]
    torch.testing.assert_close(rows, expected, rtol=1e-5, atol=1e-6)
    assert (manifest.config["width"], manifest.config["max_tokens"], manifest.family) == (
        16,
        512,
        encoder.config_class.model_type,
    )


@torch.inference_mode()
def test_byt5_reads_the_bytes_of_quoted_text_alone(registry: Registry, tmp_path: Path) -> None:
    folder = folders.byt5(tmp_path / "byt5")
    tower = adopted.open_tower(adopt("byt5", folder, registry, "1"), registry)
    ids = adopted.library().ByT5Tokenizer()("GO").input_ids
    assert ids == [ord("G") + 3, ord("O") + 3, 1]
    model = adopted.library().T5EncoderModel.from_pretrained(folder)
    torch.testing.assert_close(
        tower(PROMPT), model(input_ids=torch.tensor([ids])).last_hidden_state[0], rtol=1e-5, atol=1e-6
    )
    assert tower("a red ball").shape == (0, 16)
    assert tower(f'"{"x" * 300}"').shape == (100, 16)
    assert tower.tokenize("x" * 300)[-1] == 1


@pytest.mark.parametrize("kind", ["CLIPModel", "CLIPTextModel", "CLIPTextModelWithProjection"])
@torch.inference_mode()
def test_a_clip_gives_one_row_of_the_whole_text(kind: str, registry: Registry, tmp_path: Path) -> None:
    folder = folders.clip(tmp_path / "clip", kind=kind, width=24)
    manifest = adopt("metaclip", folder, registry, "1")
    rows = adopted.open_tower(manifest, registry)("a red ball")
    ids, made = torch.tensor([[2, 4, 5, 6, 1]]), adopted.library()
    if kind == "CLIPTextModel":
        expected = made.CLIPTextModel.from_pretrained(folder)(input_ids=ids).pooler_output
    else:
        expected = made.CLIPTextModelWithProjection.from_pretrained(folder)(input_ids=ids).text_embeds
    torch.testing.assert_close(rows, expected, rtol=1e-5, atol=1e-6)
    assert rows.shape == (1, manifest.config["width"]) == (1, 16 if kind == "CLIPTextModel" else 24)
    assert manifest.config["max_tokens"] == 12


def test_long_texts_are_cut_before_their_end_token(registry: Registry, tmp_path: Path) -> None:
    clip = adopted.open_tower(adopt("metaclip", folders.clip(tmp_path / "c"), registry, "1"), registry)
    assert clip.tokenize("red " * 100) == [2, *[5] * 10, 1]
    ul2 = adopted.open_tower(adopt("ul2", folders.t5(tmp_path / "t"), registry, "1", max_tokens=7), registry)
    assert ul2("red " * 100).shape == (7, 16)
    assert ul2("").shape == (1, 16)


def test_only_what_is_used_is_published_and_equal_folders_give_one_digest(registry: Registry, tmp_path: Path) -> None:
    folder = folders.clip(tmp_path / "clip")
    (folder / "pytorch_model.bin").write_bytes(b"never read")
    first, second = (adopt("metaclip", folder, registry, version) for version in ("1", "2"))
    assert sorted(first.digests) == ["card.md", "config.json", "model.safetensors", "tokenizer.json"]
    assert first.digest == second.digest
    names = load_file(registry.file(first, "model.safetensors"))
    assert all(name.startswith(("text_model.", "text_projection.")) for name in names)
    assert "config.json: " in registry.file(first, "card.md").read_text()


def test_a_version_computes_in_the_numbers_asked_for(registry: Registry, tmp_path: Path) -> None:
    folder = folders.t5(tmp_path / "t5")
    exact, rounded = (
        adopted.open_tower(adopt("ul2", folder, registry, dtype, dtype), registry) for dtype in ("float32", "bfloat16")
    )
    assert {parameter.dtype for parameter in rounded.parameters()} == {torch.bfloat16}
    assert rounded("a red ball").dtype == torch.float32
    difference = (rounded("a red ball") - exact("a red ball")).abs().max().item()
    assert 0 < difference < 0.1


def change_tensors(folder: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def change_config(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


@pytest.mark.parametrize(
    ("spoil", "error", "words"),
    [
        (lambda f: (f / "config.json").unlink(), ValueError, "must hold a config.json"),
        (lambda f: (f / "config.json").write_text("{"), ValueError, "config.json is no JSON"),
        (lambda f: change_config(f, architectures=None), ValueError, "architectures of config.json is None"),
        (
            lambda f: change_config(f, architectures=["BertModel"]),
            ValueError,
            "architecture is 'BertModel', must be one of T5",
        ),
        (
            lambda f: change_config(f, architectures=["CLIPModel"]),
            ValueError,
            "architecture is 'CLIPModel', must be one of T5",
        ),
        (lambda f: change_config(f, d_ff=12), WeightsError, "mismatch|another shape"),
        (
            lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
            ValueError,
            "pickled weights are never read",
        ),
        (lambda f: (f / "model.safetensors").write_bytes(b"\x08"), DamagedError, "safetensors"),
        (lambda f: (f / "tokenizer.json").unlink(), ValueError, "tokenizer is '', must come as a tokenizer.json"),
        (lambda f: (f / "tokenizer.json").write_text("{}"), ValueError, "not a tokenizer definition"),
        (
            lambda f: folders.word_tokenizer(closed=None).save(str(f / "tokenizer.json")),
            ValueError,
            "without an end of text",
        ),
        (
            lambda f: change_tensors(f, lambda t: t.pop("encoder.final_layer_norm.weight")),
            WeightsError,
            "missing encoder.final",
        ),
        (lambda f: change_tensors(f, lambda t: t.update(extra=torch.zeros(1))), WeightsError, "unexpected extra"),
        (lambda f: change_tensors(f, lambda t: t["shared.weight"].fill_(torch.nan)), WeightsError, "NaN or infinity"),
    ],
)
def test_a_folder_that_is_not_whole_is_refused(
    spoil: Callable[[Path], Any], error: type[Exception], words: str, registry: Registry, tmp_path: Path
) -> None:
    folder = folders.t5(tmp_path / "t5")
    spoil(folder)
    with pytest.raises(error, match=words):
        adopt("ul2", folder, registry, "1")
    assert registry.versions("ul2") == []


def test_a_tokenizer_of_another_network_is_refused(registry: Registry, tmp_path: Path) -> None:
    shutil.copy(folders.t5(tmp_path / "t5") / "tokenizer.json", folders.byt5(tmp_path / "byt5"))
    with pytest.raises(ValueError, match="must be 'ByT5Tokenizer' for byt5"):
        adopt("byt5", tmp_path / "byt5", registry, "1")
    change_config(tmp_path / "t5", vocab_size=10)
    change_tensors(tmp_path / "t5", lambda t: t.update({"shared.weight": t["shared.weight"][:10].clone()}))
    change_tensors(tmp_path / "t5", lambda t: t.pop("lm_head.weight", None))
    with pytest.raises(ValueError, match="id of the tokenizer is 11, must be below the network's 10"):
        adopt("ul2", tmp_path / "t5", registry, "1")


def test_a_rewriter_keeps_its_words_and_its_bounds(registry: Registry, tmp_path: Path) -> None:
    folder = folders.llama(tmp_path / "llama", chain="a red ball . </s>", chat="{{ messages[0].content }} :")
    manifest = adopt("rewriter", folder, registry, "1", max_tokens=20, temperature=0.0)
    assert manifest.config == {
        "architecture": "LlamaForCausalLM",
        "context": 512,
        "dtype": "float32",
        "format": "transformers",
        "max_tokens": 20,
        "temperature": 0.0,
        "top_p": 0.9,
    }
    assert (manifest.family, manifest.preset) == ("llama", "")
    writer = adopted.open_writer(manifest, registry)
    assert writer.tokenizer.chat_template == "{{ messages[0].content }} :"
    assert list(writer.answer("be short", "a cat", 0))[-1].text == "a red ball ."


@pytest.mark.parametrize(
    ("spoil", "given", "error", "words"),
    [
        (
            lambda f: change_config(f, architectures=["T5EncoderModel"]),
            {},
            ValueError,
            "must be a causal language model",
        ),
        (lambda f: change_config(f, model_type="t5"), {}, WeightsError, "does not fit AutoModelForCausalLM"),
        (lambda f: (f / "tokenizer.json").unlink(), {}, ValueError, "must come as a tokenizer.json"),
        (lambda f: change_tensors(f, lambda t: t.pop("lm_head.weight")), {}, WeightsError, "missing lm_head.weight"),
        (lambda f: None, {"max_tokens": 512}, ValueError, "max_tokens is 512, must be below the 512 that"),
        (lambda f: None, {"max_tokens": 1}, ValueError, "max_tokens is 1, must be from 2 to 8192"),
        (lambda f: None, {"temperature": -0.5}, ValueError, "temperature is -0.5, must be from 0 to 2"),
    ],
)
def test_what_is_no_rewriter_is_refused(
    spoil: Callable[[Path], Any],
    given: dict[str, Any],
    error: type[Exception],
    words: str,
    registry: Registry,
    tmp_path: Path,
) -> None:
    folder = folders.llama(tmp_path / "llama")
    spoil(folder)
    with pytest.raises(error, match=words):
        adopt("rewriter", folder, registry, "1", **given)
    assert registry.versions("rewriter") == []


def test_code_in_a_folder_is_never_run(registry: Registry, tmp_path: Path) -> None:
    folder, ran = folders.llama(tmp_path / "llama"), tmp_path / "ran"
    (folder / "evil.py").write_text(f"open({str(ran)!r}, 'w')\nclass Evil: ...\n")
    change_config(folder, auto_map={"AutoModelForCausalLM": "evil.Evil", "AutoConfig": "evil.Evil"})
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps(config | {"auto_map": {"AutoTokenizer": ["evil.Evil", None]}})
    )
    manifest = adopt("rewriter", folder, registry, "1")
    assert not ran.exists()
    assert not any(name.endswith(".py") for name in manifest.digests)


def test_a_version_altered_after_it_was_adopted_is_refused(registry: Registry, tmp_path: Path) -> None:
    manifest = adopt("ul2", folders.t5(tmp_path / "t5"), registry, "1")
    odd = replace(manifest, config={**manifest.config, "architecture": "AutoModel"})
    with pytest.raises(WeightsError, match="architecture is 'AutoModel', must be one of T5EncoderModel"):
        adopted.open_tower(odd, registry)
    path = registry.root / "ul2" / "1" / "config.json"
    path.write_text(path.read_text() + " ")
    with pytest.raises(DamagedError, match=r"config.json"):
        adopted.open_tower(manifest, registry)


def test_nothing_is_asked_of_the_network(registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folders.t5(tmp_path / "t5")

    def refuse(*_: object) -> None:
        raise AssertionError("a connection was begun")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    adopted.open_tower(adopt("ul2", folder, registry, "1"), registry)


def test_the_command_publishes_and_moves_the_alias(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, models = folders.t5(tmp_path / "t5"), tmp_path / "models"
    given = ["--component", "ul2", "--folder", str(folder), "--models", str(models), "--alias", "1b"]
    for version in ("first", "second"):
        main([*given, "--version", version, "--dtype", "bfloat16"])
    manifest = Registry(models).resolve("ul2", "1b")
    assert (manifest.version, manifest.config["dtype"]) == ("second", "bfloat16")
    assert capsys.readouterr().out.splitlines()[-1] == f"published ul2/second, digest {manifest.digest}"
    (folder / "config.json").unlink()
    with pytest.raises(SystemExit) as ended:
        main([*given, "--version", "third"])
    assert ended.value.code == 2
    assert "must hold a config.json" in capsys.readouterr().err


def test_reading_a_network_leaves_torch_as_it_was(tmp_path: Path) -> None:
    script = f"""
import torch
from pathlib import Path
from kino import adopted
adopted.read_network(Path({str(folders.t5(tmp_path / "t5"))!r}), "T5EncoderModel", "float32", ("decoder.", "lm_head."))
with torch.device("meta"):
    print(torch.linspace(0, 1, 4).device)
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "meta\n"
