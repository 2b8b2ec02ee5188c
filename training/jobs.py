"""Training jobs in a cluster: python -m training.jobs submit|render|status|logs|cancel|list.

A job is a PyTorchJob of Kubeflow's training operator: `submit` creates one, and the others ask the cluster that
kubectl would ask. `render` prints the manifest and needs no cluster.

Exit codes: 0 done, 2 a setting is wrong, 3 the cluster cannot be reached or refuses, 4 the job has failed.
"""

import argparse
import json
import re
import sys
from collections.abc import Sequence
from typing import Any

import yaml
from kubeflow.training import TrainingClient
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from training.job import LABELS, RECIPE_LABEL, Job, pytorch_job, rendered, train_job
from training.recipes import RECIPES

OK, BAD_INPUT, REFUSED, FAILED = 0, 2, 3, 4
_ENDED = ("Succeeded", "Failed")
_WAIT_SECONDS = 30 * 24 * 3600


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    given = _parser().parse_args(arguments)
    try:
        code: int = given.command(given)
    except ValueError as error:
        return _tell(BAD_INPUT, str(error))
    except ConfigException as error:
        return _tell(REFUSED, f"no cluster: {error}")
    except HTTPError as error:
        return _tell(REFUSED, f"the cluster does not answer: {error}")
    except (RuntimeError, TimeoutError) as error:  # as the SDK words it; the API's answer is its cause
        cause = error.__context__
        return _tell(REFUSED, _reason(cause) if isinstance(cause, ApiException) else str(error))
    return code


def submit(given: argparse.Namespace) -> int:
    """Create a job, and with --wait follow it to its end."""
    job = _job(given)
    client = _client(given)
    client.create_job(job=pytorch_job(job), namespace=job.namespace)
    print(f"{job.namespace}/{job.name}")
    if not given.wait:
        return OK
    ended = client.wait_for_job_conditions(
        job.name, job.namespace, expected_conditions=set(_ENDED), wait_timeout=_WAIT_SECONDS
    )
    print(_state(ended))
    return OK if _state(ended) == "Succeeded" else FAILED


def render(given: argparse.Namespace) -> int:
    """Print the manifest of a job."""
    job = _job(given)
    manifest = train_job(job) if given.trainer_v2 else rendered(pytorch_job(job))
    if given.trainer_v2:
        print("# experimental: the interface of TrainJob still changes")
    print(yaml.safe_dump(manifest, sort_keys=False), end="")
    return OK


def status(given: argparse.Namespace) -> int:
    """Print the conditions of a job and its pods."""
    client = _client(given)
    job = client.get_job(given.name, given.namespace)
    print(f"{given.namespace}/{given.name}: {_state(job)}")
    for condition in (job.status.conditions if job.status else None) or []:
        print(
            f"  {condition.last_transition_time} {condition.type}={condition.status} {condition.message or ''}".rstrip()
        )
    for pod in client.get_job_pods(given.name, given.namespace):
        print(f"  {pod.metadata.name}: {pod.status.phase}")
    return OK


def logs(given: argparse.Namespace) -> int:
    """Print what the pods of a job have written, the first alone unless all are asked for."""
    found, _ = _client(given).get_job_logs(given.name, given.namespace, is_master=not given.all, follow=given.follow)
    for pod, text in found.items():
        print(f"== {pod}\n{text}" if given.all else text)
    return OK


def cancel(given: argparse.Namespace) -> int:
    """Delete a job and its pods; what it has stored stays."""
    _client(given).delete_job(given.name, given.namespace)
    return OK


def list_jobs(given: argparse.Namespace) -> int:
    """Print the jobs of this project, newest last."""
    ours = [
        job
        for job in _client(given).list_jobs(given.namespace)
        if LABELS.items() <= (job.metadata.labels or {}).items()
    ]
    for job in sorted(ours, key=lambda job: str(job.metadata.creation_timestamp)):
        print(f"{job.metadata.name}  {job.metadata.labels.get(RECIPE_LABEL, '')}  {_state(job)}")
    return OK


def _client(given: argparse.Namespace) -> TrainingClient:
    return TrainingClient(config_file=given.kubeconfig, context=given.context, namespace=given.namespace)


def _job(given: argparse.Namespace) -> Job:
    chosen = dict(_pair(text) for text in given.node_selector)
    fields = {name: getattr(given, name) for name in Job.__dataclass_fields__ if name in given}
    name = given.name or re.sub(r"[^a-z0-9-]", "-", given.recipe)
    return Job(**{**fields, "name": name, "node_selector": chosen, "tolerations": tuple(given.tolerations)})


def _pair(text: str) -> tuple[str, str]:
    name, separator, value = text.partition("=")
    if not (name and separator):
        raise ValueError(f"--node-selector is {text!r}, must be of the form LABEL=VALUE")
    return name, value


def _state(job: Any) -> str:
    """Return the last condition that holds, as the operator names it."""
    conditions = (job.status.conditions if job.status else None) or []
    holding = [condition.type for condition in conditions if condition.status == "True"]
    return holding[-1] if holding else "Pending"


def _reason(error: ApiException) -> str:
    """Return what the API server says, without headers."""
    try:
        return str(json.loads(error.body)["message"])
    except (ValueError, KeyError, TypeError):  # a proxy answered in its place
        return f"{error.status} {error.reason}"


def _tell(code: int, message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training.jobs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    cluster = argparse.ArgumentParser(add_help=False)
    cluster.add_argument("--namespace", default="default", help="of the job (%(default)s)")
    cluster.add_argument("--kubeconfig", metavar="PATH", help="as kubectl's ($KUBECONFIG, or the pod's own account)")
    cluster.add_argument("--context", help="as kubectl's")
    for name, run, text in (("submit", submit, "create a job"), ("render", render, "print its manifest")):
        command = commands.add_parser(name, parents=[cluster], help=text)
        command.set_defaults(command=run)
        _add_job(command)
        if run is submit:
            command.add_argument("--wait", action="store_true", help="until it has ended")
        else:
            command.add_argument("--trainer-v2", action="store_true", help="a TrainJob; experimental")
    for name, run, text in (
        ("status", status, "show its conditions and pods"),
        ("logs", logs, "show what it has written"),
        ("cancel", cancel, "delete it; what it has stored stays"),
    ):
        command = commands.add_parser(name, parents=[cluster], help=text)
        command.set_defaults(command=run)
        command.add_argument("name", metavar="NAME")
        if run is logs:
            command.add_argument("--follow", action="store_true", help="go on until it ends")
            command.add_argument("--all", action="store_true", help="of every pod")
    commands.add_parser("list", parents=[cluster], help="show all jobs").set_defaults(command=list_jobs)
    return parser


def _add_job(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--recipe", required=True, choices=sorted(RECIPES), metavar="RECIPE", help="row of training/recipes.py")
    add("--name", help="of the job (the recipe's, with dashes)")
    add("--image", required=True, help="image with kino's extras train and s3")
    add("--store", required=True, metavar="URL", help="s3://bucket for checkpoints and curves")
    add("--nodes", type=int, default=1, help="machines (%(default)s)")
    add("--gpus-per-node", type=int, default=0, help="0 computes on CPUs (%(default)s)")
    add("--workers-per-node", type=int, default=1, help="without GPUs (%(default)s)")
    add("--min-nodes", type=int, help="go on with as few machines as this")
    add("--max-restarts", type=int, default=3, help="of workers that died (%(default)s)")
    add("--cpus", default="4", help="of each pod (%(default)s)")
    add("--memory", default="16Gi", help="of each pod (%(default)s)")
    add("--publish", default="", metavar="VERSION", help="publish the result, and move the alias candidate to it")
    add("--models", default="", metavar="URL", help="s3://bucket of the registry to publish to")
    add("--secret", default="", metavar="NAME", help="secret with the keys of the buckets")
    add("--service-account", default="default", help="of the pods (%(default)s)")
    add("--queue", default="", help="queue of Kueue: the job waits until there is room for all of it")
    add("--suspend", action="store_true", help="create it without starting it")
    add("--gang", action="store_true", help="place all pods or none")
    add("--priority", default="", metavar="CLASS", help="priority class of the pods")
    add("--node-selector", action="append", default=[], metavar="LABEL=VALUE", help="only on machines with this label")
    add("--tolerations", action="append", default=[], metavar="KEY", help="also on machines with this taint")
    add("--deadline-seconds", type=int, help="end the job after so long")


if __name__ == "__main__":
    sys.exit(main())
