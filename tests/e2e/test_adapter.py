"""An adapter from its folder to a film, by the command line alone."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests import adapters, pipelines
from tests.e2e.conftest import Finished

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]  # processes import large libraries one after the other


def test_an_imported_adapter_changes_the_film_of_its_order_alone(kino: Callable[..., Finished], tmp_path: Path) -> None:
    pipelines.save(pipelines.wan, tmp_path / "wan")
    adapters.save(pipelines.make(pipelines.wan), tmp_path / "ink")
    for words in (["wan"], ["--adapter", "ink", "--base", "wan"]):
        imported = kino("models", "import", *words, "--models", "models")
        assert imported.code == 0, imported.err
    given = ("--model", "wan", "--models", "models", "--data", "data", "--no-sound", "--verbatim", "--json")
    order = ("film", "a red ball bounces", "--size", "64x32", "--seconds", "0.5", "--steps", "2", "--seed", "1", *given)
    films, inked = {}, ("--adapter", "ink:1.5")
    for name in ("plain", "inked", "again"):
        made = kino(*order, *(inked if name != "plain" else ()), "--out", f"{name}.mp4")
        assert made.code == 0, made.err
        films[name] = (tmp_path / f"{name}.mp4").read_bytes()
    assert films["plain"] != films["inked"] == films["again"]
    assert "--adapter ink:1.5" in made.json["command"]
    stored = {stage["name"]: stage["stored"] for stage in made.json["stages"]}
    assert stored["generate"]
