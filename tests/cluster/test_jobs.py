"""Training jobs by the real training operator: a killed pod and a store that hangs change nothing of the weights."""

import json
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from kino import cli
from kino.client import Kino
from kino.manifest import Manifest
from kino.models.tae import TAE
from kino.presets import PRESETS
from kino.registry import WEIGHTS_FILE, Registry
from kino.store import open_store
from kino.weights import save_state, seeded_init
from tests.cluster import release
from tests.cluster.place import KUBECONFIG, TAG
from tests.cluster.tools import get, kubectl, until
from training import jobs

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]
RECIPE = "tae_nano"
AWAY_SECONDS = 20
PLACE = ("--namespace", release.NAMESPACE, "--kubeconfig", str(KUBECONFIG))


def submit(name: str, *flags: str) -> None:
    """Submit a job of two pods that publishes the version of its own name."""
    image, secret = ("--image", f"kino-train:{TAG}"), ("--secret", release.SECRET)
    size = ("--nodes", "2", "--cpus", "100m", "--memory", "3Gi")
    told = ("--store", release.store(name), "--models", release.store("models"), "--publish", name)
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
    digests = Registry(release.store("models")).resolve("tae", version).digests
    return {name: digest for name, digest in digests.items() if name != "card.md"}  # it names the version


def test_two_pods_train_publish_and_end_as_if_none_had_been_killed(
    installed: None, capsys: pytest.CaptureFixture[str]
) -> None:
    submit("undisturbed")
    until_ended("undisturbed")
    submit("disturbed")
    wait_for_a_checkpoint("disturbed")
    kubectl("delete", "pod", "disturbed-worker-0", f"--namespace={release.NAMESPACE}", "--force", "--grace-period=0")
    with release.hanging_store():
        time.sleep(AWAY_SECONDS)
    assert state("disturbed") != "Succeeded"
    until_ended("disturbed")
    assert weights("undisturbed") == weights("disturbed")
    assert Registry(release.store("models")).resolve("tae", "candidate").version == "disturbed"
    records = open_store(release.store("disturbed")).records
    assert {"runs/tae_nano/checkpoint", "runs/tae_nano/curves", "runs/tae_nano/metrics"} <= set(records.list("runs/"))
    capsys.readouterr()
    assert jobs.main(["list", *PLACE]) == jobs.OK
    assert capsys.readouterr().out.splitlines() == [
        f"undisturbed  {RECIPE}  Succeeded",
        f"disturbed  {RECIPE}  Succeeded",
    ]


def wait_for_a_checkpoint(name: str) -> None:
    """Return in the middle of a run."""
    records = open_store(release.store(name)).records
    until(lambda: records.read(f"runs/{RECIPE}/checkpoint") is not None, 600, "the first checkpoint")


@pytest.fixture
def follows_production(installed: None) -> Iterator[None]:
    """A TAE that serves what `production` stands for in the bucket, and looks every second."""
    tell = ["--models", release.store("models"), "--version", "production", "--reload-seconds", "1"]
    release.install({**release.TRIAL, "services": {"tae": {"args": tell}}})
    yield
    release.install(release.TRIAL)


@pytest.fixture
def trained(installed: None, tmp_path: Path) -> str:
    """A version that a job has published, when production is another one, of random weights."""
    registry = Registry(release.store("models"))
    if "undisturbed" not in registry.versions("tae"):
        submit("undisturbed")
        until_ended("undisturbed")
    tae = TAE(PRESETS["nano"].tae)
    seeded_init(tae, seed=5)
    save_state(tmp_path / WEIGHTS_FILE, tae.state_dict())
    registry.publish(Manifest("tae", "untrained", "nano", asdict(tae.config)), {WEIGHTS_FILE: tmp_path / WEIGHTS_FILE})
    registry.set_alias("tae", "production", "untrained", registry.aliases("tae").get("production"))
    return "undisturbed"


def test_a_promoted_version_is_served_without_a_restart_or_a_failed_call(
    trained: str, follows_production: None, capsys: pytest.CaptureFixture[str]
) -> None:
    ((name, address),) = release.pods("tae").items()
    registry = Registry(release.store("models"))
    digests = [registry.resolve("tae", version).digest for version in ("untrained", trained)]
    clip = np.random.default_rng(7).integers(0, 256, (8, 32, 32, 3), np.uint8)
    answers: list[str] = []

    def ask() -> str:
        with Kino(services={"tae": f"{address}:7000"}) as kino:
            return kino.tae.encode(clip).space

    answers.append(ask())
    assert cli.main(["models", "promote", "tae", trained, "--models", release.store("models")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"tae: production is {trained}, was untrained"
    until(lambda: answers.append(ask()) or answers[-1] != answers[0], 120, "the promoted version")  # type: ignore[func-returns-value]
    assert list(dict.fromkeys(answers)) == digests
    (again,) = release.pods("tae")
    found = get("pod", again, f"--namespace={release.NAMESPACE}")["status"]["containerStatuses"][0]
    assert (again, found["restartCount"]) == (name, 0)
