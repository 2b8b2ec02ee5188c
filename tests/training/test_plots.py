import json
from pathlib import Path

import pytest

from training.plots import joined


def run(folder: Path, rows: list[dict[str, float]]) -> Path:
    folder.mkdir()
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def test_stages_follow_each_other_in_hours(tmp_path: Path) -> None:
    first = run(tmp_path / "a", [{"step": 0, "error": 3.0, "seconds": 1800}, {"step": 1, "loss": 9.0, "seconds": 3600}])
    second = run(tmp_path / "b", [{"step": 0, "error": 2.0, "seconds": 900}])
    assert joined([first, second], "error") == [(0.5, 3.0), (1.25, 2.0)]
    with pytest.raises(ValueError, match="figure is 'loss', must be one that b measured"):
        joined([first, second], "loss")
