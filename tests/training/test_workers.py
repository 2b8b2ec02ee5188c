"""Two workers of torchrun, on the CPU: one dies, and the weights are what they would have been."""

import os
import re
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from kino.store import open_store
from training import checkpoint, workers
from training.run_store import RunStore
from training.train import step_generator
from training.workers import Workers

ROOT = Path(__file__).parents[2]
PROGRAM = """
import os, sys, time
from dataclasses import replace
from pathlib import Path
from training import train
from training.recipes import RECIPES

runs, store, pause = Path(sys.argv[1]), sys.argv[2], float(sys.argv[3])
recipe = replace(RECIPES["tae_nano"], steps=6, log_every=1, validate_every=6, checkpoint_every=2)
advance = train.Run.advance

def told(run):
    figures = advance(run)
    print(f"rank {run.workers.rank} pid {os.getpid()} did {run.step}", flush=True)
    time.sleep(pause)
    return figures

train.Run.advance = told
train.train(recipe, runs, resume=True, store=store)
"""


def torchrun(folder: Path, pause: float = 0.0) -> "subprocess.Popen[str]":
    """Two workers of a short run whose checkpoints go to a store beside its folder."""
    program = folder / "program.py"
    folder.mkdir(parents=True)
    program.write_text(PROGRAM)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--max-restarts", "8", "--monitor-interval", "0.2"]
    arguments = [program, folder / "runs", folder / "store", pause]
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finished(process: "subprocess.Popen[str]") -> str:
    try:
        output, _ = process.communicate(timeout=400)
    except subprocess.TimeoutExpired:
        process.terminate()  # torchrun takes its workers with it
        raise
    assert process.returncode == 0, output
    return output


def test_a_worker_whose_others_do_not_come_ends(monkeypatch: pytest.MonkeyPatch, free_port: int) -> None:
    monkeypatch.setattr(workers, "_MEETING", timedelta(seconds=1))
    told = {"WORLD_SIZE": 2, "RANK": 0, "LOCAL_RANK": 0, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port}
    for name, value in told.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(RuntimeError, match="1/2 clients joined"):
        workers.join()
    assert not dist.is_initialized()


@pytest.mark.timeout(900)  # each of three starts of two workers loads torch
def test_a_worker_dies_and_the_run_ends_with_the_weights_of_an_undisturbed_one(tmp_path: Path) -> None:
    undisturbed = finished(torchrun(tmp_path / "whole"))
    assert len(re.findall(r"rank \d pid", undisturbed)) == 12
    process = torchrun(tmp_path / "killed", pause=0.2)
    assert process.stdout is not None
    for line in process.stdout:
        if found := re.search(r"rank 1 pid (\d+) did 3", line):
            os.kill(int(found[1]), signal.SIGKILL)
            break
    resumed = finished(process)
    assert "did 3" in resumed  # again, from the checkpoint after step 2
    assert "did 1\n" not in resumed
    whole, killed = (checkpoint.load(tmp_path / name / "runs" / "tae_nano") for name in ("whole", "killed"))
    assert killed["step"] == whole["step"] == 6
    for part in ("model", "average"):
        for name, value in whole[part].items():
            assert torch.equal(value, killed[part][name]), name
    # the store holds one checkpoint and its figures; a machine that has nothing goes on with them
    kept = RunStore(str(tmp_path / "killed" / "store"), "tae_nano")
    kept.fetch(kept.latest(), tmp_path / "elsewhere", figures=True)
    files = [checkpoint.FILE_NAME, checkpoint.METRICS_FILE]
    for name in files:
        assert (tmp_path / "elsewhere" / name).read_bytes() == (
            tmp_path / "killed" / "runs" / "tae_nano" / name
        ).read_bytes()
    types = sorted(artifact.media_type for artifact in kept.store.list())
    assert types == ["application/x-ndjson", "application/x-pytorch", "image/png"]


def test_workers_draw_different_numbers_and_one_alone_what_it_always_drew() -> None:
    alone = torch.rand(4, generator=step_generator(3, 5))
    assert torch.equal(alone, torch.rand(4, generator=torch.Generator().manual_seed(3 * 1_000_003 + 5)))
    drawn = {
        tuple(torch.rand(4, generator=step_generator(3, step, Workers(rank, 2))).tolist())
        for step in (5, 6)
        for rank in (0, 1)
    }
    assert len(drawn) == 4


def test_a_run_without_a_checkpoint_in_the_store_begins_anew(tmp_path: Path) -> None:
    kept = RunStore(str(tmp_path / "store"), "tae_nano")
    assert kept.latest() == ""
    (tmp_path / "run").mkdir()
    for step in (1, 2):
        checkpoint.save(tmp_path / "run", {"step": step})
        kept.save(tmp_path / "run")
    assert len(list(open_store(str(tmp_path / "store")).list())) == 1
    kept.fetch(kept.latest(), tmp_path / "again", figures=True)
    assert checkpoint.load(tmp_path / "again") == {"step": 2}
