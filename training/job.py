"""What a training job in a cluster is, and its manifests: a PyTorchJob, or a TrainJob of the trainer that follows it.

Nothing here talks to a cluster; `training.jobs` does.
"""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kubeflow.training import models as kubeflow
from kubernetes import client as core

CONTAINER = "pytorch"  # the training operator refuses a job whose container has another name
LABELS = {"app.kubernetes.io/name": "kino", "app.kubernetes.io/component": "training"}
RECIPE_LABEL = "kino.training/recipe"
PIPELINE_LABEL = "kino.training/pipeline"
QUEUE_LABEL = "kueue.x-k8s.io/queue-name"
GPU = "nvidia.com/gpu"
_NAME = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?")
_MAX_NAME = 52  # a pod's name adds "-worker-123", and is a host name of 63 characters
_RENDEZVOUS_PORT = 29400
_FOLDERS = {"runs": "/var/lib/kino/runs", "cache": "/var/cache/kino", "tmp": "/tmp"}
_USER = 10001


@dataclass(frozen=True)
class Job:
    """One training run in a cluster.

    Args:
        name: of the job, a DNS label of at most 52 characters.
        image: with kino's extras train and s3.
        store: URL of the store for checkpoints and curves.
        nodes: machines; each is a pod.
        gpus_per_node: GPUs, and as many workers; 0 computes on CPUs with `workers_per_node`.
        min_nodes: where given, the run goes on with as few machines as this; it starts with `nodes`.
        max_restarts: how often workers that died are started again.
        memory: of each pod, as Kubernetes writes it.
        encodes: make the latents of the recipe and of the stages before it, instead of training it.
        publish: version to publish when the run has ended, and to move the alias to; empty for none.
        models: registry to publish to, and to read earlier stages from.
        parts: version whose parts it stands on where the registry has them; empty for those of the preset's name.
        pipeline: that it is a stage of; empty for none.
        secret: name of a secret with AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY; empty for none.
        queue: of Kueue, which starts the job when there is room for the whole of it; empty for none.
        gang: whether the scheduler is to place all pods or none (Volcano, or a scheduler of the operator's choice).
        deadline_seconds: after which the job is ended, None for never.
        keep_seconds: how long its pods stay after its end, None for ever.
    """

    recipe: str
    name: str
    image: str
    store: str
    namespace: str = "default"
    nodes: int = 1
    gpus_per_node: int = 0
    workers_per_node: int = 1
    min_nodes: int | None = None
    max_restarts: int = 3
    cpus: str = "4"
    memory: str = "16Gi"
    encodes: bool = False
    publish: str = ""
    alias: str = "candidate"
    models: str = ""
    parts: str = ""
    pipeline: str = ""
    secret: str = ""
    service_account: str = "default"
    queue: str = ""
    suspend: bool = False
    gang: bool = False
    priority: str = ""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: Sequence[str] = ()
    deadline_seconds: int | None = None
    keep_seconds: int | None = 7 * 24 * 3600

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or len(self.name) > _MAX_NAME:
            raise ValueError(
                f"name is {self.name!r}, must be 1 to {_MAX_NAME} of a-z 0-9 - beginning with a letter, as host names"
            )
        for number, bounds in {"nodes": (1, 1000), "gpus_per_node": (0, 16), "workers_per_node": (1, 64)}.items():
            value = getattr(self, number)
            if not bounds[0] <= value <= bounds[1]:
                raise ValueError(f"{number} is {value}, must be from {bounds[0]} to {bounds[1]}")
        if self.min_nodes is not None and not 1 <= self.min_nodes <= self.nodes:
            raise ValueError(f"min_nodes is {self.min_nodes}, must be from 1 to the nodes, {self.nodes}")
        if not self.store.startswith("s3://"):
            raise ValueError(f"store is {self.store!r}, must be s3://bucket: pods share no folder and lose their own")
        if self.encodes and self.nodes > 1:
            raise ValueError(f"nodes is {self.nodes}, must be 1 for a job that encodes")
        if self.publish and not self.models.startswith("s3://"):
            raise ValueError(f"models is {self.models!r}, must be s3://bucket to publish to")
        if self.publish and self.min_nodes is not None:
            raise ValueError("publish is given with min_nodes, must be left out: no pod of an elastic job is the first")

    @property
    def workers(self) -> int:
        """Workers of each machine."""
        return self.gpus_per_node or self.workers_per_node


def command(job: Job, first: bool = True) -> list[str]:
    """Return what a pod runs: torchrun over its workers, and in the first pod the publisher after it."""
    where = ["--recipe", job.recipe, "--runs", _FOLDERS["runs"]]
    if job.encodes:
        return ["python", "-m", "training.encode", *where, "--store", job.store]
    if job.nodes == 1 and job.min_nodes is None:
        meeting = ["--standalone", "--max-restarts", str(job.max_restarts)]
    elif job.min_nodes is None:
        place = f"{job.name}-master-0:{_RENDEZVOUS_PORT}"
        meeting = ["--nnodes", str(job.nodes), "--max-restarts", str(job.max_restarts)]
        meeting += ["--rdzv-backend", "c10d", "--rdzv-endpoint", place, "--rdzv-id", job.name]
    else:
        meeting = []  # the operator tells torchrun in the environment
    train = ["torchrun", *meeting, "--nproc-per-node", str(job.workers), "-m", "training.train"]
    train += [*where, "--resume", "--store", job.store]
    if not (job.publish and first):
        return train
    publish = ["python", "-m", "training.publish", *where, "--version", job.publish]
    publish += ["--alias", job.alias, "--models", job.models]
    return ["sh", "-ec", f"{shlex.join(train)}\n{shlex.join(publish)}"]


def pytorch_job(job: Job) -> kubeflow.KubeflowOrgV1PyTorchJob:
    """Return the job for the training operator, version 1."""

    def replicas(count: int, first: bool) -> kubeflow.KubeflowOrgV1ReplicaSpec:
        return kubeflow.KubeflowOrgV1ReplicaSpec(
            replicas=count, restart_policy="OnFailure", template=_pod(job, command(job, first))
        )

    elastic = None
    if job.min_nodes is None:
        specs = {"Master": replicas(1, True)}
        if job.nodes > 1:
            specs["Worker"] = replicas(job.nodes - 1, False)
    else:
        specs = {"Worker": replicas(job.nodes, False)}
        elastic = kubeflow.KubeflowOrgV1ElasticPolicy(
            rdzv_backend="c10d", min_replicas=job.min_nodes, max_replicas=job.nodes, max_restarts=job.max_restarts
        )
    gang = kubeflow.KubeflowOrgV1SchedulingPolicy(
        min_available=job.min_nodes or job.nodes, priority_class=job.priority or None
    )
    policy = kubeflow.KubeflowOrgV1RunPolicy(
        clean_pod_policy="None",  # so that its logs stay until the job goes
        backoff_limit=job.max_restarts,
        active_deadline_seconds=job.deadline_seconds,
        ttl_seconds_after_finished=job.keep_seconds,
        scheduling_policy=gang if job.gang else None,
        suspend=bool(job.suspend or job.queue),
    )
    return kubeflow.KubeflowOrgV1PyTorchJob(
        api_version="kubeflow.org/v1",
        kind="PyTorchJob",
        metadata=core.V1ObjectMeta(name=job.name, namespace=job.namespace, labels=_labels(job)),
        spec=kubeflow.KubeflowOrgV1PyTorchJobSpec(
            nproc_per_node=str(job.workers), elastic_policy=elastic, run_policy=policy, pytorch_replica_specs=specs
        ),
    )


def train_job(job: Job) -> dict[str, Any]:
    """Return the job for Kubeflow Trainer 2, whose interface still changes: experimental, and never submitted here.

    Raises:
        ValueError: it asks for what is the runtime's to say there: elastic machines, a gang, node pools, a secret.
    """
    default = Job(job.recipe, job.name, job.image, job.store)
    for name in ("min_nodes", "gang", "node_selector", "tolerations", "secret", "service_account", "publish"):
        if getattr(job, name) != getattr(default, name):
            raise ValueError(f"{name} is {getattr(job, name)!r}, must be left out: the runtime of a TrainJob says it")
    resources = _resources(job)
    train = command(Job(job.recipe, job.name, job.image, job.store))  # the runtime sets how workers meet
    return {
        "apiVersion": "trainer.kubeflow.org/v1alpha1",
        "kind": "TrainJob",
        "metadata": {"name": job.name, "namespace": job.namespace, "labels": _labels(job)},
        "spec": {
            "runtimeRef": {
                "apiGroup": "trainer.kubeflow.org",
                "kind": "ClusterTrainingRuntime",
                "name": "torch-distributed",
            },
            "suspend": bool(job.suspend or job.queue),
            "trainer": {
                "image": job.image,
                "command": ["torchrun", *train[train.index("-m") :]],
                "numNodes": job.nodes,
                "resourcesPerNode": {"requests": resources.requests, "limits": resources.limits},
            },
        },
    }


def rendered(job: kubeflow.KubeflowOrgV1PyTorchJob | dict[str, Any]) -> dict[str, Any]:
    """Return a manifest as Kubernetes reads it."""
    plain: dict[str, Any] = core.ApiClient().sanitize_for_serialization(job)
    return plain


def _labels(job: Job) -> dict[str, str]:
    queue = {QUEUE_LABEL: job.queue} if job.queue else {}
    pipeline = {PIPELINE_LABEL: job.pipeline} if job.pipeline else {}
    return {**LABELS, RECIPE_LABEL: job.recipe, **pipeline, **queue}


def _pod(job: Job, command: Sequence[str]) -> core.V1PodTemplateSpec:
    """Return a pod that runs a command: as no root, on a file system that it can write only where it must."""
    volumes = {name: core.V1EmptyDirVolumeSource() for name in _FOLDERS}
    mounts = dict(_FOLDERS)
    if job.gpus_per_node:
        volumes["shm"] = core.V1EmptyDirVolumeSource(medium="Memory")
        mounts["shm"] = "/dev/shm"
    container = core.V1Container(
        name=CONTAINER,
        image=job.image,
        command=list(command),
        env=[
            core.V1EnvVar(name="KINO_CACHE", value=_FOLDERS["cache"]),
            core.V1EnvVar(name="HOME", value=_FOLDERS["tmp"]),  # where libraries keep what they set up
            *([core.V1EnvVar(name="KINO_MODELS", value=job.models)] if job.models else []),
            *([core.V1EnvVar(name="KINO_PARTS", value=job.parts)] if job.parts else []),
        ],
        env_from=[core.V1EnvFromSource(secret_ref=core.V1SecretEnvSource(name=job.secret))] if job.secret else None,
        resources=_resources(job),
        termination_message_policy="FallbackToLogsOnError",  # so that its status says why it failed
        volume_mounts=[core.V1VolumeMount(name=name, mount_path=path) for name, path in mounts.items()],
        security_context=core.V1SecurityContext(
            allow_privilege_escalation=False,
            read_only_root_filesystem=True,
            capabilities=core.V1Capabilities(drop=["ALL"]),
        ),
    )
    pools = [GPU, *job.tolerations] if job.gpus_per_node else list(job.tolerations)
    return core.V1PodTemplateSpec(
        metadata=core.V1ObjectMeta(labels=_labels(job), annotations={"sidecar.istio.io/inject": "false"}),
        spec=core.V1PodSpec(
            containers=[container],
            volumes=[core.V1Volume(name=name, empty_dir=source) for name, source in volumes.items()],
            node_selector=dict(job.node_selector) or None,
            tolerations=[core.V1Toleration(key=key, operator="Exists", effect="NoSchedule") for key in pools] or None,
            priority_class_name=job.priority or None,
            service_account_name=job.service_account,
            automount_service_account_token=False,
            security_context=core.V1PodSecurityContext(
                run_as_non_root=True,
                run_as_user=_USER,
                fs_group=_USER,
                seccomp_profile=core.V1SeccompProfile(type="RuntimeDefault"),
            ),
        ),
    )


def _resources(job: Job) -> core.V1ResourceRequirements:
    gpus = {GPU: str(job.gpus_per_node)} if job.gpus_per_node else {}
    return core.V1ResourceRequirements(
        requests={"cpu": job.cpus, "memory": job.memory, **gpus}, limits={"memory": job.memory, **gpus}
    )
