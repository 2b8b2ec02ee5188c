import json
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from kubeflow.training import models as kubeflow
from kubeflow.training.api_client import ApiClient

from training.job import Job, command, pytorch_job, rendered, train_job

JOB = Job("tae_mini", "tae-mini", "kino:1", "s3://runs/tae?endpoint=http://minio:9000", namespace="lab")


def spec(job: Job) -> dict[str, Any]:
    found: dict[str, Any] = rendered(pytorch_job(job))["spec"]
    return found


def pod(job: Job, kind: str = "Master") -> dict[str, Any]:
    found: dict[str, Any] = spec(job)["pytorchReplicaSpecs"][kind]["template"]["spec"]
    return found


def test_two_nodes_of_eight_gpus_are_a_master_and_a_worker() -> None:
    job = replace(JOB, nodes=2, gpus_per_node=8)
    found = rendered(pytorch_job(job))
    assert (found["apiVersion"], found["kind"]) == ("kubeflow.org/v1", "PyTorchJob")
    assert (found["metadata"]["name"], found["metadata"]["namespace"]) == ("tae-mini", "lab")
    assert found["metadata"]["labels"]["kino.training/recipe"] == "tae_mini"
    replicas = found["spec"]["pytorchReplicaSpecs"]
    assert {kind: (row["replicas"], row["restartPolicy"]) for kind, row in replicas.items()} == {
        "Master": (1, "OnFailure"),
        "Worker": (1, "OnFailure"),
    }
    assert found["spec"]["nprocPerNode"] == "8"
    container = pod(job)["containers"][0]
    assert container["name"] == "pytorch"
    assert container["resources"]["limits"] == {"memory": "16Gi", "nvidia.com/gpu": "8"}
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod(job)["tolerations"]
    assert {"name": "shm", "emptyDir": {"medium": "Memory"}} in pod(job)["volumes"]


def test_workers_of_several_nodes_meet_at_the_master() -> None:
    words = command(replace(JOB, nodes=3, workers_per_node=2))
    assert words[:13] == [
        *("torchrun", "--nnodes", "3", "--max-restarts", "3", "--rdzv-backend", "c10d"),
        *("--rdzv-endpoint", "tae-mini-master-0:29400", "--rdzv-id", "tae-mini", "--nproc-per-node", "2"),
    ]
    assert words[13:] == [
        *("-m", "training.train", "--recipe", "tae_mini", "--runs", "/var/lib/kino/runs"),
        *("--resume", "--store", "s3://runs/tae?endpoint=http://minio:9000"),
    ]
    assert command(JOB)[:4] == ["torchrun", "--standalone", "--max-restarts", "3"]


def test_an_elastic_job_has_workers_alone_and_bounds() -> None:
    found = spec(replace(JOB, nodes=4, min_nodes=2, max_restarts=9))
    assert found["elasticPolicy"] == {"rdzvBackend": "c10d", "minReplicas": 2, "maxReplicas": 4, "maxRestarts": 9}
    assert {kind: row["replicas"] for kind, row in found["pytorchReplicaSpecs"].items()} == {"Worker": 4}
    assert "--rdzv-endpoint" not in command(replace(JOB, nodes=4, min_nodes=2))


def test_a_queue_suspends_the_job_and_a_gang_counts_its_pods() -> None:
    job = replace(JOB, nodes=3, queue="gpus", gang=True, priority="low", deadline_seconds=60, keep_seconds=5)
    assert rendered(pytorch_job(job))["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert spec(job)["runPolicy"] == {
        "activeDeadlineSeconds": 60,
        "backoffLimit": 3,
        "cleanPodPolicy": "None",
        "schedulingPolicy": {"minAvailable": 3, "priorityClass": "low"},
        "suspend": True,
        "ttlSecondsAfterFinished": 5,
    }
    assert "schedulingPolicy" not in spec(JOB)["runPolicy"]
    assert spec(JOB)["runPolicy"]["suspend"] is False
    assert pod(job)["priorityClassName"] == "low"


def test_pods_go_to_their_pool_and_get_keys_by_reference() -> None:
    job = replace(JOB, node_selector={"pool": "h100"}, tolerations=("spot",), secret="s3-keys", service_account="lab")
    assert pod(job)["nodeSelector"] == {"pool": "h100"}
    assert [row["key"] for row in pod(job)["tolerations"]] == ["spot"]
    assert pod(job)["containers"][0]["envFrom"] == [{"secretRef": {"name": "s3-keys"}}]
    assert pod(job)["serviceAccountName"] == "lab"


def test_pods_keep_to_the_restricted_profile() -> None:
    found = pod(JOB)
    assert found["automountServiceAccountToken"] is False
    assert found["securityContext"] == {
        "fsGroup": 10001,
        "runAsNonRoot": True,
        "runAsUser": 10001,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert found["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    mounted = {row["mountPath"] for row in found["containers"][0]["volumeMounts"]}
    assert mounted == {"/var/lib/kino/runs", "/var/cache/kino", "/tmp"}


def test_the_first_pod_publishes_what_was_trained() -> None:
    job = replace(JOB, nodes=2, publish="v1", models="s3://models?endpoint=http://minio:9000")
    shell, flags, script = command(job)
    assert (shell, flags) == ("sh", "-ec")
    train, publish = script.splitlines()
    assert train.startswith("torchrun ")
    assert publish == (
        "python -m training.publish --recipe tae_mini --runs /var/lib/kino/runs --version v1 --alias candidate "
        "--models 's3://models?endpoint=http://minio:9000'"
    )
    assert command(job, first=False)[0] == "torchrun"


def test_a_stage_of_a_pipeline_stands_on_its_version_and_says_why_it_failed() -> None:
    job = replace(JOB, models="s3://models", parts="v1", pipeline="first", alias="trial", publish="v1")
    container = pod(job)["containers"][0]
    assert {"name": "KINO_MODELS", "value": "s3://models"} in container["env"]
    assert {"name": "KINO_PARTS", "value": "v1"} in container["env"]
    assert {"name": "HOME", "value": "/tmp"} in container["env"]
    assert {"name": "tmp", "mountPath": "/tmp"} in container["volumeMounts"]
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert rendered(pytorch_job(job))["metadata"]["labels"]["kino.training/pipeline"] == "first"
    assert "--alias trial" in command(job)[2]


def test_a_job_may_encode_what_others_learn_from() -> None:
    assert command(replace(JOB, encodes=True)) == [
        *("python", "-m", "training.encode", "--recipe", "tae_mini", "--runs", "/var/lib/kino/runs"),
        *("--store", "s3://runs/tae?endpoint=http://minio:9000"),
    ]


@pytest.mark.parametrize("changes", [{}, {"nodes": 4, "min_nodes": 2}, {"nodes": 2, "gpus_per_node": 8, "queue": "q"}])
def test_the_sdk_reads_back_what_it_was_given(changes: dict[str, Any]) -> None:
    written = rendered(pytorch_job(replace(JOB, **changes)))

    answer = SimpleNamespace(data=json.dumps(written))
    assert rendered(ApiClient().deserialize(answer, kubeflow.KubeflowOrgV1PyTorchJob)) == written


def test_a_train_job_says_the_same_in_the_words_of_the_trainer() -> None:
    found = train_job(replace(JOB, nodes=2, gpus_per_node=8, queue="gpus"))
    assert (found["apiVersion"], found["kind"]) == ("trainer.kubeflow.org/v1alpha1", "TrainJob")
    assert found["spec"]["suspend"] is True
    trainer = found["spec"]["trainer"]
    assert trainer["numNodes"] == 2
    assert trainer["resourcesPerNode"]["limits"] == {"memory": "16Gi", "nvidia.com/gpu": "8"}
    assert trainer["command"][:5] == ["torchrun", "-m", "training.train", "--recipe", "tae_mini"]
    with pytest.raises(ValueError, match="gang is True, must be left out: the runtime of a TrainJob says it"):
        train_job(replace(JOB, gang=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "Tae_mini"}, "name is 'Tae_mini', must be 1 to 52 of a-z 0-9 -"),
        ({"name": "a" * 53}, "must be 1 to 52"),
        ({"nodes": 0}, "nodes is 0, must be from 1 to 1000"),
        ({"gpus_per_node": 17}, "gpus_per_node is 17, must be from 0 to 16"),
        ({"workers_per_node": 0}, "workers_per_node is 0, must be from 1 to 64"),
        ({"nodes": 2, "min_nodes": 3}, "min_nodes is 3, must be from 1 to the nodes, 2"),
        ({"store": "runs"}, "store is 'runs', must be s3://bucket"),
        ({"nodes": 2, "encodes": True}, "nodes is 2, must be 1 for a job that encodes"),
        ({"publish": "v1"}, "models is '', must be s3://bucket to publish to"),
        ({"publish": "v1", "models": "s3://m", "min_nodes": 1}, "publish is given with min_nodes"),
    ],
)
def test_a_wrong_job_is_told(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        replace(JOB, **changes)
