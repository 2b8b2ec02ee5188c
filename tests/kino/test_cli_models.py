import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kino import cli
from kino.adapters import AdapterSettings
from kino.manifest import Manifest, Parent, Spaces
from kino.registry import Registry

MANIFEST = Manifest(
    "tae",
    "1",
    "mini",
    {},
    metrics={"psnr": 28.5},
    recipe="tae_mini",
    git_revision="abc",
    created="2026-01-01",
    parent=Parent("tae", "0", "tae_first", "ab12"),
    data="cd34",
)


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    (tmp_path / "models").mkdir()
    found = tmp_path / "models" if request.param == "folder" else request.getfixturevalue("bucket_url")
    return str(found)


@pytest.fixture
def registry(place: str, tmp_path: Path) -> Registry:
    registry = Registry(place)
    for number in range(1, 6):
        publish(registry, tmp_path, "tae", str(number), created=f"2026-01-0{number}")
    return registry


def publish(registry: Registry, folder: Path, component: str, version: str, **fields: Any) -> Manifest:
    path = folder / "weights"
    path.write_text(f"{component} {version}")
    manifest = replace(MANIFEST, component=component, version=version, **fields)
    return registry.publish(manifest, {"model.safetensors": path})


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    assert cli.main(["models", *arguments]) == cli.EXIT_OK
    out = capsys.readouterr().out
    return json.loads(out) if "--json" in arguments else out


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["models", *arguments]) == cli.EXIT_BAD_INPUT
    return capsys.readouterr().err


def test_a_version_is_promoted_and_rolled_back(
    registry: Registry, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    registry.set_alias("tae", "candidate", "2", expected=None)
    assert run(capsys, "promote", "tae", "1", "--models", place) == "tae: production is 1\n"
    moved = run(capsys, "promote", "tae", "candidate", "--models", place, "--json")
    assert moved == {"component": "tae", "alias": "production", "before": "1", "version": "2"}
    assert run(capsys, "--models", place, "rollback", "tae") == "tae: production is 1, was 2\n"
    assert registry.aliases("tae") == {"candidate": "2", "production": "1"}
    assert "no earlier version for the alias 'production'" in refused(capsys, "rollback", "tae", "--models", place)
    assert "tae has no version '9'" in refused(capsys, "promote", "tae", "9", "--models", place)
    assert "must not be the name of a version" in refused(
        capsys, "promote", "tae", "2", "--alias", "3", "--models", place
    )


def test_a_version_is_shown_with_its_lineage(
    registry: Registry, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run(capsys, "promote", "tae", "3", "--models", place)
    shown = run(capsys, "show", "tae", "production", "--models", place)
    facts = dict(line.split(maxsplit=1) for line in shown.splitlines() if " " in line)
    assert (facts["version"], facts["aliases"].strip(), facts["recipe"].strip()) == ("3", "production", "tae_mini")
    assert (facts["psnr"].strip(), facts["git"].split()) == ("28.5", ["revision", "abc"])
    assert (facts["data"].strip(), facts["parent"].strip()) == ("cd34", "tae/0 (tae_first) sha256 ab12")
    found = run(capsys, "show", "tae", "3", "--models", place, "--json")
    assert (found["digest"], found["aliases"]) == (registry.resolve("tae", "3").digest, ["production"])


def test_a_parent_that_was_never_published_is_told_by_its_run(
    registry: Registry, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(registry, tmp_path, "dit", "a", parent=Parent("dit", "", "dit_first", "ab12"))
    shown = run(capsys, "show", "dit", "a", "--models", place)
    assert "dit, not published (dit_first) sha256 ab12\n" in shown


def test_all_versions_are_listed(registry: Registry, place: str, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "promote", "tae", "3", "--models", place)
    for arguments in (["list"], []):
        rows = run(capsys, *arguments, "--models", place, "--json")
        assert [(row["version"], row["alias"], row["size_bytes"]) for row in rows] == [
            *(("1", "", 5), ("2", "", 5), ("3", "production", 5), ("4", "", 5), ("5", "", 5))
        ]


def test_what_judges_found_is_told_under_the_list(
    registry: Registry, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "judged" not in run(capsys, "--models", place)
    registry.attach_figures(registry.resolve("tae", "3"), "films 1:1 2 s", {"object": 0.93, "psnr": 23.456, "count": 9})
    registry.attach_figures(registry.resolve("tae", "4"), "films 16:9 2 s", {"object": 0.5})
    lines = [line.split() for line in run(capsys, "--models", place).splitlines()]
    assert lines[-3:] == [
        ["judged", "made", "by", "count", "figures"],
        ["films", "1:1", "2", "s", "tae/3", "9", "object", "0.93,", "psnr", "23.5"],
        ["films", "16:9", "2", "s", "tae/4", "object", "0.5"],
    ]
    rows = run(capsys, "--models", place, "--json")
    assert [row["judged"] for row in rows[2:4]] == [
        {"films 1:1 2 s": {"count": 9, "object": 0.93, "psnr": 23.456}},
        {"films 16:9 2 s": {"object": 0.5}},
    ]


def test_what_a_version_accepts_is_that_of_its_sizes(
    registry: Registry, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    publish(registry, tmp_path, "dit", "a")
    publish(registry, tmp_path, "dit", "b", preset="")
    publish(registry, tmp_path, "metaclip", "a")
    shown = run(capsys, "show", "dit", "a", "--models", place)
    assert "frames 1 to 256," in shown
    assert "1:1 96x96, 16:9 128x80, 9:16 80x128," in shown
    for component, version in (("dit", "b"), ("metaclip", "a")):
        assert "accepts" not in run(capsys, "show", component, version, "--models", place)


def test_what_nothing_needs_is_removed(
    registry: Registry, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    latent = registry.resolve("tae", "1").digest
    publish(registry, tmp_path, "dit", "a", spaces=Spaces(latent))
    for version in ("2", "3"):
        run(capsys, "promote", "tae", version, "--models", place)
    publish(registry, tmp_path, "tae", "6", created="2026-01-06")
    rows = run(capsys, "gc", "--keep", "1", "--dry-run", "--models", place, "--json")
    # 1 is the space of a generator, 2 is what production would go back to, 3 is production, 6 is the newest
    assert [row["version"] for row in rows] == ["4", "5"]
    assert registry.versions("tae") == ["1", "2", "3", "4", "5", "6"]
    run(capsys, "gc", "--keep", "1", "--models", place)
    assert registry.versions("tae") == ["1", "2", "3", "6"]
    assert "--keep is 0, must be at least 1" in refused(capsys, "gc", "--keep", "0", "--models", place)


def test_adapters_stay_and_with_them_what_they_stand_on(
    registry: Registry, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spaces = Spaces(registry.resolve("tae", "1").digest)
    base = publish(registry, tmp_path, "dit", "a", spaces=spaces, created="2026-01-01")
    publish(registry, tmp_path, "dit", "b", created="2026-01-02")
    publish(registry, tmp_path, "dit", "c", created="2026-01-03")
    config = AdapterSettings(base.digest, "transformer", 4, 16, False).as_config()
    for name in ("ink", "oil"):
        publish(registry, tmp_path, "adapter", name, config=config)
    rows = run(capsys, "gc", "--keep", "1", "--models", place, "--json")
    assert {(row["component"], row["version"]) for row in rows} == {
        ("dit", "b"),
        *(("tae", version) for version in ("2", "3", "4")),
    }
    assert registry.versions("adapter") == ["ink", "oil"]


def test_a_registry_that_cannot_be_reached_is_told(
    capsys: pytest.CaptureFixture[str], free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    place = f"s3://models?endpoint=http://127.0.0.1:{free_port}&retries=1"
    assert cli.main(["models", "--models", place]) == cli.EXIT_UNAVAILABLE
    assert "does not answer" in capsys.readouterr().err
    assert "the setting 'retrys'" in refused(capsys, "--models", "s3://models?retrys=1")


def test_a_component_that_is_none_is_refused_by_name(
    registry: Registry, place: str, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refused(capsys, "show", "generator", "1", "--models", place)
    assert "COMPONENT is 'generator', must be one of tae" in told
