"""Generations over the command line: created, listed, watched, cancelled, resumed after a kill, deleted."""

import json
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from kino.client import Kino, Pipeline, text_to_video
from kino.client_specs import FilmOptions
from kino.errors import FailedPreconditionError, NotFoundError
from kino.v1 import graph_pb2
from kino.v1.encoder_pb2 import EncodeRequest
from kino.v1.generator_pb2 import GenerateRequest, Sampling
from kino.v1.rewriter_pb2 import RewriteRequest
from kino.v1.tae_pb2 import TaeServiceDecodeRequest
from tests.e2e.conftest import START_SECONDS, Finished, Served, start

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

LONG: FilmOptions = {"seconds": 4.0, "size": (64, 64), "steps": 1000, "linear_steps": 1000}


def steps_of_the_generator(served: Served) -> int:
    """Denoising steps that the generator has finished since it started."""
    with urllib.request.urlopen(f"http://{served.addresses['metrics']}/metrics") as answer:
        text = answer.read().decode()
    found = re.search(r'^kino_compute_step_seconds_count\{component="generator"\} (\S+)$', text, re.MULTILINE)
    return int(float(found[1])) if found else 0


def until_it_denoises(kino: Kino, id: str) -> None:
    for generation in kino.generations.watch(id):
        if any(stage.name == "generate" and stage.step > 0 for stage in generation.stages):
            return
    raise AssertionError("it ended before it denoised")


def film_with_many_checkpoints() -> graph_pb2.GenerationSpec:
    """A film of 800 steps, each tenth of them a checkpoint however fast the machine is."""
    sampling = Sampling(steps=800, linear_steps=800)
    noise = GenerateRequest(frames=32, height=64, width=64, seed=11, sampling=sampling, checkpoint_every=10)
    pipeline = Pipeline()
    rewritten = pipeline.call("rewrite", RewriteRequest(prompt="a star spins"))
    text = pipeline.call("encode", EncodeRequest(fps=16), prompt=rewritten["prompt"])
    guide = {"embeddings": text["embeddings"], "unconditional": text["unconditional"]}
    latents = pipeline.call("generate", noise, **guide)["latents"]
    video = pipeline.call("decode", TaeServiceDecodeRequest(frames=32, fps=16), latents=latents)["video"]
    pipeline.output("film", pipeline.call("export", graph_pb2.ExportRequest(), video=video)["media"])
    return pipeline.spec()


def test_create_list_watch_get_delete(kino: Callable[..., Finished], tmp_path: Path, served: Served) -> None:
    address = ("--address", served.graph)
    order = ("a red ball", "--seconds", "0.5", "--steps", "2", "--seed", "9", "--key", "list-test")
    created = kino("generations", "create", *order, *address)
    assert created.code == 0, created.err
    id = created.out.strip()
    assert kino("generations", "create", *order, *address).out.strip() == id
    other = kino("generations", "create", "a blue ball", "--key", "list-test", *address, "--json")
    assert (other.code, other.json["error"]["code"]) == (2, "ALREADY_EXISTS")
    watched = kino("generations", "watch", id, "--out", ".", *address)
    assert watched.code == 0, watched.err
    assert "succeeded" in watched.out
    assert {"film.mp4", "contact_sheet.png"} <= {path.name for path in tmp_path.iterdir()}
    listed = json.loads(kino("generations", "list", "--state", "succeeded", "--json", *address).out)
    assert id in [entry["id"] for entry in listed]
    shown = kino("generations", "get", id, "--json", *address).json
    assert shown["record"]["pipeline"]["nodes"]
    assert kino("generations", "delete", id, *address).code == 0
    assert kino("generations", "get", id, *address).code == 2


def test_cancel_stops_the_sampler(served: Served) -> None:
    with Kino(served.graph) as kino:
        id = kino.generations.create(text_to_video("a cat", **LONG), fresh=True).id
        until_it_denoises(kino, id)
        assert kino.generations.cancel(id).state == graph_pb2.GENERATION_STATE_CANCELLED
        kino.generations.run(text_to_video("a dog", seconds=0.5, steps=2))  # waits behind what still computes
        done = steps_of_the_generator(served)
        kino.generations.run(text_to_video("a fish", seconds=0.5, steps=2))
        assert steps_of_the_generator(served) <= done + 3  # its own two, and the one that finds the end
        *_, ended = kino.generations.watch(id)
        assert ended.state == graph_pb2.GENERATION_STATE_CANCELLED
        kino.generations.delete(id)
        with pytest.raises(NotFoundError):
            kino.generations.get(id)


def test_what_runs_is_not_deleted(served: Served) -> None:
    with Kino(served.graph) as kino:
        id = kino.generations.create(text_to_video("a cat", **LONG), fresh=True).id
        with pytest.raises(FailedPreconditionError):
            kino.generations.delete(id)
        kino.generations.cancel(id)
        kino.generations.delete(id)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_to_the_command_cancels_its_generation(number: int, code: int, served: Served, tmp_path: Path) -> None:
    arguments = ("film", "a boat", "--seconds", "4", "--size", "64x64", "--steps", "1000", "--fresh")
    command = [
        sys.executable,
        "-m",
        "kino.cli",
        *arguments,
        "--address",
        served.graph,
        "--out",
        str(tmp_path / "f.mp4"),
    ]
    with Kino(served.graph) as kino:
        before = {generation.id for generation in kino.generations.list()}
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE)
        created: list[str] = []
        while not created:
            assert process.poll() is None
            created = [entry.id for entry in kino.generations.list() if entry.id not in before]
        until_it_denoises(kino, created[0])
        process.send_signal(number)
        _, err = process.communicate(timeout=START_SECONDS)
        assert process.returncode == code
        assert b"Traceback" not in err
        assert kino.generations.get(created[0]).state == graph_pb2.GENERATION_STATE_CANCELLED
    assert list(tmp_path.iterdir()) == []


def test_a_killed_graph_finishes_after_its_restart_with_the_same_bytes(
    served: Served, tmp_path: Path, free_ports: int
) -> None:
    """Everything dies in the middle of the sampler: what ran before is not run again, and the film is the same."""
    order = film_with_many_checkpoints()
    flags = ("--port", str(free_ports), "--metrics-port", "0")
    running, killed = start(tmp_path, *flags), False
    try:
        with Kino(running.graph, patience_seconds=START_SECONDS) as kino:
            id = kino.generations.create(order).id
            for generation in kino.generations.watch(id):  # goes on where it broke
                stages = {stage.name: stage for stage in generation.stages}
                if not killed and stages["generate"].step > 100:
                    running.end(signal.SIGKILL)
                    running, killed = start(tmp_path, *flags), True
            assert generation.state == graph_pb2.GENERATION_STATE_SUCCEEDED
            assert 0 < steps_of_the_generator(running) < 800
            calls = re.findall(r'"grpc_method": "(Rewrite|Encode|Generate|Decode)"', (tmp_path / "log").read_text())
            assert calls == ["Generate", "Decode"]
            resumed = kino.artifacts.of(generation, "film")
    finally:
        assert running.end() == 0
    assert killed
    with Kino(served.graph) as kino:
        assert kino.artifacts.of(kino.generations.run(order), "film") == resumed
