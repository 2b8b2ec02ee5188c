"""The director: takes generations from the ledger, runs them, and writes down what became of them."""

import asyncio
import itertools
import logging
import os
import socket
import time
import uuid
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from google.protobuf.message import Message
from opentelemetry import trace
from prometheus_client import Counter, Gauge, Histogram

from kino.errors import FailedPreconditionError, InternalError, KinoError, UnavailableError, to_status
from kino.store import Store, digest_of
from kino.telemetry import request_id
from kino.v1 import editor_pb2, graph_pb2, info_pb2, media_pb2, rewriter_pb2
from services.graph.database import LedgerUnavailableError
from services.graph.engine import Engine, Run, StageError, VersionChangedError
from services.graph.export import SOFTWARE
from services.graph.fit import check_fit
from services.graph.ledger import Ledger
from services.graph.parts import Retry
from services.graph.pipeline import Node, Plan, check
from services.graph.reporter import Reporter
from services.graph.rows import FAILED, SUCCEEDED, Claim

_RUNNING = Gauge("kino_generations_running", "Generations that this process runs.")
_ENDED = Counter("kino_generations_ended", "Generations that this process brought to an end.", ["state"])
_STAGE_SECONDS = Histogram(
    "kino_stage_seconds",
    "Seconds of a stage that was computed.",
    ["call"],
    buckets=(0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 300, 1000),
)
_HOST = socket.gethostname()[:64]
_log = logging.getLogger("kino.graph")
_tracer = trace.get_tracer("kino")


@dataclass(frozen=True)
class Pace:
    """How a director works.

    Args:
        slots: generations it runs at once; what they share, the services' queues put in order.
        lease_seconds: how long after its last sign of life others take its work over.
        poll_seconds: how soon it sees what another process wrote: work to take, and cancels.
        report_seconds: the least time between two notes of progress.
        most_claims: directors that may die over one generation before it is given up.
    """

    slots: int = 8
    lease_seconds: float = 10.0
    poll_seconds: float = 0.25
    report_seconds: float = 0.5
    most_claims: int = 5


class Director:
    """Runs generations until it is stopped; any number of directors share a ledger."""

    def __init__(
        self, ledger: Ledger, engine: Engine, store: Store, pace: Pace | None = None, retry: Retry | None = None
    ) -> None:
        self.owner = f"{_HOST}:{os.getpid()}:{uuid.uuid4().hex}"
        self._ledger, self._engine, self._store = ledger, engine, store
        self._pace, self._retry = pace or Pace(), retry or Retry()
        self._wake = asyncio.Event()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to take work."""
        self._loops = [asyncio.create_task(self._take_forever()), asyncio.create_task(self._keep_forever())]

    def wake(self) -> None:
        """There is work: look now."""
        self._wake.set()

    def drop(self, id: str) -> None:
        """Stop running a generation that was cancelled, down to the services."""
        if id in self._running:
            self._running[id].cancel()

    async def stop(self) -> None:
        """Stop, and give what was running back; another director, or this one's successor, goes on from there."""
        for task in (*self._loops, *self._running.values()):
            task.cancel()
        await asyncio.gather(*self._loops, *self._running.values(), return_exceptions=True)
        try:
            await self._ledger.release(self.owner)
        except LedgerUnavailableError as error:  # then the leases run out
            _log.warning("cannot give work back", extra={"error": error.message})

    async def _take_forever(self) -> None:
        inherited = False
        while True:
            self._wake.clear()
            try:
                if not inherited:
                    await self._inherit()
                    inherited = True
                await self._take()
            except Exception:  # noqa: BLE001 - the ledger may be away for a while; the director must outlive that
                _log.exception("cannot take work")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), self._pace.poll_seconds)

    async def _inherit(self) -> None:
        """Free what processes of this machine held that are no more; the leases of other machines must run out."""
        for owner in await self._ledger.owners():
            host, pid, _ = owner.rsplit(":", 2)
            if host == _HOST and owner != self.owner and (int(pid) == os.getpid() or not _runs(int(pid))):
                _log.info("taking over from a director that died", extra={"owner": owner})
                await self._ledger.release(owner, died=True)

    async def _take(self) -> None:
        while len(self._running) < self._pace.slots:
            claim = await self._ledger.claim(self.owner, self._pace.lease_seconds)
            if claim is None:
                return
            task = self._running[claim.id] = asyncio.create_task(self._direct(claim))
            _RUNNING.inc()
            task.add_done_callback(partial(self._left, claim.id))

    def _left(self, id: str, task: asyncio.Task[None]) -> None:
        if self._running.get(id) is task:
            del self._running[id]
        _RUNNING.dec()
        error = None if task.cancelled() else task.exception()
        if error is not None:  # its lease will run out, and another ends it
            _log.error("cannot write what became of a generation", exc_info=error, extra={"generation": id})
        self.wake()

    async def _keep_forever(self) -> None:
        """Renew the leases, and drop what was cancelled or taken over."""
        renewed = time.monotonic()
        while True:
            await asyncio.sleep(self._pace.poll_seconds)
            if not self._running:
                continue
            try:
                before = set(self._running)
                for id in before - await self._ledger.held(self.owner):
                    self.drop(id)
                if time.monotonic() - renewed > self._pace.lease_seconds / 3:
                    await self._ledger.renew(self.owner, self._pace.lease_seconds)
                    renewed = time.monotonic()
            except Exception:  # noqa: BLE001 - as above; if it lasts, the leases run out and others take over
                _log.exception("cannot renew leases")

    async def _direct(self, claim: Claim) -> None:
        """Run one generation to its end, as one trace."""
        request_id.set(claim.request_id)
        with _tracer.start_as_current_span("generation", attributes={"generation": claim.id}):
            await self._bring_to_end(claim)

    async def _bring_to_end(self, claim: Claim) -> None:
        fields = {"generation": claim.id, "claims": claim.claims}
        _log.info("generation taken", extra=fields)
        state, record = FAILED, None
        try:
            if claim.claims > self._pace.most_claims:
                raise InternalError(f"given up: {claim.claims - 1} directors died over it")
            record = await self._run(claim)
            state = SUCCEEDED
        except LedgerUnavailableError:  # nothing can be written now; once the lease has run out, somebody goes on
            raise
        except StageError as error:
            _fail(claim, error.error, str(error))
        except Exception as error:  # noqa: BLE001 - whatever it is, the generation ends with it
            _log.exception("generation failed", extra=fields)
            _fail(claim, error)
        if await self._ledger.finish(claim.id, self.owner, state, claim.outcome, record):
            name = graph_pb2.GenerationState.Name(state).removeprefix("GENERATION_STATE_")
            _ENDED.labels(name).inc()
            _log.info("generation ended", extra={**fields, "state": name})

    async def _run(self, claim: Claim) -> graph_pb2.Record:
        """Run the pipeline, fill in the outcome, and return how it was made."""
        outcome, plan = claim.outcome, check(claim.pipeline, "pipeline")
        begin = partial(self._ledger.begin, claim.id, self.owner)
        report = partial(self._ledger.report, claim.id, self.owner, outcome)
        reporter: Reporter | None = None
        try:
            for attempt in itertools.count(1):
                stages = _reset(outcome)
                infos = await self._describe(plan, stages)
                check_fit(plan, infos)
                reporter = reporter or Reporter(begin, report, self._pace.report_seconds)
                salt = claim.id if claim.fresh else ""
                run = Run(plan, infos, stages, reporter.changed, partial(_take_result, outcome), salt)
                try:
                    results = await self._engine.run(run)
                    break
                except StageError as error:
                    if not isinstance(error.error, VersionChangedError) or attempt >= self._retry.attempts:
                        raise
                    _log.info("running again", extra={"generation": claim.id, "reason": str(error)})
        finally:
            if reporter is not None:
                await reporter.close()
        record = graph_pb2.Record(pipeline=claim.pipeline, parts=infos.values(), software=SOFTWARE)
        outcome.artifacts.extend(await asyncio.to_thread(self._artifacts, plan, results, record))
        return record

    async def _describe(self, plan: Plan, stages: Mapping[str, graph_pb2.Stage]) -> dict[str, info_pb2.Info]:
        """Return what the services say of themselves, by component; those that are away are waited for."""
        first = {node.call.component: node for node in reversed(list(plan.nodes.values()))}
        answers = await asyncio.gather(*map(self._ask, first), return_exceptions=True)
        infos: dict[str, info_pb2.Info] = {}
        for component, answer in zip(first, answers, strict=True):
            if isinstance(answer, KinoError):
                stages[first[component].name].state = graph_pb2.STAGE_STATE_FAILED
                raise StageError(first[component], answer)
            if isinstance(answer, BaseException):
                raise answer
            infos[component] = answer
        return {component: infos[component] for component in plan.components}

    async def _ask(self, component: str) -> info_pb2.Info:
        failures = 0
        while True:
            try:
                return await self._engine.describe(component)
            except UnavailableError:
                failures += 1
                if failures >= self._retry.attempts:
                    raise
                await asyncio.sleep(self._retry.wait_seconds(failures))

    def _artifacts(
        self, plan: Plan, results: Mapping[str, Message], record: graph_pb2.Record
    ) -> list[graph_pb2.Artifact]:
        """Return the outputs as artifacts, and leave beside each in the store how it was made."""
        artifacts = []
        for name, port in plan.outputs.items():
            content = getattr(results[port.node], port.field)
            if not content.uri:
                raise FailedPreconditionError(f"output {name}: {port.node} gave no {port.field}")
            found = self._store.stat(content.uri)
            media = media_pb2.Media(media_type=found.media_type, uri=found.uri)
            made = graph_pb2.Artifact(name=name, media=media, size_bytes=found.size_bytes)
            if found.media_type.startswith(("audio/", "video/")) and _is_measured(results[port.node]):
                made.sound.CopyFrom(results[port.node].figures)  # type: ignore[attr-defined]
            artifacts.append(made)
            self._store.records.write(f"made/{digest_of(found.uri)}", record.SerializeToString())
        return artifacts


def _is_measured(result: Message) -> bool:
    """Tell whether a result comes with figures of its sound."""
    return "figures" in result.DESCRIPTOR.fields_by_name and result.HasField("figures")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it runs, as somebody else
        return True
    return True


def _fail(claim: Claim, error: Exception, message: str = "") -> None:
    """Write an error into the outcome, and end the stages that will not run."""
    claim.outcome.error.CopyFrom(to_status(error, claim.request_id))
    claim.outcome.error.message = message or claim.outcome.error.message
    for stage in claim.outcome.stages:
        if stage.state in (graph_pb2.STAGE_STATE_PENDING, graph_pb2.STAGE_STATE_QUEUED, graph_pb2.STAGE_STATE_RUNNING):
            stage.state = graph_pb2.STAGE_STATE_CANCELLED


def _reset(outcome: graph_pb2.Generation) -> dict[str, graph_pb2.Stage]:
    """Return the stages by name; those that have not succeeded are pending again."""
    for stage in outcome.stages:
        if stage.state != graph_pb2.STAGE_STATE_SUCCEEDED:
            stage.CopyFrom(graph_pb2.Stage(name=stage.name, call=stage.call, state=graph_pb2.STAGE_STATE_PENDING))
    return {stage.name: stage for stage in outcome.stages}


def _take_result(outcome: graph_pb2.Generation, node: Node, result: Message) -> None:
    """Show what a stage gave as soon as it did."""
    stage = next(stage for stage in outcome.stages if stage.name == node.name)
    if not stage.cached:
        _STAGE_SECONDS.labels(stage.call).observe(stage.seconds)
    if isinstance(result, rewriter_pb2.RewriteResponse):
        outcome.rewritten_prompt = result.prompt
        del outcome.substitutions[:]
        outcome.substitutions.extend(result.substitutions)
        outcome.rewriter_fallback_reason = result.fallback_reason
    if isinstance(result, editor_pb2.InterpretResponse):
        outcome.task, outcome.rewritten_prompt = result.task, result.instruction
