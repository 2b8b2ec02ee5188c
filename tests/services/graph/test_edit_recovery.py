"""An edit whose editor is killed in the middle of its steps: it goes on from its last checkpoint, to the same bytes."""

import asyncio
import json
import re
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from kino.store import Store
from kino.v1 import editor_pb2, encoder_pb2, generator_pb2, graph_pb2, tae_pb2
from kino.wire import encode
from services.graph.parts import Retry
from services.graph.products.text import edge, port
from services.graph.rows import SUCCEEDED
from tests.kino.clips import noise
from tests.services.conftest import Serve
from tests.services.graph.fakes import Services
from tests.services.graph.harness import Graph

PATIENT = Retry(attempts=10_000, first_seconds=0.1, longest_seconds=0.2)  # a process takes long to start under load
STEPS = 400


class Editor(NamedTuple):
    """An editor in a process of its own."""

    process: asyncio.subprocess.Process
    metrics: str

    def steps(self) -> int:
        """Denoising steps that it has finished since it started."""
        with urllib.request.urlopen(f"http://{self.metrics}/metrics") as answer:
            text = answer.read().decode()
        found = re.search(r'^kino_compute_step_seconds_count\{component="editor"\} (\S+)$', text, re.MULTILINE)
        return int(float(found[1])) if found else 0


@asynccontextmanager
async def spawned(folder: Path, port: int) -> AsyncIterator[Editor]:
    """An editor that serves on a port, ended at the end."""
    flags = ["--store", str(folder / "store"), "--preset", "nano", "--metrics-port", "0", "--drain-seconds", "1"]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services", f"editor={port}", *flags), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield Editor(process, json.loads(await process.stdout.readline())["ready"]["metrics"])
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


def order() -> graph_pb2.GenerationSpec:
    """An edit of many steps, every tenth of them a checkpoint however fast the machine is."""
    sampling = generator_pb2.Sampling(steps=STEPS, linear_steps=STEPS)
    edit = editor_pb2.EditRequest(
        task=editor_pb2.EDIT_TASK_REPLACE, frames=16, seed=5, sampling=sampling, checkpoint_every=10
    )
    look = tae_pb2.TaeServiceEncodeRequest(frames=encode(noise(16, 64, 64)))
    made = graph_pb2.Pipeline(
        edges=[
            edge("encode.embeddings", "edit.embeddings"),
            edge("encode.unconditional", "edit.unconditional"),
            edge("look.latents", "edit.latents"),
            edge("edit.latents", "decode.latents"),
            edge("decode.video", "export.video"),
        ]
    )
    made.nodes.add(name="encode", encode=encoder_pb2.EncodeRequest(prompt="replace it with a cat", fps=16))
    made.nodes.add(name="look", tae_encode=look)
    made.nodes.add(name="edit", edit=edit)
    made.nodes.add(name="decode", tae_decode=tae_pb2.TaeServiceDecodeRequest(frames=16, fps=16))
    made.nodes.add(name="export", export=graph_pb2.ExportRequest())
    made.outputs.add(name="film", source=port("export.media"))
    return graph_pb2.GenerationSpec(pipeline=made)


def denoised(generation: graph_pb2.Generation) -> int:
    """Steps of the edit that are done."""
    return next(stage.step for stage in generation.stages if stage.name == "edit")


@pytest.mark.timeout(600)
async def test_an_edit_outlives_its_editor_and_then_its_graph_to_the_same_bytes(
    serve: Serve, store: Store, tmp_path: Path, free_port: int
) -> None:
    peers = Services(store)
    for name in ("encoder", "tae"):
        peers.addresses[name] = (await serve(name)).address
    peers.addresses["editor"] = f"127.0.0.1:{free_port}"
    graph = Graph(peers, tmp_path, PATIENT)
    async with spawned(tmp_path, free_port) as first:
        await graph.start()
        created = await graph.create(order())
        await graph.reach(created.id, lambda seen: denoised(seen) > 60)
        first.process.kill()
    async with spawned(tmp_path, free_port) as second:
        await graph.reach(created.id, lambda seen: denoised(seen) > 150)
        await graph.stop()
        await graph.start()
        made = await graph.end(created.id)
        assert made.state == SUCCEEDED, made.error
        assert 0 < second.steps() < STEPS
        assert list(store.records.list("checkpoints/")) == []
        undisturbed = await graph.make(order(), fresh=True)
        await graph.stop()
    assert made.artifacts[0].media.uri == undisturbed.artifacts[0].media.uri
