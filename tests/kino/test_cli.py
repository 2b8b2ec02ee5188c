import io
import json
import shutil
import subprocess
import sys
from argparse import Namespace
from pathlib import Path

import pytest

from kino import cli, cli_again
from kino.cli_film import order_options, read_prompt
from kino.errors import InvalidArgumentError


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys\nfrom kino.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "print(sorted({'grpc', 'numpy', 'rich', 'torch', 'google'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "exit codes:" in done.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["dance"],
        ["film", "a ball", "--seconds", "long"],
        ["film", "a ball", "--seed", "1.5"],
        ["film", "a ball", "another ball"],
        ["generations", "get"],
        ["generations", "list", "--state", "lost"],
    ],
)
def test_wrong_usage_exits_with_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        cli.main(arguments)
    assert exit.value.code == cli.EXIT_BAD_INPUT
    assert "usage: kino" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["film", ""], "prompt"),
        (["film", " \t "], "prompt"),
        (["film", "🎈🎈"], "prompt"),
        (["film", "a\x07b"], "prompt"),
        (["film", "a\udcffb"], "prompt"),
        (["film", "word " * 20_000], "prompt"),
        (["film", "a ball", "--size", "96"], "--size"),
        (["film", "a ball", "--size=-96x96"], "--size"),
        (["film", "a ball", "--size", "96x96", "--aspect", "1:1"], "size"),
        (["film", "a ball", "--seed", str(2**64)], "--seed"),
        (["film", "a ball", "--steps", str(2**40)], "--steps"),
        (["film", "a ball", "--out", "no/such/folder/film.mp4"], "--out"),
        (["film", "a ball", "--out", "."], "--out"),
        (["film", "a ball", "--out", "film.png"], "--out"),
        (["film", "a ball", "--seconds", "100"], "--seconds"),
        (["film", "a ball", "--seconds", "nan"], "--seconds"),
        (["film", "a ball", "--fps", "0"], "--fps"),
        (["film", "a ball", "--aspect", "16:10"], "--aspect"),
        (["film", "a ball", "--size", "100x96"], "--size"),
        (["film", "a ball", "--steps", "0"], "--steps"),
        (["film", "a ball", "--linear-steps", "3"], "--linear-steps"),
        (["image", "a ball", "--guidance", "inf"], "--guidance"),
        (["image", "a ball", "--preset", "maxi"], "--preset"),
        (["models", "--models", "m", "--address", "127.0.0.1:7000"], "--models"),
        (["film", "a ball", "--preset", "nano", "--address", "127.0.0.1:7000"], "--preset"),
        (["image", ""], "prompt"),
        (["serve", "--port", "70000"], "--port"),
        (["generations", "list", "--limit", "0"], "--limit"),
        (["generations", "create", "a ball", "--pipeline", "p.json"], "--pipeline"),
        (["generations", "create", "a ball", "--image", "--seconds", "2"], "seconds"),
    ],
)
def test_bad_input_is_refused_before_anything_starts(
    arguments: list[str],
    field: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("KINO_ADDRESS", raising=False)
    assert cli.main([*arguments, "--json"]) == cli.EXIT_BAD_INPUT
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["code"], error["field"]) == ("INVALID_ARGUMENT", field)
    assert error["bound"]
    assert cli.main(arguments) == cli.EXIT_BAD_INPUT
    assert capsys.readouterr().err == f"kino: {error['message']}\n"


def test_a_damaged_pipeline_file_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.json").write_text('{"nodes": [{"colour": 1}]}')
    assert cli.main(["generations", "create", "--pipeline", str(tmp_path / "p.json")]) == cli.EXIT_BAD_INPUT
    assert "p.json" in capsys.readouterr().err
    assert cli.main(["generations", "create", "--pipeline", str(tmp_path / "none.json")]) == cli.EXIT_FAILED
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["status"], ["models"], ["film", "a ball"], ["generations", "get", "abc"]])
def test_an_address_where_nobody_listens_exits_with_3(
    command: list[str], free_port: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*command, "--json", "--address", f"127.0.0.1:{free_port}"]) == cli.EXIT_UNAVAILABLE
    error = json.loads(capsys.readouterr().out)["error"]
    assert error["code"] == "UNAVAILABLE"
    assert error["message"] == f"nobody answers at 127.0.0.1:{free_port}: connection refused"


def test_models_without_a_graph_are_those_on_this_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models", "--json"]) == cli.EXIT_OK
    rows = {row["component"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == sorted(rows)
    assert {"byt5", "codec", "dit", "metaclip", "rewriter", "t5", "tae", "ul2", "vision"} <= rows.keys()
    assert {row["alias"] for row in rows.values()} == {"mini"}
    assert sum(row["size_bytes"] for row in rows.values()) < 64e6
    assert cli.main(["models", "--models", "no/such/folder"]) == cli.EXIT_BAD_INPUT
    assert "--models is 'no/such/folder', must be a folder that exists" in capsys.readouterr().err


def test_a_host_that_has_no_address_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["status", "--address", "nobody.invalid:7000"]) == cli.EXIT_UNAVAILABLE
    assert capsys.readouterr().err.startswith("kino: nobody answers at nobody.invalid:7000: ")


def test_an_address_that_is_no_name_is_told_as_any_that_nobody_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["generations", "list", "--address", "no such"]) == 3
    assert capsys.readouterr().err == "kino: nobody answers at no such: misformatted domain name\n"


@pytest.mark.parametrize(
    ("code", "expected"),
    [("NOT_FOUND", 2), ("RESOURCE_EXHAUSTED", 3), ("INTERNAL", 4), ("DATA_LOSS", 4), ("CANCELLED", 130)],
)
def test_exit_codes_follow_grpc_codes(code: str, expected: int) -> None:
    assert cli.exit_code(code) == expected


def test_the_prompt_comes_from_the_argument_then_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINO_PROMPT", "a  cat\nin snow")
    assert read_prompt(Namespace(prompt="a dog")) == "a dog"
    assert read_prompt(Namespace(prompt=None)) == "a cat in snow"
    monkeypatch.delenv("KINO_PROMPT")
    with pytest.raises(InvalidArgumentError, match="KINO_PROMPT"):
        read_prompt(Namespace(prompt=None))


def test_a_dash_reads_the_prompt_from_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("ein Ball hüpft\n".encode())))
    assert read_prompt(Namespace(prompt="-")) == "ein Ball hüpft"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"a \xff ball")))
    with pytest.raises(InvalidArgumentError, match="valid UTF-8"):
        read_prompt(Namespace(prompt="-"))


def test_options_left_out_stay_out_and_sizes_are_height_first() -> None:
    given = Namespace(seconds=2.0, fps=None, seed=0, size="128x96", verbatim=None)
    assert order_options(given) == {"seconds": 2.0, "seed": 0, "size": (96, 128)}


@pytest.mark.parametrize(
    ("called", "found", "expected"),
    [
        (".venv/bin/kino", None, ".venv/bin/kino"),
        (".venv/bin/kino", "/bin/kino", "kino"),
        ("kino/cli.py", None, "kino"),
    ],
)
def test_the_command_that_is_told_can_be_typed(
    monkeypatch: pytest.MonkeyPatch, called: str, found: str | None, expected: str
) -> None:
    monkeypatch.setattr(sys, "argv", [called])
    monkeypatch.setattr(shutil, "which", lambda name: found)
    assert cli_again.program() == expected
