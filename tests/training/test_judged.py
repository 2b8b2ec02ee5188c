import json
from pathlib import Path

import pytest

from kino.manifest import Manifest
from kino.registry import Registry
from training import judged

FILMS = {"object": {"rate": 0.75, "low": 0.5, "high": 0.9, "right": 15, "count": 20, "classes": {"ball": {}}}}
PEOPLE = {"person": {"right": 8, "count": 10}}
SOUND = {"onsets": {"rate": 0.5, "count": 8}, "false_per_second": 0.0625, "classes": {"bell": {}}, "confusions": {}}
PICTURES = {"first_frame_decibels": 18.5, "shown": FILMS}
EDITS = {
    "composed": {
        "all": {"done": {"rate": 0.5, "count": 4}, "kept_decibels": 27.5},
        "add": {"done": {"rate": 0.0, "count": 2}, "kept_decibels": 28.0},
        "style": {"done": {"rate": 1.0, "count": 2}},
    },
    "raw": {"all": {"done": {"rate": 0.25, "count": 4}}},
}
UPSCALED = {"averaged, bicubic": {"psnr": 28.5}, "averaged, 1 steps": {"psnr": 28.75}}


@pytest.mark.parametrize(
    ("report", "figures"),
    [
        (FILMS, {"object": 0.75, "count": 20}),
        (PEOPLE, {"person": 0.8, "count": 10}),
        (SOUND, {"onsets": 0.5, "false_per_second": 0.0625, "count": 8}),
        (PICTURES, {"first_frame_decibels": 18.5, "object": 0.75, "count": 20}),
        (EDITS, {"done": 0.5, "kept_decibels": 27.5, "add": 0.0, "style": 1.0, "count": 4}),
        (UPSCALED, {"averaged, bicubic psnr": 28.5, "averaged, 1 steps psnr": 28.75}),
    ],
)
def test_what_judges_wrote_becomes_one_figure_for_each_name(
    report: dict[str, object], figures: dict[str, float]
) -> None:
    assert judged.pooled([report]) == figures


def test_shares_of_several_reports_are_of_all_that_they_counted() -> None:
    other = {"person": {"right": 26, "count": 30}}
    assert judged.pooled([PEOPLE, other]) == {"person": 0.85, "count": 40}
    with pytest.raises(ValueError, match="false_per_second is in 2 files, must be in one"):
        judged.pooled([SOUND, SOUND])


def test_a_published_version_says_what_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    registry, weights, report = Registry(tmp_path / "models"), tmp_path / "weights", tmp_path / "films.json"
    weights.write_bytes(b"weights")
    report.write_text(json.dumps(FILMS))
    published = registry.publish(Manifest("dit", "1", "mini", {}), {"model.safetensors": weights})
    registry.set_alias("dit", "mini", "1", expected=None)
    arguments = ["--component", "dit", "--of", "films 1:1 2 s", "--models", str(tmp_path / "models"), str(report)]
    monkeypatch.setattr("sys.argv", ["judged", *arguments])
    judged.main()
    assert "dit/1: films 1:1 2 s: {'object': 0.75" in capsys.readouterr().out
    found = registry.resolve("dit", "mini")
    assert found.judged == {"films 1:1 2 s": {"object": 0.75, "count": 20}}
    assert found.digest == published.digest


def test_a_name_that_cannot_be_taken_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "films.json"
    registry, weights = Registry(tmp_path / "models"), tmp_path / "weights"
    weights.write_bytes(b"weights")
    report.write_text(json.dumps(FILMS))
    registry.publish(Manifest("dit", "1", "mini", {}), {"model.safetensors": weights})
    arguments = ["--component", "dit", "--version", "1", "--of", "films: all", "--models", str(tmp_path / "models")]
    monkeypatch.setattr("sys.argv", ["judged", *arguments, str(report)])
    with pytest.raises(SystemExit, match="2"):
        judged.main()
    assert "a name of figures is 'films: all', must be words without" in capsys.readouterr().err
