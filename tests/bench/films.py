"""Whole films against services in a process of their own: their stages, the graph's own cost, and cancelling."""

import asyncio
import socket
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from kino.cli_local import flags_of, local_services
from kino.client_async import AsyncKino
from kino.client_specs import text_to_video
from kino.v1 import graph_pb2
from tests.bench.calls import Calls, pipeline
from tests.bench.harness import Case, Section, Timing, interleave, summarise

PROMPT = "a red ball bounces across a green meadow while the camera pans left"
POLL_SECONDS = 0.001


@dataclass(frozen=True)
class Bench:
    """Running services in the process `pid`, a client of them, the loop both live in, and where they tell metrics."""

    runner: asyncio.Runner
    kino: AsyncKino
    addresses: dict[str, str]
    metrics_url: str
    pid: int


@contextmanager
def running(preset: str) -> Iterator[Bench]:
    """Every service of a preset in a process beside this one, with an empty store."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    with tempfile.TemporaryDirectory() as data, asyncio.Runner() as runner:
        stack = AsyncExitStack()
        try:
            flags = [*flags_of(preset, None, data), "--metrics-port", str(port)]
            services = runner.run(stack.enter_async_context(local_services(flags, log_to_file=True)))
            client = AsyncKino(services.addresses["graph"], services=services.addresses)
            kino = runner.run(stack.enter_async_context(client))
            yield Bench(runner, kino, services.addresses, f"http://127.0.0.1:{port}/metrics", services.process.pid)
        finally:
            runner.run(stack.aclose())


def film_stages(bench: Bench, preset: str, rounds: int) -> Section:
    """A whole film from order to file in the client's hands, and each of its stages as the graph timed it."""
    seconds: dict[str, list[float]] = {}

    async def film() -> None:
        begin = time.perf_counter()
        made = await bench.kino.film(PROMPT, seed=0, fresh=True)
        stages = {f"stage {stage.name}": stage.seconds for stage in made.generation.stages}
        for name, value in {"film": time.perf_counter() - begin, **stages}.items():
            seconds.setdefault(name, []).append(value)

    bench.runner.run(bench.kino.film(PROMPT))  # warm-up
    for _ in range(rounds):
        bench.runner.run(film())
    return Section(f"A film, {preset}, in a running graph", [summary(name, values) for name, values in seconds.items()])


def graph_cost(bench: Bench, preset: str, rounds: int) -> Section:
    """What the graph costs beside the work of its stages, told in two ways.

    "outside its stages" is each film's own: seconds from the client's order until it knows the end, less the sum of
    its stages as the graph timed them, which run one after the other. "graph cost" is stricter: the same film against
    the same four calls made straight to the services, interleaved; it counts also what the graph does within a stage
    (looking for a result, checkpoints, notes of progress) and how far that slows the networks, which share the
    process. Both ways the bytes end in the store.
    """
    calls = Calls()
    bench.runner.run(calls.connect(bench.addresses))
    spec = graph_pb2.GenerationSpec(pipeline=pipeline(preset, PROMPT))
    outside: list[float] = []

    def through_graph() -> None:
        begin = time.perf_counter()
        made = bench.runner.run(bench.kino.generations.run(spec, fresh=True))
        outside.append(time.perf_counter() - begin - sum(stage.seconds for stage in made.stages))

    def straight() -> None:
        bench.runner.run(calls.run(preset, PROMPT))

    cases = [Case("through the graph", through_graph), Case("straight to the services", straight)]
    seconds = interleave(cases, rounds)
    bench.runner.run(calls.close())
    graph, services = (summarise(case, seconds[case.name]) for case in cases)
    ratio, cost = graph.median / services.median, graph.median - services.median
    notes = {"graph cost": f"{cost * 1e3:.2f} ms, {100 * (ratio - 1):.2f}%"}
    timings = [graph, services, summary("outside its stages", outside[-rounds:])]
    return Section(f"The graph against the sum of its calls, {preset}", timings, ratio, notes)


def cancel_latency(bench: Bench, preset: str, cancels: int) -> Section:
    """From the client's call of cancel until the generator has no request on its device, against one denoising step."""
    idle = [bench.runner.run(cancel_once(bench, seed)) for seed in range(cancels)]
    before = step_histogram(bench.metrics_url)
    bench.runner.run(bench.kino.film(PROMPT, seed=cancels, fresh=True))
    after = step_histogram(bench.metrics_url)
    step = (after["sum"] - before["sum"]) / (after["count"] - before["count"])
    timing = summary("cancel to idle", idle)
    notes = {"99th percentile": f"{timing.p99 * 1e3:.2f} ms", "one step": f"{step * 1e3:.2f} ms"}
    return Section(f"Cancelling in the middle of denoising, {preset}", [timing], notes=notes)


async def cancel_once(bench: Bench, seed: int) -> float:
    """Seconds from cancelling a film that is being denoised until the generator is idle."""
    generation = await bench.kino.generations.create(text_to_video(PROMPT, seed=seed))
    async for changed in bench.kino.generations.watch(generation.id):
        if any(stage.call == "generate" and stage.step > 0 for stage in changed.stages):
            break
    begin = time.perf_counter()
    await bench.kino.generations.cancel(generation.id)
    await asyncio.to_thread(wait_until_idle, bench.metrics_url)
    return time.perf_counter() - begin


def wait_until_idle(metrics_url: str) -> None:
    """Return once no request is on the generator's device."""
    while metrics(metrics_url, "kino_compute_busy")["kino_compute_busy"] > 0:
        time.sleep(POLL_SECONDS)


def step_histogram(metrics_url: str) -> dict[str, float]:
    """Sum of seconds and count of the generator's steps so far."""
    found = metrics(metrics_url, "kino_compute_step_seconds")
    return {part: found.get(f"kino_compute_step_seconds_{part}", 0.0) for part in ("sum", "count")}


def metrics(url: str, family: str) -> dict[str, float]:
    """The generator's samples of a family of metrics by sample name."""
    with urllib.request.urlopen(url, timeout=10) as response:
        text = response.read().decode()
    return {
        sample.name: sample.value
        for found in text_string_to_metric_families(text)
        if found.name == family
        for sample in found.samples
        if sample.labels.get("component") == "generator"
    }


def summary(name: str, seconds: list[float]) -> Timing:
    """Order statistics of a series that was measured here."""
    return summarise(Case(name, lambda: None), seconds)
