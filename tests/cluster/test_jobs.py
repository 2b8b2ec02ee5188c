"""Training jobs by the real training operator: two pods train, one of them is killed, and the weights are the same."""

import json

import pytest

from kino.registry import Registry
from kino.store import open_store
from tests.cluster import release
from tests.cluster.place import KUBECONFIG
from tests.cluster.tools import get, kubectl, until
from training import jobs

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
RECIPE = "tae_nano"
MODELS = release.STORE.replace("/artifacts", "/models")
PLACE = ("--namespace", release.NAMESPACE, "--kubeconfig", str(KUBECONFIG))


def store_of(name: str) -> str:
    return release.STORE.replace("/artifacts", f"/{name}")


def submit(name: str, *flags: str) -> None:
    """Submit a job of two pods that publishes the version of its own name."""
    image, secret = ("--image", "kino-train:0.2.0"), ("--secret", release.SECRET)
    size = ("--nodes", "2", "--cpus", "100m", "--memory", "3Gi")
    told = ("--store", store_of(name), "--models", MODELS, "--publish", name)
    code = jobs.main(["submit", "--recipe", RECIPE, "--name", name, *image, *secret, *size, *told, *PLACE, *flags])
    assert code == jobs.OK


def state(name: str) -> str:
    conditions = get("pytorchjob", name, f"--namespace={release.NAMESPACE}").get("status", {}).get("conditions", [])
    return next((row["type"] for row in reversed(conditions) if row["status"] == "True"), "")


def until_ended(name: str) -> None:
    until(lambda: state(name) in ("Succeeded", "Failed"), 900, f"the job {name}")
    pods = get("pods", f"--namespace={release.NAMESPACE}", f"--selector=training.kubeflow.org/job-name={name}")
    said = {row["metadata"]["name"]: row["status"].get("containerStatuses") for row in pods["items"]}
    assert state(name) == "Succeeded", json.dumps(said, indent=1)


def weights(version: str) -> dict[str, str]:
    """Digests of the network that a job has published, by its files."""
    digests = Registry(MODELS).resolve("tae", version).digests
    return {name: digest for name, digest in digests.items() if name != "card.md"}  # it names the version


def test_two_pods_train_publish_and_end_as_if_none_had_been_killed(
    installed: None, capsys: pytest.CaptureFixture[str]
) -> None:
    submit("undisturbed")
    until_ended("undisturbed")
    submit("disturbed")
    kill_worker_after_a_checkpoint("disturbed")
    until_ended("disturbed")
    assert weights("undisturbed") == weights("disturbed")
    assert Registry(MODELS).resolve("tae", "candidate").version == "disturbed"
    records = open_store(store_of("disturbed")).records
    assert {"runs/tae_nano/checkpoint", "runs/tae_nano/curves", "runs/tae_nano/metrics"} <= set(records.list("runs/"))
    capsys.readouterr()
    assert jobs.main(["list", *PLACE]) == jobs.OK
    assert capsys.readouterr().out.splitlines() == [
        f"undisturbed  {RECIPE}  Succeeded",
        f"disturbed  {RECIPE}  Succeeded",
    ]


def kill_worker_after_a_checkpoint(name: str) -> None:
    """Kill the second pod's program in the middle of the run."""
    records = open_store(store_of(name)).records
    until(lambda: records.read(f"runs/{RECIPE}/checkpoint") is not None, 600, "the first checkpoint")
    kubectl("delete", "pod", f"{name}-worker-0", f"--namespace={release.NAMESPACE}", "--force", "--grace-period=0")
    assert state(name) != "Succeeded"
