"""Those who promote, roll back and clear away at the same time, in a folder and on a real MinIO."""

import argparse
import asyncio
import re
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from kino import cli, cli_models
from kino.manifest import Manifest
from kino.records import ConflictError, Records
from kino.registry import Registry
from kino.store import NotFoundError

MANIFEST = Manifest("tae", "1", "mini", {}, recipe="tae_mini", created="2026-01-01")


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A registry of the versions 1 to 4."""
    found = tmp_path / "models" if request.param == "folder" else request.getfixturevalue("bucket_url")
    (tmp_path / "weights").write_bytes(b"weights")
    for number in range(1, 5):
        manifest = replace(MANIFEST, version=str(number), created=f"2026-01-0{number}")
        Registry(found).publish(manifest, {"model.safetensors": tmp_path / "weights"})
    return str(found)


def at_once(*tasks: Callable[[], Any]) -> list[Any]:
    """What each task returns, or the error that it ends with; all of them begin together."""
    outcomes: list[Any] = [None] * len(tasks)
    start = threading.Barrier(len(tasks))

    def run(index: int) -> None:
        start.wait()
        try:
            outcomes[index] = tasks[index]() or "done"
        except (ConflictError, NotFoundError, ValueError) as error:
            outcomes[index] = error

    threads = [threading.Thread(target=run, args=(index,)) for index in range(len(tasks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_of_many_who_promote_one_wins(place: str) -> None:
    registries = {version: Registry(place) for version in ("1", "2", "3", "4")}

    def promote(version: str) -> Callable[[], None]:
        return lambda: registries[version].set_alias("tae", "production", version, expected=None)

    outcomes = dict(zip(registries, at_once(*map(promote, registries)), strict=True))
    (winner,) = [version for version, outcome in outcomes.items() if outcome == "done"]
    assert all(isinstance(outcome, ConflictError) for version, outcome in outcomes.items() if version != winner)
    assert Registry(place).histories("tae") == {"production": [winner]}


def test_rolling_back_and_promoting_at_once_leave_what_the_last_of_them_meant(place: str) -> None:
    registry, other = Registry(place), Registry(place)
    registry.set_alias("tae", "production", "1", expected=None)
    registry.set_alias("tae", "production", "2", expected="1")
    back, promoted = at_once(
        lambda: registry.roll_back("tae", "production"),
        lambda: other.set_alias("tae", "production", "3", expected="2"),
    )
    history = registry.histories("tae")["production"]
    expected = {
        (True, False): ["1"],  # promoting expected what was no longer so
        (False, True): ["3", "2", "1"],
        (True, True): ["2", "1"],  # rolled back from what had just been promoted
    }
    assert history == expected[not isinstance(back, Exception), not isinstance(promoted, Exception)]


def test_a_version_that_is_promoted_while_it_is_deleted_stays(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, other = Registry(place), Registry(place)
    delete = registry._versions.delete

    def late(component: str, version: str, held: Callable[[], bool]) -> bool:
        other.set_alias("tae", "production", "3", expected=None)
        return delete(component, version, held)

    monkeypatch.setattr(registry._versions, "delete", late)
    with pytest.raises(ValueError, match="version is '3', must be one that no alias stands for: production does"):
        registry.delete("tae", "3")
    found = other.resolve("tae", "production")
    assert found.version == "3"
    assert other.file(found, "model.safetensors").read_bytes() == b"weights"
    assert cli.main(["models", "gc", "--keep", "1", "--models", place]) == cli.EXIT_OK
    assert other.versions("tae") == ["3", "4"]


@pytest.mark.parametrize("before", [None, "1"])
def test_an_alias_that_moves_to_what_is_being_deleted_goes_back(
    place: str, before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, other = Registry(place), Registry(place)
    if before is not None:
        registry.set_alias("tae", "production", before, expected=None)
    aliases = registry._versions.aliases

    def late(component: str) -> Records:
        records = aliases(component)
        swap = records.swap

        def deleted_first(name: str, expected: bytes | None, value: bytes) -> None:
            if "3" in other.versions("tae"):
                other.delete("tae", "3")
            swap(name, expected, value)

        monkeypatch.setattr(records, "swap", deleted_first)
        return records

    monkeypatch.setattr(registry._versions, "aliases", late)
    with pytest.raises(NotFoundError, match="tae/3 was deleted while the alias 'production' moved to it"):
        registry.set_alias("tae", "production", "3", expected=before)
    assert other.aliases("tae") == ({} if before is None else {"production": before})
    other.set_alias("tae", "production", "2", expected=before)
    assert other.resolve("tae", "production").version == "2"


def test_no_alias_is_ever_left_without_its_version(place: str) -> None:
    registry, other = Registry(place), Registry(place)
    for version in ("1", "2", "3", "4"):
        before = registry.aliases("tae").get("production")
        move = partial(registry.set_alias, "tae", "production", version, expected=before)
        moved, deleted = at_once(move, partial(other.delete, "tae", version))
        assert isinstance(moved, Exception) or isinstance(deleted, Exception)
        for alias in registry.aliases("tae"):
            assert registry.resolve("tae", alias)


def test_two_who_clear_away_at_once_remove_the_same(place: str, capsys: pytest.CaptureFixture[str]) -> None:
    def collect() -> None:
        given = argparse.Namespace(models=place, keep=2, dry_run=False, json=False)
        assert asyncio.run(cli_models.collect(given)) == 0

    assert at_once(collect, collect) == ["done"] * 2
    # A bucket tells nobody whether what was deleted was there, so both may say that they removed a version.
    assert set(re.findall(r"^tae +(\d)", capsys.readouterr().out, re.MULTILINE)) == {"1", "2"}
    assert Registry(place).versions("tae") == ["3", "4"]
