"""Checkpoints of a run: everything the next step depends on, in one atomically replaced file."""

import json
import os
from pathlib import Path
from typing import Any

import torch

FILE_NAME = "checkpoint.pt"
METRICS_FILE = "metrics.jsonl"


def save(folder: Path, state: dict[str, Any]) -> None:
    """Write the state beside the last one, flush it, then replace: a kill at any time leaves a whole checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / (FILE_NAME + ".partial")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(folder / FILE_NAME)


def load(folder: Path) -> dict[str, Any]:
    """The state last saved. Raises FileNotFoundError when the run has no checkpoint yet."""
    state: dict[str, Any] = torch.load(folder / FILE_NAME, map_location="cpu", weights_only=True)
    return state


def append_metrics(folder: Path, step: int, values: dict[str, float]) -> None:
    """Add one line to metrics.jsonl."""
    with (folder / METRICS_FILE).open("a") as file:
        file.write(json.dumps({"step": step, **{name: round(value, 6) for name, value in values.items()}}) + "\n")


def truncate_metrics(folder: Path, step: int) -> float:
    """Drop the lines from a step on, so that a resumed curve has no overlap; return the seconds trained until then."""
    path = folder / METRICS_FILE
    if not path.exists():
        return 0.0
    lines = [line for line in path.read_text().splitlines() if json.loads(line)["step"] < step]
    path.write_text("".join(line + "\n" for line in lines))
    return max((json.loads(line).get("seconds", 0.0) for line in lines), default=0.0)
