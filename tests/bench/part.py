"""One part of an imported model in the process that calls this: the seconds and the memory that it really takes."""

import ctypes
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kino.execution import Execution
from kino.families import DIT, TAE, TOWERS
from kino.registry import Registry
from services.encoder.families.table import TEXTS
from services.encoder.published import PublishedEncoder
from services.generator.engine import Task
from services.generator.families.table import DENOISERS
from services.generator.published import PublishedEngine
from services.tae.families.table import AUTOENCODERS
from services.tae.published import PublishedTae
from tests.bench.harness import Case, interleave
from tests.kino.peaks import peak_bytes
from tests.pipelines import NEGATIVE, PROMPT

_M_MMAP_THRESHOLD = -3

Run = Callable[[], object]


@dataclass(frozen=True)
class Taken:
    """What a part took.

    Args:
        seconds: of the CPU, in each round.
        asked: most bytes beside its weights that torch asked for.
        resident: most bytes beside its weights that the process held, with what its libraries keep for themselves.
    """

    seconds: list[float]
    asked: int
    resident: int


def measure(service: str, models: Path, name: str, film: Mapping[str, int], rounds: int) -> Taken:
    """What a part takes.

    Args:
        models: where the registry is.
        film: frames, height, width and steps.
    """
    run = RUNS[service](Registry(models), name, film)
    seconds = interleave([Case(service, run)], rounds, warmup=1, clock=time.process_time)
    return Taken(seconds[service], resident=resident_bytes(run), asked=peak_bytes(run))


def encoder(registry: Registry, name: str, film: Mapping[str, int]) -> Run:
    """The rows of two texts."""
    manifest = registry.resolve(TOWERS, name)
    engine = PublishedEncoder(TEXTS[manifest.family], manifest, registry)
    return lambda: [engine.encode(text) for text in (PROMPT, NEGATIVE)]


def generator(registry: Registry, name: str, film: Mapping[str, int]) -> Run:
    """The latents of a film."""
    manifest = registry.resolve(DIT, name)
    engine = PublishedEngine(DENOISERS[manifest.family], manifest, registry, execution=Execution())
    rng = np.random.default_rng(0)
    rows = {tower: rng.standard_normal(shape, np.float32) for tower, shape in engine.text_shapes.items()}
    task = Task(rows, rows, film["frames"], film["height"], film["width"], seed=1, steps=film["steps"])
    return lambda: list(engine.generate(task))


def tae(registry: Registry, name: str, film: Mapping[str, int]) -> Run:
    """The frames of a film."""
    manifest = registry.resolve(TAE, name)
    engine = PublishedTae(AUTOENCODERS[manifest.family], manifest, registry)
    grid = engine.clips.grid(film["frames"], film["height"], film["width"])
    shape = (engine.clips.channels, grid.t, grid.h, grid.w)
    latents = np.random.default_rng(0).standard_normal(shape, np.float32)
    return lambda: list(engine.decode(latents, film["frames"]))


RUNS: Mapping[str, Callable[[Registry, str, Mapping[str, int]], Run]] = {
    "encoder": encoder,
    "generator": generator,
    "tae": tae,
}


def resident_bytes(run: Run) -> int:
    """Most bytes that a run holds at once beside those from before it, of what the system gave the process.

    What is freed goes back at once, so that nothing kept from earlier runs takes the place of what this one asks for.
    """
    libc = ctypes.CDLL(None)
    libc.mallopt(_M_MMAP_THRESHOLD, 1 << 17)
    libc.malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = held("VmRSS")
    run()
    return held("VmHWM") - before


def held(kind: str) -> int:
    """Bytes that this process holds now, VmRSS, or held at most, VmHWM."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[kind].split()[0]) * 1024
