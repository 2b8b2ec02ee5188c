"""A plan of five jobs by the real training operator: one of them fails, and resuming goes on there."""

import pytest

from kino.registry import Registry
from kino.store import open_store
from tests.cluster import release
from tests.cluster.place import KUBECONFIG, TAG
from tests.cluster.tools import get
from training import jobs

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
NAMED = ("--namespace", release.NAMESPACE, "--kubeconfig", str(KUBECONFIG), "--poll-seconds", "2")
SIZE = ("--image", f"kino-train:{TAG}", "--secret", release.SECRET, "--cpus", "100m", "--memory", "3Gi")


def created() -> dict[str, str]:
    """The moment at which each job was created."""
    found = get("pytorchjobs", f"--namespace={release.NAMESPACE}")["items"]
    return {
        row["metadata"]["name"]: row["metadata"]["creationTimestamp"]
        for row in found
        if row["metadata"]["name"].startswith("first-")
    }


def test_a_plan_stops_at_a_failure_with_its_reason_and_goes_on_from_there(
    installed: None, capsys: pytest.CaptureFixture[str]
) -> None:
    store, models = release.store("pipeline"), release.store("pipeline-models")
    records = open_store(store).records
    records.write("runs/dit_nano_joint/checkpoint", b"kino://sha256/" + b"0" * 64)  # one that is not there
    plan = ("--name", "first", "--plan", "nano", "--version", "v1", "--store", store, "--models", models)
    submit = ["pipeline", "submit", *NAMED, *SIZE, *plan, "--max-restarts", "0"]
    assert jobs.main(submit) == jobs.FAILED
    out = capsys.readouterr().out
    assert "dit_nano_images: done" in out
    assert "dit_nano_joint: failed" in out
    assert "is not in the store" in out
    before = created()
    assert set(before) == {f"first-{name}" for name in ("tae-nano", "dit-latents", "dit-nano-images", "dit-nano-joint")}

    records.delete("runs/dit_nano_joint/checkpoint")
    assert jobs.main(["pipeline", "resume", *NAMED, "first", "--store", store]) == jobs.OK
    assert capsys.readouterr().out.splitlines()[-1] == "dit_nano_tuned: done"
    after = created()
    assert after.keys() - before.keys() == {"first-dit-nano-tuned"}
    assert [name for name in before if before[name] != after[name]] == ["first-dit-nano-joint"]
    registry = Registry(models)
    tae, dit = registry.resolve("tae", "candidate"), registry.resolve("dit", "candidate")
    assert (tae.version, dit.version, dit.spaces.latent) == ("v1", "v1", tae.digest)
    assert (dit.recipe, dit.parent.recipe, dit.parent.component) == ("dit_nano_tuned", "dit_nano_joint", "dit")
    assert len(dit.data) == len(dit.parent.digest) == 64
