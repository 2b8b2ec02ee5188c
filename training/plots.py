"""Curves of a run as a picture; python -m training.plots RUN RUN --figure NAME --out FILE joins stages."""

import argparse
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


def joined(folders: list[Path], figure: str) -> list[tuple[float, float]]:
    """(hours of training so far, value) of a figure over stages that go on from each other, in their order.

    Raises:
        ValueError: a stage never measured the figure.
    """
    points, before = [], 0.0
    for folder in folders:
        rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        measured = [(before + row["seconds"] / 3600, row[figure]) for row in rows if figure in row]
        if not measured:
            raise ValueError(f"figure is {figure!r}, must be one that {folder.name} measured")
        points += measured
        before += max(row["seconds"] for row in rows) / 3600
    return points


def main() -> None:
    """Command line of the joined curve."""
    parser = argparse.ArgumentParser(description="Draw one figure over the stages of a training.")
    parser.add_argument("runs", nargs="+", type=Path, help="folders of the stages, in their order")
    parser.add_argument("--figure", default="held_out_velocity")
    parser.add_argument("--out", type=Path, default=Path("curve.png"))
    given = parser.parse_args()
    try:
        hours, values = zip(*joined(given.runs, given.figure), strict=True)
    except ValueError as error:
        raise SystemExit(f"error: {error}") from error
    sheet, axis = plt.subplots(figsize=(6, 3))
    axis.plot(hours, values, marker="o", markersize=3)
    axis.set(xlabel="hours of training", ylabel=given.figure.replace("_", " "))
    sheet.tight_layout()
    sheet.savefig(given.out, dpi=80)


if __name__ == "__main__":
    main()
