from dataclasses import replace
from pathlib import Path

import pytest

from kino.manifest import Manifest
from kino.records import ConflictError
from kino.registry import Registry
from kino.store import NotFoundError

MANIFEST = Manifest("tae", "1", "mini", {}, recipe="tae_mini", created="2026-01-02T03:04:05Z")


@pytest.fixture(params=["folder", "bucket"])
def registry(request: pytest.FixtureRequest) -> Registry:
    """The same promises are kept by both."""
    if request.param == "folder":
        return Registry(request.getfixturevalue("tmp_path") / "models")
    return Registry(request.getfixturevalue("bucket_url"))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "weights").write_bytes(b"these are the weights")
    return {"model.safetensors": tmp_path / "weights"}


def test_an_alias_stands_for_the_version_it_was_moved_to(registry: Registry, files: dict[str, Path]) -> None:
    for version in ("1", "2"):
        registry.publish(replace(MANIFEST, version=version), files)
    registry.set_alias("tae", "latest", "1", expected=None)
    assert registry.resolve("tae", "latest").version == "1"
    registry.set_alias("tae", "latest", "2", expected="1")
    assert registry.resolve("tae", "latest").version == "2"
    with pytest.raises(ConflictError, match="record latest: holds"):
        registry.set_alias("tae", "latest", "1", expected="1")
    with pytest.raises(ConflictError, match="record latest: holds"):
        registry.set_alias("tae", "latest", "1", expected=None)
    registry.set_alias("tae", "stable", "latest", expected=None)
    assert registry.aliases("tae") == {"latest": "2", "stable": "2"}


def test_an_alias_goes_back_to_what_it_stood_for(registry: Registry, files: dict[str, Path]) -> None:
    for version in ("1", "2", "3"):
        registry.publish(replace(MANIFEST, version=version), files)
    for version, before in (("1", None), ("2", "1"), ("2", "2"), ("3", "2")):
        registry.set_alias("tae", "production", version, expected=before)
    assert registry.histories("tae") == {"production": ["3", "2", "1"]}
    assert [registry.roll_back("tae", "production") for _ in range(2)] == ["2", "1"]
    assert registry.aliases("tae") == {"production": "1"}
    for alias in ("production", "candidate"):
        with pytest.raises(NotFoundError, match=f"no earlier version for the alias '{alias}' to go back to"):
            registry.roll_back("tae", alias)


def test_an_alias_remembers_ten_versions(registry: Registry, files: dict[str, Path]) -> None:
    before = None
    for number in range(12):
        registry.publish(replace(MANIFEST, version=f"v{number}"), files)
        registry.set_alias("tae", "production", f"v{number}", before)
        before = f"v{number}"
    assert registry.histories("tae")["production"] == [f"v{number}" for number in range(11, 1, -1)]


def test_a_version_goes_unless_an_alias_holds_it(registry: Registry, files: dict[str, Path]) -> None:
    for version in ("1", "2"):
        registry.publish(replace(MANIFEST, version=version), files)
    registry.set_alias("tae", "production", "1", expected=None)
    with pytest.raises(ValueError, match="version is '1', must be one that no alias stands for: production does"):
        registry.delete("tae", "production")
    registry.delete("tae", "2")
    assert registry.versions("tae") == ["1"]
    with pytest.raises(NotFoundError, match="tae has no version '2'"):
        registry.delete("tae", "2")
    registry.publish(replace(MANIFEST, version="2", recipe="other"), files)
    assert registry.resolve("tae", "2").recipe == "other"


def test_an_alias_and_a_version_never_share_a_name(registry: Registry, files: dict[str, Path]) -> None:
    registry.publish(MANIFEST, files)
    registry.set_alias("tae", "latest", "1", expected=None)
    with pytest.raises(ValueError, match="version is 'latest', must not be the name of an alias"):
        registry.publish(replace(MANIFEST, version="latest"), files)
    with pytest.raises(ValueError, match="alias is '1', must not be the name of a version"):
        registry.set_alias("tae", "1", "1", expected=None)
    with pytest.raises(NotFoundError, match="tae has no version '3'"):
        registry.set_alias("tae", "next", "3", expected=None)
