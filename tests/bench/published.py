"""A published model through our generator in a process of its own, against its library's own pipeline in others.

The library computes on weights where they lie in their mapped file, none of them at the beginning of a cache line, and
products of matrices add up otherwise there. What it makes of the same weights copied into memory is what we make, bit
for bit, and is what losses are reckoned from.
"""

import asyncio
import json
import math
import os
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from statistics import median, quantiles
from typing import Any

import numpy as np
from numpy.typing import NDArray

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

SIZES = {
    "num_attention_heads": 8, "attention_head_dim": 64, "ffn_dim": 2048, "num_layers": 8, "rope_max_seq_len": 64,
}  # fmt: skip
"""A Wan of 37 million parameters, a step of which takes one core about a second."""
FRAMES, PIXELS, ROWS = 9, 160, 512
STEPS, SEED, GUIDANCE = 6, 3, 5.0
BARE, COPIED, SERVED = "the library's pipeline", "its weights copied", "served"
MODES: Mapping[str, Sequence[str]] = {
    "compiled": ("--compile",),
    "cached": ("--cache", "0.1"),
    "int8": ("--weights", "int8"),
}
"""Flags of our generator by the name of a mode."""

Texts = Mapping[str, NDArray[np.float32]]


@dataclass
class Maker:
    """A process that makes latents: what it made last, and the CPU seconds of a step in each run."""

    pid: int
    make: Callable[[], Awaitable[NDArray[np.float32]]]
    made: NDArray[np.float32] = field(default_factory=lambda: np.zeros(0, np.float32))
    cpu: list[float] = field(default_factory=list)

    async def run(self) -> None:
        """Make latents once."""
        before = cpu_seconds(self.pid)
        self.made = await self.make()
        self.cpu.append((cpu_seconds(self.pid) - before) / STEPS)


def overhead(modes: Sequence[str], threads: int, rounds: int) -> Section:
    """Seconds of a step of the library's pipeline, of ours and of some modes, in turns, memory of each, and its loss.

    On one core each of them takes a minute of a run of ten rounds; compiling takes some more before the first.
    """
    with tempfile.TemporaryDirectory() as scratch, asyncio.Runner() as runner, environment(threads):
        stack = AsyncExitStack()
        try:
            makers = runner.run(start(stack, Path(scratch), modes))
            cases = [Case(name, partial(once, runner, maker), STEPS) for name, maker in makers.items()]
            seconds = interleave(cases, rounds, warmup=1)
            facts = {name: facts_of(maker, makers[COPIED], rounds) for name, maker in makers.items()}
        finally:
            runner.run(stack.aclose())
    timings = [summarise(Case(name, lambda: None, facts=facts[name]), seconds[name]) for name in makers]
    pairs = [ours / theirs for ours, theirs in zip(seconds[SERVED], seconds[BARE], strict=True)]
    low, middle, high = quantiles(pairs, n=4, method="inclusive")
    cpu = median(makers[SERVED].cpu[-rounds:]) / median(makers[BARE].cpu[-rounds:])
    notes: Facts = {
        "median of ratios": f"{middle:.4f} ({low:.4f} to {high:.4f})",
        "ratio of CPU seconds": round(cpu, 4),
    }
    return Section("A step of a published model", timings, timings[0].median / timings[1].median, notes)


def once(runner: asyncio.Runner, maker: Maker) -> None:
    """Let a process make latents."""
    runner.run(maker.run())


async def start(stack: AsyncExitStack, scratch: Path, modes: Sequence[str]) -> dict[str, Maker]:
    """The processes of all cases on one pipeline of random weights; ours is the first."""
    folder = pipelines.save(build, scratch / "wan")
    import_pipeline(folder, Registry(scratch / "models"), "bench")
    rng = np.random.default_rng(0)
    width = pipelines.wan_transformer(**SIZES).config.text_dim
    texts = {name: rng.standard_normal((ROWS, width), np.float32) for name in ("embeddings", "unconditional")}
    np.savez(scratch / "texts.npz", prompt_embeds=texts["embeddings"], negative_prompt_embeds=texts["unconditional"])
    makers = {
        SERVED: await served(stack, scratch, (), texts),
        BARE: await bare(stack, scratch, folder),
        COPIED: await bare(stack, scratch, folder, "copied"),
    }
    for mode in modes:
        makers[f"{SERVED}, {mode}"] = await served(stack, scratch, MODES[mode], texts)
    return makers


def build() -> Any:
    """The pipeline that is measured."""
    return pipelines.wan(transformer=pipelines.wan_transformer(**SIZES))


async def served(stack: AsyncExitStack, scratch: Path, mode: Sequence[str], texts: Texts) -> Maker:
    """Our generator."""
    versions = ("--models", str(scratch / "models"), "--data", str(scratch / "data"), "--version", "bench")
    flags = [*versions, *mode]
    services = await stack.enter_async_context(local_services(flags, log_to_file=True, names=("generator",)))
    stub = GeneratorServiceStub(await stack.enter_async_context(channel(services.addresses["generator"])))
    request = GenerateRequest(
        frames=FRAMES, height=PIXELS, width=PIXELS, seed=SEED, sampling=Sampling(steps=STEPS, guidance=GUIDANCE),
        embeddings=[Embedding(tower="umt5", embeddings=wire.encode(texts["embeddings"]))],
        unconditional=[Embedding(tower="umt5", embeddings=wire.encode(texts["unconditional"]))],
    )  # fmt: skip

    async def make() -> NDArray[np.float32]:
        result = await last(stub.Generate(request), None)
        return wire.decode(result.latents, "latents", "c t h w")

    return Maker(services.process.pid, make)


async def bare(stack: AsyncExitStack, scratch: Path, folder: Path, *flags: str) -> Maker:
    """The library's own pipeline; `flags` as of `tests.bench.bare`."""
    paths = (str(folder), str(scratch / "texts.npz"), str(scratch / "latents.npy"))
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "tests.bench.bare", *paths, *flags)
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None
    stack.push_async_callback(process.wait)
    stack.callback(stdin.close)
    assert await stdout.readline() == b"ready\n"
    given = {
        "num_frames": FRAMES, "height": PIXELS, "width": PIXELS, "num_inference_steps": STEPS,
        "guidance_scale": GUIDANCE, "seed": SEED,
    }  # fmt: skip

    async def make() -> NDArray[np.float32]:
        stdin.write(json.dumps(given).encode() + b"\n")
        assert await stdout.readline() == b"done\n"
        latents: NDArray[np.float32] = np.load(scratch / "latents.npy")
        return latents

    return Maker(process.pid, make)


def facts_of(maker: Maker, exact: Maker, rounds: int) -> Facts:
    """CPU seconds of a step, most memory so far, and how far the latents are from exact ones."""
    noise = float(np.mean((maker.made - exact.made) ** 2))
    loss = "none" if noise == 0 else f"{10 * math.log10(float(np.mean(exact.made**2)) / noise):.1f} dB"
    return {
        "CPU": f"{1e3 * median(maker.cpu[-rounds:]):.1f} ms",
        "peak memory": f"{peak_bytes(maker.pid) / 2**20:.0f} MiB",
        "loss": loss,
    }


def cpu_seconds(pid: int) -> float:
    """Seconds that a process has computed so far, on all cores."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_bytes(pid: int) -> int:
    """Most memory that a process held at once."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines["VmHWM"].split()[0]) * 1024


@contextmanager
def environment(threads: int) -> Iterator[None]:
    """Let the processes that are started compute on so many threads."""
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(threads)
    try:
        yield
    finally:
        if before is None:
            del os.environ["OMP_NUM_THREADS"]
        else:
            os.environ["OMP_NUM_THREADS"] = before
