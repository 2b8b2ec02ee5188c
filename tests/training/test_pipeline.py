import dataclasses
from pathlib import Path
from typing import Any

import pytest

from kino.manifest import Manifest
from kino.registry import Registry
from kino.store import NotFoundError, open_store
from tests.training.cluster import Api
from training import jobs
from training.job import Job
from training.pipeline import Pipeline, load, save
from training.plan import plan
from training.recipes import RECIPES, stages
from training.run_store import RunStore

PIPELINE = Pipeline("first", "nano", "v1", Job("", "first", "kino:1", "s3://runs", models="s3://models"))
LAST_WORDS = "warning\nerror: gradient norm is nan at step 3\n" + "torchrun tells of its child\n" * 90
ORDER = ["tae-nano", "dit-latents", "dit-nano-images", "dit-nano-joint", "dit-nano-tuned"]


class Operator:
    """Ends every job at once with its output in the store, but for the jobs in `failing`."""

    def __init__(self, api: Api, folder: Path) -> None:
        self.api, self.store, self.registry = api, str(folder / "store"), Registry(folder / "models")
        self.created: list[str] = []
        self.failing: set[str] = set()
        self.here = ["--store-here", self.store, "--models-here", str(folder / "models"), "--poll-seconds", "0.01"]
        self.weights = folder / "weights"
        self.weights.write_text("weights")
        api.created = self.run

    def run(self, body: Any) -> None:
        name = body["metadata"]["name"]
        self.created.append(name.removeprefix("first-"))
        if name in self.failing:
            body["status"] = ended("Failed", "PyTorchJob first has failed because 1 Master replica(s) failed.")
            self.api.objects[f"/api/v1/namespaces/lab/pods/{name}-master-0"] = {
                "metadata": {"name": f"{name}-master-0"},
                "status": {"containerStatuses": [dead(LAST_WORDS)]},
            }
            return
        self.leave(next(stage.name for stage in plan("nano") if name == f"first-{stage.name}".replace("_", "-")))
        body["status"] = ended("Succeeded", "done")

    def leave(self, name: str) -> None:
        """What the stage's real job would leave."""
        stage = next(stage for stage in plan("nano") if stage.name == name)
        recipe = RECIPES[stage.recipe]
        if stage.kind == "encode":
            for row in stages(recipe):
                RunStore(self.store, row.name).save_latents([self.weights])
            return
        RunStore(self.store, recipe.name).finish(recipe.steps)
        if stage.published:
            manifest = Manifest(recipe.component, "v1", "nano", {}, recipe=recipe.name)
            self.registry.publish(manifest, {"model.safetensors": self.weights})


def ended(kind: str, message: str) -> Any:
    return {"conditions": [{"type": kind, "status": "True", "message": message}], "replicaStatuses": {}}


def dead(message: str) -> Any:
    terminated = {"exitCode": 1, "message": message}
    common = {"image": "kino:1", "imageID": "", "name": "pytorch", "ready": False, "restartCount": 3}
    return {**common, "state": {"terminated": terminated}}


@pytest.fixture
def operator(api: Api, tmp_path: Path) -> Operator:
    return Operator(api, tmp_path)


@pytest.fixture
def submit(cluster: list[str], operator: Operator) -> list[str]:
    flags = ["--name", "first", "--plan", "nano", "--version", "v1", "--image", "kino:1"]
    return ["pipeline", "submit", *cluster, *operator.here, *flags, "--store", "s3://runs", "--models", "s3://models"]


def test_stages_run_one_after_another_and_each_stands_on_what_was_published(
    api: Api, operator: Operator, submit: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert jobs.main(submit) == jobs.OK
    assert operator.created == ORDER
    lines = [line for line in capsys.readouterr().out.splitlines() if ": " in line]
    assert lines[-1] == "dit_nano_tuned: done"
    found = {path.rpartition("/")[2]: body for path, body in api.objects.items()}
    container = found["first-dit-nano-tuned"]["spec"]["pytorchReplicaSpecs"]["Master"]["template"]["spec"][
        "containers"
    ][0]
    assert {"name": "KINO_PARTS", "value": "v1"} in container["env"]
    assert "--version v1 --alias candidate" in container["command"][2]
    assert jobs.main(submit) == jobs.OK  # again: all of it is there
    assert operator.created == ORDER


def test_a_failed_stage_stops_the_pipeline_with_its_reason_and_resuming_goes_on_there(
    cluster: list[str], operator: Operator, submit: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    operator.failing = {"first-dit-nano-joint"}
    assert jobs.main(submit) == jobs.FAILED
    assert operator.created == ORDER[:4]
    out = capsys.readouterr().out
    assert "dit_nano_joint: failed\n  Failed: PyTorchJob first has failed because 1 Master" in out
    assert "first-dit-nano-joint-master-0 ended with 1: error: gradient norm is nan at step 3\n" in out
    assert "torchrun" not in out
    named = [*cluster, *operator.here[:4], "first", "--store", "s3://runs"]
    assert jobs.main(["pipeline", "status", *named]) == jobs.OK
    words = [line.split(": ") for line in capsys.readouterr().out.splitlines() if not line.startswith(" ")]
    assert [word for _, word in words] == ["done", "done", "done", "failed", "waiting"]
    operator.failing = set()
    assert jobs.main(["pipeline", "resume", *named, "--poll-seconds", "0.01"]) == jobs.OK
    assert operator.created == [*ORDER[:4], *ORDER[3:]]


def test_an_api_server_that_is_away_for_a_while_ends_nothing(
    api: Api, operator: Operator, submit: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    ended_well, begun = operator.run, []

    def run(body: Any) -> None:
        ended_well(body)
        begun.append(body)
        api.lost = 3 if len(begun) == 2 else 0

    api.created = run
    assert jobs.main(submit) == jobs.OK
    assert operator.created == ORDER


def test_what_others_have_left_in_the_store_is_not_made_again(operator: Operator, submit: list[str]) -> None:
    for name in ("tae_nano", "dit_nano_images"):
        operator.leave(name)
    assert jobs.main(submit) == jobs.OK
    assert operator.created == ["dit-latents", "dit-nano-joint", "dit-nano-tuned"]


def test_a_job_that_leaves_nothing_has_failed(
    operator: Operator, submit: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(operator, "leave", lambda name: None)
    assert jobs.main(submit) == jobs.FAILED
    assert "tae_nano: failed\n  Succeeded: done" in capsys.readouterr().out


def test_a_name_is_of_one_pipeline(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    save(PIPELINE, store)
    save(PIPELINE, store)
    assert load("first", store) == PIPELINE
    with pytest.raises(ValueError, match="the pipeline 'first' is there with other settings: resume it, or take"):
        save(dataclasses.replace(PIPELINE, version="v2"), store)
    with pytest.raises(NotFoundError, match="the store has no pipeline 'second'"):
        load("second", store)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--parallel", "0"], "--parallel is 0 and --poll-seconds 0.01, must be at least 1 and greater than 0"),
        (["--models", ""], "models is '', must be s3://bucket: a pipeline publishes"),
        (["--name", "a" * 50], "must be 1 to 52 of a-z 0-9 -"),
    ],
)
def test_a_wrong_pipeline_is_told_before_anything_runs(
    operator: Operator, submit: list[str], flags: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert jobs.main([*submit, *flags]) == jobs.BAD_INPUT
    assert message in capsys.readouterr().err
    assert operator.created == []
