"""Clips of one shape that wait for the generator together: how many it makes in a minute one by one, and in batches."""

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from kino import wire
from kino.cli_local import local_services
from kino.client_services import last
from kino.importing import import_pipeline
from kino.registry import Registry
from kino.rpc import channel
from kino.v1.encoder_pb2 import Embedding
from kino.v1.generator_pb2 import GenerateRequest, Sampling
from kino.v1.generator_pb2_grpc import GeneratorServiceStub
from tests import pipelines
from tests.bench.harness import Case, Facts, Section, interleave, summarise
from tests.bench.published import SIZES, build, cpu_seconds, environment

SIDES = (32, 96)
"""Of the clips, in pixels: the first is so small that reading the weights takes most of the time."""
FRAMES, ROWS, STEPS, GUIDANCE = 5, 64, 4, 5.0
BATCH, CLIPS = 4, 9
"""The first clip finds the device free and goes alone; those that wait meanwhile fill two batches."""


@dataclass(frozen=True)
class Generator:
    """A process that makes clips, and its stub."""

    pid: int
    stub: Any


def throughput(device: str, threads: int, rounds: int) -> list[Section]:
    """Seconds of a clip where several wait, by two generators in turns, and clips in a minute, for each size."""
    with tempfile.TemporaryDirectory() as scratch, asyncio.Runner() as runner, environment(threads):
        stack = AsyncExitStack()
        try:
            import_pipeline(pipelines.save(build, Path(scratch) / "wan"), Registry(Path(scratch) / "models"), "bench")
            sizes = (BATCH, 1)
            generators = {size: runner.run(start(stack, Path(scratch), device, size)) for size in sizes}
            width = pipelines.wan_transformer(**SIZES).config.text_dim
            return [
                section(runner, generators, [order(side, seed, width) for seed in range(CLIPS)], rounds)
                for side in SIDES
            ]
        finally:
            runner.run(stack.aclose())


async def start(stack: AsyncExitStack, scratch: Path, device: str, size: int) -> Generator:
    """A generator that takes so many clips at once."""
    places = ("--models", str(scratch / "models"), "--data", str(scratch / "data"), "--version", "bench")
    flags = [*places, "--device", device, "--batch", str(size)]
    services = await stack.enter_async_context(local_services(flags, log_to_file=True, names=("generator",)))
    stub = GeneratorServiceStub(await stack.enter_async_context(channel(services.addresses["generator"])))
    return Generator(services.process.pid, stub)


def section(
    runner: asyncio.Runner, generators: Mapping[int, Generator], orders: Sequence[GenerateRequest], rounds: int
) -> Section:
    """Clips of one size."""
    side = orders[0].height
    cases = [
        Case(f"batches of {size}", partial(once, runner, one.stub, orders), CLIPS) for size, one in generators.items()
    ]
    before = [cpu_seconds(one.pid) for one in generators.values()]
    seconds = interleave(cases, rounds, warmup=1)
    timings = [summarise(case, seconds[case.name]) for case in cases]
    notes: Facts = {f"clips a minute, {timing.name}": round(60 / timing.median, 1) for timing in timings}
    shared, apart = (cpu_seconds(one.pid) - past for one, past in zip(generators.values(), before, strict=True))
    notes = {**notes, "ratio of CPU seconds": round(shared / apart, 3)}
    title = f"A clip of {FRAMES} frames of {side}x{side} where {CLIPS} wait"
    return Section(title, timings, timings[0].median / timings[1].median, notes)


def once(runner: asyncio.Runner, stub: Any, orders: Sequence[GenerateRequest]) -> None:
    """Let the generator make all clips, asked for at once."""

    async def make() -> None:
        await asyncio.gather(*(last(stub.Generate(order), None) for order in orders))

    runner.run(make())


def order(side: int, seed: int, width: int) -> GenerateRequest:
    """A request whose texts are of random numbers, rows of this width."""
    rng = np.random.default_rng(seed)
    prompt, negative = (
        [Embedding(tower="umt5", embeddings=wire.encode(rng.standard_normal((ROWS, width), np.float32)))] for _ in "pn"
    )
    sampling = Sampling(steps=STEPS, guidance=GUIDANCE)
    return GenerateRequest(
        embeddings=prompt, unconditional=negative, frames=FRAMES, height=side, width=side, seed=seed, sampling=sampling
    )
