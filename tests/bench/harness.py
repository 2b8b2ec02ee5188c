"""Interleaved timing: every case runs once per round, in alternating order, so that a slow minute hits all alike."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch

Facts = Mapping[str, int | float | str]


@dataclass(frozen=True)
class Case:
    """Something to time.

    Args:
        units: what one run produces (frames, steps); seconds are reported per unit.
        facts: what a reader must know to compare, such as parameters and floating-point operations.
    """

    name: str
    run: Callable[[], object]
    units: int = 1
    facts: Facts = field(default_factory=dict)


@dataclass(frozen=True)
class Timing:
    """Seconds per unit of one case over all rounds: median, quartiles and the 99th percentile."""

    name: str
    runs: int
    median: float
    quartile_1: float
    quartile_3: float
    p99: float
    facts: Facts


@dataclass(frozen=True)
class Section:
    """One question and its answer; `ratio` is the first median over the second, below 1 if the first case is faster."""

    title: str
    timings: list[Timing]
    ratio: float | None = None
    notes: Facts = field(default_factory=dict)


def interleave(
    cases: Sequence[Case], rounds: int, warmup: int = 2, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds per unit of every run of every case. Odd rounds run the cases backwards; warm-up rounds are not kept."""
    seconds: dict[str, list[float]] = {case.name: [] for case in cases}
    for index in range(-warmup, rounds):
        for case in cases if index % 2 == 0 else reversed(cases):
            begin = clock()
            case.run()
            if index >= 0:
                seconds[case.name].append((clock() - begin) / case.units)
    return seconds


def summarise(case: Case, seconds: Sequence[float]) -> Timing:
    """Order statistics of at least two runs."""
    quartile_1, median, quartile_3 = statistics.quantiles(seconds, n=4, method="inclusive")
    p99 = statistics.quantiles(seconds, n=100, method="inclusive")[98]
    return Timing(case.name, len(seconds), median, quartile_1, quartile_3, p99, case.facts)


def compare(title: str, ours: Case, theirs: Case, rounds: int) -> Section:
    """Both cases interleaved, and the ratio of their medians."""
    seconds = interleave([ours, theirs], rounds)
    timings = [summarise(case, seconds[case.name]) for case in (ours, theirs)]
    return Section(title, timings, ratio=timings[0].median / timings[1].median)


def machine() -> Facts:
    """What the figures were taken on."""
    description: dict[str, int | float | str] = {
        "processor": processor(),
        "cores": os.cpu_count() or 1,
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if torch.cuda.is_available():
        description["gpu"] = torch.cuda.get_device_name()
    return description


def processor() -> str:
    """Model name of the processor."""
    listing = Path("/proc/cpuinfo")
    names = (
        [line for line in listing.read_text().splitlines() if line.startswith("model name")] if listing.exists() else []
    )
    return names[0].partition(":")[2].strip() if names else platform.processor()


def report(sections: Sequence[Section]) -> str:
    """The figures as text, in milliseconds."""
    lines = [", ".join(f"{key} {value}" for key, value in machine().items())]
    for section in sections:
        lines += ["", section.title]
        for timing in section.timings:
            facts = "".join(
                f", {key} {value:,}" if isinstance(value, int) else f", {key} {value}"
                for key, value in timing.facts.items()
            )
            spread = f"{timing.quartile_1 * 1e3:.2f} to {timing.quartile_3 * 1e3:.2f}"
            lines.append(f"  {timing.name:<24} {timing.median * 1e3:10.2f} ms  ({spread}, {timing.runs} runs{facts})")
        if section.ratio is not None:
            lines.append(f"  ratio of medians         {section.ratio:10.3f}")
        lines += [f"  {key:<24} {value}" for key, value in section.notes.items()]
    return "\n".join(lines)


def save(sections: Sequence[Section], path: Path) -> None:
    """Write machine and figures as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {"machine": machine(), "sections": [asdict(section) for section in sections]}
    path.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
