import json
import logging
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.__main__ import BAD_INPUT, FAILED, main
from services.local import data_folder, ledger_url, ports


@pytest.fixture(autouse=True)
def keep_logging() -> Iterator[None]:
    """The process's own logging as it was: starting services replaces it."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["projector"], "service is 'projector'"),
        (["local", "tae"], "service is 'local'"),
        (["tae", "tae"], "named once"),
        (["tae=http"], "port of tae is 'http'"),
        (["tae", "--port", "65536"], "port of --port is '65536'"),
        (["rewriter", "encoder", "--port", "65535"], "port of --port is '65536'"),
        (["tae", "--metrics-port", "-1"], "port of --metrics-port is '-1'"),
        (["tae", "--queue", "-1"], "--queue is -1"),
        (["tae", "--store-patience-seconds", "-1"], "--store-patience-seconds is -1"),
        (["generator", "--batch", "0"], "--batch is 0, must be from 1 to 64"),
        (["generator", "--batch", "4", "--cache", "0.1"], "--batch is 4, must be 1 with a cache"),
        (["graph", "--patience-seconds", "-1"], "--patience-seconds is -1.0, must be at least 0"),
        (["tae", "--runtime", "tensorrt"], "--runtime is 'tensorrt', must be one of auto, torch, onnx"),
        (["tae", "--drain-seconds", "nan"], "--drain-seconds is nan"),
        (["tae", "--reload-seconds", "-1"], "--reload-seconds is -1.0, must be at least 0"),
        (["graph", "--peer", "tae"], "--peer is 'tae'"),
        (["graph", "--peer", "projector=a:1"], "service is 'projector'"),
        (["tae", "--version", "projector=2"], "service is 'projector'"),
        (["tae", "--log-level", "loud"], "log_level is 'loud'"),
        (["rewriter", "--endpoint", "host"], "endpoint is 'host', must be an http or https URL"),
        (["rewriter", "--endpoint", "https://host/v1"], "endpoint_model is ''"),
    ],
)
def test_a_wrong_setting_is_named(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == BAD_INPUT
    assert message in json.loads(capsys.readouterr().out)["error"]


def refused(arguments: list[str], folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = main([*arguments, "--data", str(folder), "--models", str(folder / "models")])
    return code, json.loads(capsys.readouterr().out)["error"]


def test_a_version_that_is_not_there_is_a_wrong_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, error = refused(["tae", "--version", "mini-99"], tmp_path, capsys)
    assert (code, "mini-99" in error) == (BAD_INPUT, True)
    code, error = refused(["tae", "--preset", "micro"], tmp_path, capsys)
    assert (code, "micro" in error, "nano" in error) == (BAD_INPUT, True, True)


def test_a_runtime_that_cannot_be_had_is_a_wrong_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, error = refused(["tae", "--preset", "nano", "--runtime", "onnx"], tmp_path, capsys)
    assert (code, "runtime is 'onnx', must be torch: the weights of nano" in error) == (BAD_INPUT, True)


def test_damaged_weights_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(Path(__file__).parents[2] / "models" / "tae", tmp_path / "models" / "tae")
    (weights,) = (tmp_path / "models").rglob("model.safetensors")
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    code, error = refused(["tae"], tmp_path, capsys)
    assert (code, "model.safetensors" in error, "damaged" in error) == (FAILED, True, True)


def test_a_port_in_use_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        arguments = [f"tae={port}", "--preset", "nano", "--drain-seconds", "0"]
        code, error = refused(arguments, tmp_path, capsys)
    assert (code, error) == (FAILED, f"cannot listen on 127.0.0.1:{port}: Address already in use")


def test_a_store_that_cannot_be_made_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "taken").write_text("a file where a folder should be")
    code, error = refused(["tae", "--preset", "nano", "--store", str(tmp_path / "taken")], tmp_path, capsys)
    assert (code, str(tmp_path / "taken") in error) == (FAILED, True)


def test_ports_follow_the_graphs_or_are_all_free() -> None:
    assert ports(7000) == {
        "graph": 7000,
        "rewriter": 7001,
        "encoder": 7002,
        "generator": 7003,
        "tae": 7004,
        "audio": 7005,
        "editor": 7006,
        "personalizer": 7007,
        "upsampler": 7008,
    }
    assert set(ports(0).values()) == {0}


def test_folders_come_from_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert data_folder() == tmp_path / "kino"
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert data_folder() == tmp_path / ".local" / "share" / "kino"
    assert ledger_url(tmp_path) == f"sqlite:///{tmp_path}/ledger.sqlite"
