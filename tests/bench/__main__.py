"""Run the benches on an idle machine: `python -m tests.bench`, or some of them by name."""

import argparse
from pathlib import Path

import torch

from kino.presets import PRESETS
from tests.bench.batches import throughput
from tests.bench.films import cancel_latency, film_stages, graph_cost, running
from tests.bench.harness import Section, report, save
from tests.bench.minutes import minutes
from tests.bench.networks import dit_step, tae_decode
from tests.bench.planned import ROWS, planned
from tests.bench.published import MODES, overhead
from tests.bench.runtimes import runtimes


def main() -> None:
    """Print the figures, and write them as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="dit, tae, onnx, overhead, batches, plan, sound, film, graph, cancel; all of them if none",
    )
    parser.add_argument("--preset", choices=sorted(PRESETS), default="mini")
    parser.add_argument("--device", default="cpu", help="of networks and batches; other services' is the CPU")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument(
        "--rounds", type=int, default=10, help="films or calls of each kind; decoders run 3 times as many"
    )
    parser.add_argument(
        "--modes",
        nargs="*",
        choices=tuple(MODES),
        default=list(MODES),
        help="of overhead, beside what is served plainly",
    )
    parser.add_argument("--families", nargs="*", choices=tuple(ROWS), default=list(ROWS), help="of plan")
    parser.add_argument("--seconds", type=int, default=180, help="of the video of sound")
    parser.add_argument("--cancels", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path("runs/bench.json"))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    sections = measure(given)
    print(report(sections))
    save(sections, given.out)


def measure(given: argparse.Namespace) -> list[Section]:
    """The sections that were asked for, networks before services."""
    names = given.names or ["dit", "tae", "onnx", "overhead", "batches", "plan", "sound", "film", "graph", "cancel"]
    sections = []
    if "dit" in names:
        sections.append(dit_step(given.preset, given.device, given.rounds))
    if "tae" in names:
        sections.append(tae_decode(given.preset, given.device, 3 * given.rounds))
    if "onnx" in names:
        sections += runtimes(given.preset, given.device, 3 * given.rounds)
    if "overhead" in names:
        sections.append(overhead(given.modes, given.threads, given.rounds))
    if "batches" in names:
        sections += throughput(given.device, given.threads, given.rounds)
    if "plan" in names:
        sections.append(planned(given.families, given.threads, given.rounds))
    if "sound" in names:
        sections.append(minutes(given.preset, given.seconds))
    if {"film", "graph", "cancel"} & set(names):
        with running(given.preset) as bench:
            if "film" in names:
                sections.append(film_stages(bench, given.preset, given.rounds))
            if "graph" in names:
                sections.append(graph_cost(bench, given.preset, given.rounds))
            if "cancel" in names:
                sections.append(cancel_latency(bench, given.preset, given.cancels))
    return sections


if __name__ == "__main__":
    main()
