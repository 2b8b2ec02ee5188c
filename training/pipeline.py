"""A plan as jobs in a cluster: each stage is a PyTorchJob, started when those that it stands on are done.

A stage is done when its output is in the store or the registry, so a pipeline that was stopped at any moment goes on
from what is there. What it was asked for, and why a stage failed, lie in the records of the store::

    records/pipelines/<name>/settings    plan, version and job
    records/pipelines/<name>/failures    reason by stage, until it is resumed
"""

import json
import logging
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from kubeflow.training import TrainingClient
from kubernetes.client.exceptions import ApiException

from kino.records import ConflictError
from kino.registry import Registry
from kino.store import DamagedError, NotFoundError, Store, StoreUnavailableError, open_store
from training.job import PIPELINE_LABEL, Job, pytorch_job
from training.plan import Stage, plan, published
from training.recipes import RECIPES, stages
from training.run_store import RunStore

DONE, RUNNING, FAILED, READY, WAITING = "done", "running", "failed", "ready", "waiting"
_GONE_SECONDS = 60.0
_AWAY_SECONDS = 900.0
_REASON_LENGTH = 2000
logger = logging.getLogger("training")


@dataclass(frozen=True)
class Pipeline:
    """What was asked for.

    Args:
        job: what every stage's job has; recipe, name and what it publishes are the stage's.
    """

    name: str
    plan: str
    version: str
    job: Job

    def job_of(self, stage: Stage) -> Job:
        """Return the job of a stage."""
        name = re.sub(r"[^a-z0-9-]", "-", f"{self.name}-{stage.name}")
        own = replace(self.job, name=name, recipe=stage.recipe, parts=self.version, pipeline=self.name)
        if stage.kind == "encode":
            return replace(own, encodes=True, nodes=1, min_nodes=None)
        return replace(own, publish=self.version if stage.published else "")

    def __post_init__(self) -> None:
        if not self.job.models.startswith("s3://"):
            raise ValueError(f"models is {self.job.models!r}, must be s3://bucket: a pipeline publishes")


@dataclass(frozen=True)
class State:
    """Where a stage stands: one of the words above, and why where it failed."""

    word: str
    reason: str = ""


class Runner:
    """Looks after one pipeline.

    Args:
        store, models: URLs of its store and registry as they are reached from here.
        client: of the cluster.
    """

    def __init__(self, pipeline: Pipeline, store: str, models: str, client: TrainingClient) -> None:
        self.pipeline, self.client = pipeline, client
        self._url, self._registry = store, Registry(models)
        self._store = open_store(store)
        self._stages = plan(pipeline.plan)

    def look(self) -> dict[Stage, State]:
        """Return where every stage stands now."""
        jobs, failures, found = self._jobs(), read_failures(self._store, self.pipeline.name), dict[Stage, State]()
        done = set[str]()
        for stage in self._stages:
            job = jobs.get(self.pipeline.job_of(stage).name)
            if job is not None and _ended(job) is None:
                found[stage] = State(RUNNING)
            elif self._done(stage):
                found[stage] = State(DONE)
                done.add(stage.name)
            elif stage.name in failures:
                found[stage] = State(FAILED, failures[stage.name])
            elif job is not None:
                found[stage] = State(FAILED, self._reason(job))
            else:
                found[stage] = State(READY if done.issuperset(stage.after) else WAITING)
        return found

    def drive(self, parallel: int, poll_seconds: float, tell: Callable[[Stage, State], None]) -> bool:
        """Start stages as those before them end, until all are done, and return True; False once one has failed.

        Nothing is started after a failure; what runs then goes on by itself.
        """
        before: dict[Stage, State] = {}
        while True:
            found = self._look_patiently(poll_seconds)
            for stage, state in found.items():
                if before.get(stage) != state and state.word != WAITING:
                    tell(stage, state)
            before, words = found, [state.word for state in found.values()]
            failed = {stage.name: state.reason for stage, state in found.items() if state.word == FAILED}
            if failed:
                self._store.records.write(_record(self.pipeline.name, "failures"), json.dumps(failed).encode())
                return False
            if all(word == DONE for word in words):
                return True
            room = parallel - words.count(RUNNING)
            for stage in [stage for stage, state in found.items() if state.word == READY][: max(room, 0)]:
                self._start(stage)
            time.sleep(poll_seconds)

    def _look_patiently(self, poll_seconds: float) -> dict[Stage, State]:
        """Look at the stages; an API server or a store that does not answer is asked again for a quarter of an hour."""
        until = time.monotonic() + _AWAY_SECONDS
        while True:
            try:
                return self.look()
            except (RuntimeError, TimeoutError, StoreUnavailableError) as error:
                if _is_refusal(error) or time.monotonic() > until:
                    raise
                logger.warning("the cluster does not answer: %s", error)
            time.sleep(poll_seconds)

    def forgive(self) -> None:
        """Let failed stages be tried again: forget why they failed, and remove their jobs; those of others stay."""
        failed = [self.pipeline.job_of(stage).name for stage, state in self.look().items() if state.word == FAILED]
        self._store.records.delete(_record(self.pipeline.name, "failures"))
        for name in self._jobs().keys() & set(failed):
            self._remove(name)

    def _start(self, stage: Stage) -> None:
        job = self.pipeline.job_of(stage)
        try:
            self.client.create_job(job=pytorch_job(job), namespace=job.namespace)
        except RuntimeError as error:
            if not (isinstance(error.__context__, ApiException) and error.__context__.status == 409):
                raise  # else another driver of this pipeline has started it

    def _remove(self, name: str) -> None:
        """Delete a job, and wait until its name is free."""
        self.client.delete_job(name, self.pipeline.job.namespace)
        until = time.monotonic() + _GONE_SECONDS
        while name in self._jobs():
            if time.monotonic() > until:
                raise TimeoutError(f"the job {name} is still there {_GONE_SECONDS:.0f} s after it was deleted")
            time.sleep(0.5)

    def _jobs(self) -> Mapping[str, Any]:
        found = self.client.list_jobs(self.pipeline.job.namespace)
        ours = [job for job in found if (job.metadata.labels or {}).get(PIPELINE_LABEL) == self.pipeline.name]
        return {job.metadata.name: job for job in ours}

    def _done(self, stage: Stage) -> bool:
        if stage.kind == "encode":
            rows = stages(RECIPES[stage.recipe])
            return all(RunStore(self._url, row.name).has_latents() for row in rows)
        if stage.published:
            return published(stage.recipe, self.pipeline.version, self._registry)
        return RunStore(self._url, stage.recipe).steps() >= RECIPES[stage.recipe].steps

    def _reason(self, job: Any) -> str:
        """Return why a job has ended without its output: what the operator says, and its pods' last words."""
        ended = _ended(job)
        assert ended is not None
        words = [f"{ended.type}: {ended.message}"]
        for pod in self.client.get_job_pods(job.metadata.name, self.pipeline.job.namespace):
            for status in (pod.status.container_statuses if pod.status else None) or []:
                for state in (status.state, status.last_state):
                    if state and state.terminated and state.terminated.exit_code:
                        last = _told(state.terminated.message or state.terminated.reason or "")
                        words.append(f"{pod.metadata.name} ended with {state.terminated.exit_code}: {last}")
        return "\n".join(words)[-_REASON_LENGTH:]


def save(pipeline: Pipeline, store: Store) -> None:
    """Keep what was asked for under the pipeline's name; the same again changes nothing.

    Raises:
        ValueError: the name is taken by other settings.
    """
    value = json.dumps(asdict(pipeline), sort_keys=True).encode()
    name = _record(pipeline.name, "settings")
    try:
        store.records.swap(name, None, value)
    except ConflictError:
        if store.records.read(name) != value:
            raise ValueError(
                f"the pipeline {pipeline.name!r} is there with other settings: resume it, or take another name"
            ) from None


def load(name: str, store: Store) -> Pipeline:
    """Return what was asked for.

    Raises:
        kino.store.NotFoundError: there is no such pipeline.
        kino.store.DamagedError: its record is broken.
    """
    record = _record(name, "settings")
    text = store.records.read(record)
    if text is None:
        raise NotFoundError(f"the store has no pipeline {name!r}")
    try:
        values = json.loads(text)
        job = Job(**{**values["job"], "tolerations": tuple(values["job"]["tolerations"])})
        return Pipeline(**{**values, "job": job})
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedError(record, "the settings of a pipeline", str(error)) from error


def read_failures(store: Store, name: str) -> dict[str, str]:
    """Return why stages failed, by their names."""
    found: dict[str, str] = json.loads(store.records.read(_record(name, "failures")) or b"{}")
    return found


def _ended(job: Any) -> Any:
    """Return the condition that ended a job, None while it goes on."""
    conditions = (job.status.conditions if job.status else None) or []
    return next((row for row in conditions if row.type in ("Succeeded", "Failed") and row.status == "True"), None)


def _told(message: str) -> str:
    """Return what a program said of its failure: its own errors, which torchrun puts its traceback behind."""
    errors = [line for line in message.splitlines() if line.startswith("error: ")]
    return "\n".join(errors) or message.strip()


def _record(name: str, what: str) -> str:
    return f"pipelines/{name}/{what}"


def _is_refusal(error: Exception) -> bool:
    """Tell whether an API server said no, which it would say again: the SDK wraps its answer."""
    cause = error.__context__
    return isinstance(cause, ApiException) and (cause.status or 0) < 500
