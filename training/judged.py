"""Let a published version say what judges found: python -m training.judged --component dit --of NAME FILE.

FILE is what `training.adherence`, `editing`, `likeness`, `sound_adherence` or `upscaling` wrote by `--out`; shares of
several files, of other scenes each, are pooled. NAME says what was judged, with its extent: "films 1:1 2 s".
`kino models` shows it.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kino.registry import Registry
from training.published import MODELS

Share = Mapping[str, float]
Figure = Share | float
DETAILS = ("classes", "confusions")
"""Parts of a report that are too long for a line."""


def pooled(reports: list[Mapping[str, Any]]) -> dict[str, float]:
    """The shares of reports over all that they counted, their other figures, and the largest count.

    Raises:
        ValueError: several reports hold a figure that is no share, which cannot be pooled.
    """
    found: dict[str, list[Figure]] = defaultdict(list)
    for report in reports:
        for name, value in _line(report).items():
            found[name].append(value)
    figures, largest = {}, 0.0
    for name, values in found.items():
        shares = [value for value in values if isinstance(value, Mapping)]
        single = [value for value in values if not isinstance(value, Mapping)]
        if len(single) > 1:
            raise ValueError(f"{name} is in {len(single)} files, must be in one: it is no share of a count")
        count = sum(share["count"] for share in shares)
        figures[name] = round(sum(map(_right, shares)) / count if shares else single[0], 4)
        largest = max(largest, count)
    return figures | ({"count": largest} if largest else {})


def _line(report: Mapping[str, Any]) -> dict[str, Figure]:
    """The shares and figures of a report that fit a line: of edits what is given out, and for each kind if done."""
    if "composed" in report:
        kinds = {kind: row["done"] for kind, row in report["composed"].items() if kind != "all"}
        return {**report["composed"]["all"], **kinds}
    found: dict[str, Figure] = {}
    for key, value in report.items():
        if key == "shown":
            found |= _line(value)
        elif isinstance(value, Mapping) and "count" not in value and key not in DETAILS:
            found |= {f"{key} {name}": figure for name, figure in value.items()}
        elif key not in DETAILS:
            found[key] = value
    return found


def _right(share: Share) -> float:
    return share["right"] if "right" in share else share["rate"] * share["count"]


def main() -> None:
    """Command line of the recorder."""
    parser = argparse.ArgumentParser(description="Let a published version say what judges found.")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="figures as JSON")
    parser.add_argument("--component", required=True)
    parser.add_argument("--version", default="mini", help="or an alias (%(default)s)")
    parser.add_argument("--of", required=True, metavar="NAME", help='what was judged, for example "films 1:1 2 s"')
    parser.add_argument("--models", default=MODELS)
    given = parser.parse_args()
    registry = Registry(given.models)
    try:
        figures = pooled([json.loads(path.read_text()) for path in given.files])
        manifest = registry.attach_figures(registry.resolve(given.component, given.version), given.of, figures)
    except ValueError as error:
        parser.error(str(error))
    print(f"{manifest.component}/{manifest.version}: {given.of}: {figures}")


if __name__ == "__main__":
    main()
