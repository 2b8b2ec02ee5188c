import re
from pathlib import Path

import pytest
import yaml

from tests.training.cluster import Api
from training import jobs

FLAGS = ["--recipe", "tae_nano", "--image", "kino:1", "--store", "s3://runs"]


JOBS = "/apis/kubeflow.org/v1/namespaces/lab/pytorchjobs"


def test_a_job_is_submitted_listed_shown_and_cancelled(
    api: Api, cluster: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert jobs.main(["submit", *cluster, *FLAGS, "--nodes", "2"]) == jobs.OK
    assert capsys.readouterr().out.splitlines()[-1] == "lab/tae-nano"
    created = api.objects[f"{JOBS}/tae-nano"]
    assert created["spec"]["pytorchReplicaSpecs"]["Worker"]["replicas"] == 1
    created["status"] = {
        "conditions": [
            {"type": "Created", "status": "True", "message": "created"},
            {"type": "Running", "status": "False", "message": "ran"},
            {"type": "Succeeded", "status": "True", "message": "done"},
        ],
        "replicaStatuses": {},
    }
    api.objects[f"{JOBS}/other"] = {**created, "metadata": {"name": "other", "labels": {}}}
    assert jobs.main(["list", *cluster]) == jobs.OK
    assert capsys.readouterr().out == "tae-nano  tae_nano  Succeeded\n"
    api.objects["/api/v1/namespaces/lab/pods/tae-nano-master-0"] = {
        "metadata": {"name": "tae-nano-master-0"},
        "status": {"phase": "Succeeded"},
    }
    api.objects["/api/v1/namespaces/lab/pods/tae-nano-master-0/log"] = "step 20/20"
    assert jobs.main(["status", *cluster, "tae-nano"]) == jobs.OK
    lines = capsys.readouterr().out.splitlines()
    assert (lines[0], lines[-1]) == ("lab/tae-nano: Succeeded", "  tae-nano-master-0: Succeeded")
    assert [re.findall(r"(\w+)=", line) for line in lines[1:-1]] == [["Created"], ["Running"], ["Succeeded"]]
    assert jobs.main(["logs", *cluster, "tae-nano"]) == jobs.OK
    assert "step 20/20" in capsys.readouterr().out
    assert jobs.main(["cancel", *cluster, "tae-nano"]) == jobs.OK
    assert f"{JOBS}/tae-nano" not in api.objects


def test_what_the_cluster_refuses_is_told(api: Api, cluster: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    api.refusal = (403, 'pytorchjobs.kubeflow.org is forbidden: User "lab" cannot create resource')
    assert jobs.main(["submit", *cluster, *FLAGS]) == jobs.REFUSED
    assert 'User "lab" cannot create resource' in capsys.readouterr().err
    assert jobs.main(["status", *cluster, "none"]) == jobs.REFUSED
    assert "none not found" in capsys.readouterr().err


def test_a_cluster_that_is_not_there_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert jobs.main(["list", "--kubeconfig", str(tmp_path / "none")]) == jobs.REFUSED
    assert "no cluster: " in capsys.readouterr().err


def test_a_manifest_is_rendered_without_a_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--nodes", "2", "--gpus-per-node", "8", "--node-selector", "pool=h100", "--tolerations", "spot"]
    assert jobs.main(["render", *FLAGS, *flags]) == jobs.OK
    found = yaml.safe_load(capsys.readouterr().out)
    assert (found["kind"], found["metadata"]["name"]) == ("PyTorchJob", "tae-nano")
    template = found["spec"]["pytorchReplicaSpecs"]["Worker"]["template"]["spec"]
    assert template["nodeSelector"] == {"pool": "h100"}
    assert [row["key"] for row in template["tolerations"]] == ["nvidia.com/gpu", "spot"]
    assert jobs.main(["render", "--trainer-v2", *FLAGS]) == jobs.OK
    out = capsys.readouterr().out
    assert out.startswith("# experimental")
    assert yaml.safe_load(out)["kind"] == "TrainJob"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--node-selector", "pool"], "--node-selector is 'pool', must be of the form LABEL=VALUE"),
        (["--nodes", "0"], "nodes is 0, must be from 1 to 1000"),
        (["--store", "runs"], "store is 'runs', must be s3://bucket"),
    ],
)
def test_a_wrong_flag_is_told(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert jobs.main(["render", *FLAGS, *flags]) == jobs.BAD_INPUT
    assert message in capsys.readouterr().err
