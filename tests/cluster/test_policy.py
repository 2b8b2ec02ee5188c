"""What the cluster refuses: accounts that may not, pods that are not restricted, GPUs that no node offers."""

import json
from collections.abc import Iterator

import pytest
import yaml

from tests.cluster import release
from tests.cluster.place import NODE, TAG
from tests.cluster.tools import get, kubectl, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
SERVICES = f"system:serviceaccount:{release.NAMESPACE}:{release.NAME}"
SUBMITTER = f"{SERVICES}-jobs"
GPU = "nvidia.com/gpu"


def job(name: str) -> str:
    container = {"name": "pytorch", "image": f"kino-train:{TAG}"}
    master = {"replicas": 1, "template": {"spec": {"containers": [container]}}}
    manifest: str = yaml.safe_dump(
        {
            "apiVersion": "kubeflow.org/v1",
            "kind": "PyTorchJob",
            "metadata": {"name": name, "namespace": release.NAMESPACE},
            "spec": {"runPolicy": {"suspend": True}, "pytorchReplicaSpecs": {"Master": master}},
        }
    )
    return manifest


def test_only_the_submitter_creates_training_jobs(installed: None) -> None:
    with pytest.raises(RuntimeError, match=rf'User "{SERVICES}" cannot create resource "pytorchjobs"'):
        kubectl("create", f"--as={SERVICES}", "-f", "-", stdin=job("refused"))
    kubectl("create", f"--as={SUBMITTER}", "-f", "-", stdin=job("allowed"))
    kubectl("delete", f"--as={SUBMITTER}", "pytorchjob", "allowed", f"--namespace={release.NAMESPACE}")


@pytest.mark.parametrize("account", [SERVICES, SUBMITTER])
@pytest.mark.parametrize(
    ("verb", "resource"),
    [
        ("get", "secrets"),
        ("list", "secrets"),
        ("create", "pods"),
        ("create", "pods/exec"),
        ("delete", "pods"),
        ("patch", "deployments.apps"),
        ("create", "rolebindings.rbac.authorization.k8s.io"),
        ("update", "pytorchjobs.kubeflow.org"),
    ],
)
def test_no_account_may_more_than_it_needs(installed: None, account: str, verb: str, resource: str) -> None:
    with pytest.raises(RuntimeError, match=r": no$"):  # it exits with 1
        kubectl("auth", "can-i", verb, resource, f"--as={account}", f"--namespace={release.NAMESPACE}")


def test_the_namespace_refuses_pods_that_are_not_restricted(installed: None) -> None:
    with pytest.raises(
        RuntimeError, match='violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false'
    ):
        kubectl("run", "root", f"--image=kino-graph:{TAG}", f"--namespace={release.NAMESPACE}")


def offer_gpus(count: int) -> None:
    """Let the node offer GPUs, as a device plugin would."""
    status = {"status": {"capacity": {GPU: str(count)}, "allocatable": {GPU: str(count)}}}
    kubectl("patch", "node", NODE, "--subresource=status", "--type=merge", f"--patch={json.dumps(status)}")


@pytest.fixture
def gpus() -> Iterator[None]:
    """A node without GPUs, before and after."""
    offer_gpus(0)
    yield
    offer_gpus(0)


def test_a_pod_that_asks_for_gpus_waits_for_a_node_that_offers_them(installed: None, gpus: None) -> None:
    name = f"{release.NAME}-upsampler"
    asking = {"services": {"upsampler": {"gpu": {"mode": "devicePlugin"}}}}
    try:
        release.install({**release.TRIAL, **asking}, wait=False)
        until(lambda: "Insufficient nvidia.com/gpu" in waiting(), 60, "the scheduler's refusal")
        offer_gpus(1)
        kubectl("rollout", "status", f"deployment/{name}", f"--namespace={release.NAMESPACE}", "--timeout=300s")
    finally:
        release.install(release.TRIAL)


def waiting() -> str:
    """Why pods of the upsampler are not scheduled."""
    selector = "--selector=app.kubernetes.io/component=upsampler"
    found = get("pods", f"--namespace={release.NAMESPACE}", selector, "--field-selector=status.phase=Pending")
    return " ".join(row.get("message", "") for pod in found["items"] for row in pod["status"].get("conditions", []))
