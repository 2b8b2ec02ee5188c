"""Runs a sound pipeline over the services: what can run at once does, and what has been made is not made again."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from google.protobuf.message import Message
from opentelemetry import trace

from kino.errors import InternalError, KinoError, UnavailableError, as_kino_error
from kino.store import Store
from kino.v1 import generator_pb2, graph_pb2, info_pb2, progress_pb2
from services.graph.cache import StageCache, stage_key
from services.graph.calls import GRAPH, Event
from services.graph.export import Exporter
from services.graph.flights import Flights, Listener
from services.graph.parts import Parts
from services.graph.pipeline import Node, Plan

_STAGE_STATES = {
    progress_pb2.PHASE_QUEUED: graph_pb2.STAGE_STATE_QUEUED,
    progress_pb2.PHASE_RUNNING: graph_pb2.STAGE_STATE_RUNNING,
}
_log = logging.getLogger("kino.graph")
_tracer = trace.get_tracer("kino")


class VersionChangedError(UnavailableError):
    """A service became another model version between its description and its answer."""


class Kept(NamedTuple):
    """What a stage gave, and the writing of it under its key, which the next stage need not wait for."""

    result: Message
    saved: asyncio.Task[None]


class StageError(Exception):
    """A stage failed, and with it the pipeline."""

    def __init__(self, node: Node, error: KinoError) -> None:
        super().__init__(f"stage {node.name} ({node.call.component}): {error.message}")
        self.node, self.error = node, error


@dataclass(frozen=True)
class Run:
    """One run of a plan.

    Args:
        infos: what the services say of themselves, by component.
        stages: told how far each node is, in the order of the plan.
        changed: called after each change of `stages`.
        made: called with each node's result.
        salt: anything but "" keeps the run from using, or leaving, anything that other runs share.
    """

    plan: Plan
    infos: Mapping[str, info_pb2.Info]
    stages: Mapping[str, graph_pb2.Stage]
    changed: Callable[[], None]
    made: Callable[[Node, Message], None]
    salt: str = ""


class Engine:
    """Runs plans over services and a store."""

    def __init__(self, parts: Parts, store: Store) -> None:
        self._parts = parts
        self._cache = StageCache(store)
        self._exporter = Exporter(store)
        self._flights: Flights[Kept] = Flights()
        self._saving: dict[str, asyncio.Task[None]] = {}

    def close(self) -> None:
        """Let go of threads. Nothing runs any more."""
        self._exporter.close()

    async def describe(self, component: str) -> info_pb2.Info:
        """Return what a service, or the graph itself, says of itself now; raises `KinoError`."""
        return self._exporter.describe() if component == GRAPH else await self._parts.describe(component)

    async def run(self, run: Run) -> dict[str, Message]:
        """Return the result of every node.

        Raises:
            StageError: a stage failed; those that ran beside it have been cancelled.
        """
        results: dict[str, Message] = {}
        saves: dict[str, asyncio.Task[None]] = {}
        running: dict[asyncio.Task[Message], str] = {}
        sorter = run.plan.sorter()
        sorter.prepare()
        try:
            while sorter.is_active():
                for name in sorter.get_ready():
                    running[asyncio.create_task(self._stage(run, run.plan.nodes[name], results, saves))] = name
                done, _ = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    name = running[task]
                    results[name] = task.result()
                    run.made(run.plan.nodes[name], results[name])
                    del running[task]
                    sorter.done(name)
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
        for name, saved in saves.items():
            with _failing(run, run.plan.nodes[name]):
                await asyncio.shield(saved)
        return results

    async def _stage(
        self, run: Run, node: Node, results: Mapping[str, Message], saves: dict[str, asyncio.Task[None]]
    ) -> Message:
        """Return the result of one node, leave the writing of it in `saves`, and keep its stage true."""
        watch = _Watch(run.stages[node.name], run.changed)
        try:
            request, info = node.bind(results), run.infos[node.call.component]
            key = stage_key(node.call, request, info, run.salt)
            if key in self._saving:
                await asyncio.wait([self._saving[key]])
            found = await asyncio.to_thread(self._cache.load, key, node.call.result)
            if found is not None:
                watch.found()
                return found
            watch.sent(waits=node.call.streams)
            kept = await self._flights.join(key, partial(self._execute, node, request, info, key), watch.progress)
        except asyncio.CancelledError:
            watch.ended(graph_pb2.STAGE_STATE_CANCELLED)
            raise
        except Exception as error:
            watch.ended(graph_pb2.STAGE_STATE_FAILED)
            known = as_kino_error(error)
            if isinstance(known, InternalError) and known is not error:
                _log.exception("stage failed", extra={"stage": node.name})
            raise StageError(node, known) from error
        watch.ended(graph_pb2.STAGE_STATE_SUCCEEDED)
        saves[node.name] = kept.saved
        return kept.result

    async def _execute(self, node: Node, request: Message, info: info_pb2.Info, key: str, tell: Listener) -> Kept:
        """Make one call, from its last checkpoint where there is one, and begin to keep what it gives."""
        if node.call.resumes:
            checkpoint = await asyncio.to_thread(self._cache.load_checkpoint, key)
            if checkpoint is not None:
                request.resume_from.CopyFrom(checkpoint)  # type: ignore[attr-defined]
        with _tracer.start_as_current_span(f"stage {node.name}", attributes={"call": node.call.name}):
            result = await self._call(node, request, key, tell)
        made_by = getattr(result, "model_digest", "")
        if made_by and made_by != info.digest:  # kept under this key it would pass for the older version's
            raise VersionChangedError(f"the {node.call.component} became another version while it worked")
        saved = self._saving[key] = asyncio.create_task(asyncio.to_thread(self._cache.save, key, result))
        saved.add_done_callback(lambda _: self._saving.pop(key))
        return Kept(result, saved)

    async def _call(self, node: Node, request: Message, key: str, tell: Listener) -> Message:
        """Make one call, and keep its checkpoints."""
        result: Message | None = None
        async with aclosing(self._events(node, request)) as events:
            async for event in events:
                if isinstance(event, progress_pb2.Progress):
                    tell(event)
                elif isinstance(event, generator_pb2.Checkpoint):
                    await asyncio.to_thread(self._cache.save_checkpoint, key, event)
                else:
                    result = event
        if not isinstance(result, node.call.result):
            raise InternalError(f"the {node.call.component} ended its answer without a result")
        return result

    def _events(self, node: Node, request: Message) -> AsyncGenerator[Event]:
        if isinstance(request, graph_pb2.ExportRequest):
            return self._exporter.export(request)
        if isinstance(request, graph_pb2.ConformRequest):
            return self._exporter.conform(request)
        return self._parts.call(node.call, request)


@contextmanager
def _failing(run: Run, node: Node) -> Iterator[None]:
    """Make what could not be written the failure of its stage."""
    try:
        yield
    except Exception as error:
        run.stages[node.name].state = graph_pb2.STAGE_STATE_FAILED
        run.changed()
        raise StageError(node, as_kino_error(error)) from error


class _Watch:
    """Keeps a stage true while its node runs."""

    def __init__(self, stage: graph_pb2.Stage, changed: Callable[[], None]) -> None:
        self._stage, self._changed, self._began = stage, changed, time.monotonic()

    def found(self) -> None:
        """The result was there; `cached` unless this generation itself made it, under an earlier director."""
        if self._stage.state != graph_pb2.STAGE_STATE_SUCCEEDED:
            self._stage.state, self._stage.cached = graph_pb2.STAGE_STATE_SUCCEEDED, True
            self._changed()

    def sent(self, *, waits: bool) -> None:
        """The request is on its way; of a call without progress, all that is told is its end."""
        self._stage.cached = False
        self._stage.state = graph_pb2.STAGE_STATE_QUEUED if waits else graph_pb2.STAGE_STATE_RUNNING
        self._stage.step, self._stage.of = (0, 0) if waits else (0, 1)
        self._changed()

    def progress(self, progress: progress_pb2.Progress) -> None:
        """The service told how far it is."""
        self._stage.state = _STAGE_STATES.get(progress.phase, self._stage.state)
        self._stage.step, self._stage.of = progress.step, progress.of
        self._stage.seconds = time.monotonic() - self._began
        self._changed()

    def ended(self, state: "graph_pb2.StageState.ValueType") -> None:
        """The node is over."""
        if state == graph_pb2.STAGE_STATE_SUCCEEDED:
            self._stage.step = self._stage.of
        self._stage.state = state
        self._stage.seconds = time.monotonic() - self._began
        self._changed()
