"""Training jobs in a cluster: python -m training.jobs submit|render|status|logs|cancel|list|pipeline.

A job is a PyTorchJob of Kubeflow's training operator: `submit` creates one, and the others ask the cluster that
kubectl would ask. `render` prints the manifest and needs no cluster. `pipeline` runs a plan of many jobs, each after
those it stands on.

Exit codes: 0 done, 2 a setting is wrong, 3 the cluster cannot be reached or refuses, 4 the job has failed.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from textwrap import indent
from typing import Any

import yaml
from kubeflow.training import TrainingClient
from kubernetes.client.exceptions import ApiException
from kubernetes.config import ConfigException
from urllib3.exceptions import HTTPError

from kino.store import StoreError, open_store
from training.job import LABELS, RECIPE_LABEL, pytorch_job, rendered, train_job
from training.job_flags import add_job, add_run, job_of
from training.pipeline import Pipeline, Runner, State, load, save
from training.plan import PLANS, Stage, plan

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
    except StoreError as error:
        return _tell(REFUSED, str(error))
    except (RuntimeError, TimeoutError) as error:  # as the SDK words it; the API's answer is its cause
        cause = error.__context__
        return _tell(REFUSED, _reason(cause) if isinstance(cause, ApiException) else str(error))
    return code


def submit(given: argparse.Namespace) -> int:
    """Create a job, and with --wait follow it to its end."""
    job = job_of(given)
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
    job = job_of(given)
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


def submit_pipeline(given: argparse.Namespace) -> int:
    """Keep what a pipeline is asked for, and run its stages to the end."""
    _check_parallel(given)
    pipeline = Pipeline(given.name, given.plan, given.version, job_of(given))
    for stage in plan(pipeline.plan):
        pipeline.job_of(stage)  # so that what a stage cannot be is told before the first one begins
    save(pipeline, open_store(_store(given)))
    return _drive(given, _runner(given, pipeline))


def resume_pipeline(given: argparse.Namespace) -> int:
    """Go on with a pipeline where it stopped: what failed is tried again, what is done stays."""
    _check_parallel(given)
    runner = _runner(given, load(given.name, open_store(_store(given))))
    runner.forgive()
    return _drive(given, runner)


def show_pipeline(given: argparse.Namespace) -> int:
    """Print where every stage of a pipeline stands."""
    runner = _runner(given, load(given.name, open_store(_store(given))))
    for stage, state in runner.look().items():
        _say(stage, state)
    return OK


def _drive(given: argparse.Namespace, runner: Runner) -> int:
    return OK if runner.drive(given.parallel, given.poll_seconds, _say) else FAILED


def _say(stage: Stage, state: State) -> None:
    print(f"{stage.name}: {state.word}" + (f"\n{indent(state.reason, '  ')}" if state.reason else ""), flush=True)


def _runner(given: argparse.Namespace, pipeline: Pipeline) -> Runner:
    return Runner(pipeline, _store(given), given.models_here or pipeline.job.models, _client(given))


def _store(given: argparse.Namespace) -> str:
    return str(given.store_here or given.store)


def _check_parallel(given: argparse.Namespace) -> None:
    if not (given.parallel >= 1 and given.poll_seconds > 0):
        raise ValueError(
            f"--parallel is {given.parallel} and --poll-seconds {given.poll_seconds:g}, "
            "must be at least 1 and greater than 0"
        )


def _client(given: argparse.Namespace) -> TrainingClient:
    return TrainingClient(config_file=given.kubeconfig, context=given.context, namespace=given.namespace)


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
        add_run(command)
        add_job(command)
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
    pipeline = commands.add_parser("pipeline", help="run a plan of many jobs, each after those it stands on")
    _add_pipeline(pipeline.add_subparsers(required=True, metavar="COMMAND"), cluster)
    return parser


def _add_pipeline(commands: Any, cluster: argparse.ArgumentParser) -> None:
    for name, run, text in (
        ("submit", submit_pipeline, "start one, and follow it to its end; what runs goes on when this ends"),
        ("status", show_pipeline, "show where every stage stands"),
        ("resume", resume_pipeline, "go on where it stopped"),
    ):
        command = commands.add_parser(name, parents=[cluster], help=text)
        command.set_defaults(command=run)
        add = command.add_argument
        if run is submit_pipeline:
            add("--name", required=True, help="of the pipeline; its jobs' names begin with it")
            add("--plan", required=True, choices=sorted(PLANS), help="row of training/plan.py")
            add("--version", required=True, help="of every component that it publishes")
            add("--alias", default="candidate", help="moved to each version (%(default)s)")
            add_job(command)
        else:
            add("name", metavar="NAME")
            add("--store", required=True, metavar="URL", help="that of `submit`")
        add("--store-here", default="", metavar="URL", help="the same, where it is reached otherwise from here")
        add("--models-here", default="", metavar="URL", help="as --store-here, of the registry")
        if run is not show_pipeline:
            add("--parallel", type=int, default=1, metavar="N", help="stages that may run at once (%(default)s)")
            add("--poll-seconds", type=float, default=10.0, help="how often to look (%(default)s)")


if __name__ == "__main__":
    sys.exit(main())
