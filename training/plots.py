"""Curves of a run as a picture."""

import json
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

HIDDEN = {"step", "seconds"}


def plot_metrics(folder: Path) -> None:
    """Draw every figure of metrics.jsonl against the step, one small panel each, to curves.png."""
    curves: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for line in (folder / "metrics.jsonl").read_text().splitlines():
        row = json.loads(line)
        for name in row.keys() - HIDDEN:
            curves[name].append((row["step"], row[name]))
    if not curves:
        return
    columns = min(4, len(curves))
    rows = -(-len(curves) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(4 * columns, 3 * rows), squeeze=False)
    for axis, name in zip(axes.flat, sorted(curves), strict=False):
        steps, values = zip(*curves[name], strict=True)
        axis.plot(steps, values)
        axis.set_title(name)
        axis.set_xlabel("step")
    figure.tight_layout()
    figure.savefig(folder / "curves.png", dpi=80)
    plt.close(figure)
