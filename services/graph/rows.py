"""What goes into the ledger and what comes out."""

import hashlib
from dataclasses import dataclass
from typing import TypeAlias
from uuid import uuid4

from sqlalchemy import Insert, RowMapping, bindparam, func, insert, or_, select, update

from kino.v1 import graph_pb2
from services.graph.database import generations, now

State: TypeAlias = "graph_pb2.GenerationState.ValueType"

QUEUED = graph_pb2.GENERATION_STATE_QUEUED
RUNNING = graph_pb2.GENERATION_STATE_RUNNING
SUCCEEDED = graph_pb2.GENERATION_STATE_SUCCEEDED
FAILED = graph_pb2.GENERATION_STATE_FAILED
CANCELLED = graph_pb2.GENERATION_STATE_CANCELLED
ACTIVE = (QUEUED, RUNNING)
ENDED = (SUCCEEDED, FAILED, CANCELLED)

# What runs many times a second is put into words once.
BY_ID = select(generations).where(generations.c.id == bindparam("its_id"))
SEQUENCES = select(generations.c.id, generations.c.sequence).where(
    generations.c.id.in_(bindparam("ids", expanding=True))
)
WAITING = select(func.count()).select_from(generations).where(generations.c.state == QUEUED)
_OLDEST = (
    select(generations.c.number)
    .where(generations.c.state.in_(ACTIVE), or_(generations.c.owner.is_(None), generations.c.lease_until < now()))
    .order_by(generations.c.number)
    .limit(1)
    .with_for_update(skip_locked=True)
    .scalar_subquery()
)
TAKING = (
    update(generations)
    .where(generations.c.number == _OLDEST)
    .values(owner=bindparam("owner"), lease_until=now() + bindparam("lease_seconds"), claims=generations.c.claims + 1)
    .returning(generations)
)
HELD = select(generations.c.id).where(generations.c.owner == bindparam("its_owner"), generations.c.state.in_(ACTIVE))
REPORTING = (
    update(generations)
    .where(
        generations.c.id == bindparam("its_id"),
        generations.c.owner == bindparam("its_owner"),
        generations.c.state.in_(ACTIVE),
    )
    .values(outcome=bindparam("outcome"), sequence=generations.c.sequence + 1)
)


@dataclass(frozen=True)
class Order:
    """What a client asked for, ready to run.

    Args:
        spec: the request as it came, large contents by uri.
        pipeline: what the spec stands for, every default filled in.
        outcome: the stages, all pending; what a director fills in from here on.
        request_id: of the call that brought it; every service's log names it.
    """

    idempotency_key: str
    spec: graph_pb2.GenerationSpec
    fresh: bool
    pipeline: graph_pb2.Pipeline
    seed: int
    outcome: graph_pb2.Generation
    request_id: str = ""

    @property
    def digest(self) -> str:
        """SHA-256 of what the client asked for."""
        return request_digest(self.spec, self.fresh)


@dataclass(frozen=True)
class Claim:
    """A generation that a director holds; `claims` counts how often a director took it and did not give it back."""

    id: str
    pipeline: graph_pb2.Pipeline
    fresh: bool
    outcome: graph_pb2.Generation
    request_id: str
    claims: int


def request_digest(spec: graph_pb2.GenerationSpec, fresh: bool) -> str:
    """Return the SHA-256 of what a client asks for: the same key with another digest is a mistake of the client."""
    return hashlib.sha256(spec.SerializeToString(deterministic=True) + bytes([fresh])).hexdigest()


def insertion(order: Order) -> Insert:
    """Return the statement that writes a new row and gives it back."""
    values = {
        "id": uuid4().hex,
        "idempotency_key": order.idempotency_key,
        "digest": order.digest,
        "spec": order.spec.SerializeToString(),
        "fresh": order.fresh,
        "pipeline": order.pipeline.SerializeToString(),
        "seed": order.seed,
        "request_id": order.request_id,
        "state": QUEUED,
        "sequence": 1,
        "create_time": now(),
        "outcome": order.outcome.SerializeToString(),
        "claims": 0,
    }
    return insert(generations).values(values).returning(generations)


def message(row: RowMapping, *, with_record: bool = False) -> graph_pb2.Generation:
    """Return a row as clients see it; the record travels only where it is asked for."""
    generation = graph_pb2.Generation.FromString(row["outcome"])
    generation.id, generation.sequence, generation.state = row["id"], row["sequence"], row["state"]
    generation.spec.ParseFromString(row["spec"])
    generation.seed = row["seed"]
    for name in ("create_time", "start_time", "finish_time"):
        if row[name] is not None:
            getattr(generation, name).FromNanoseconds(round(row[name] * 1e6) * 1000)
    if with_record and row["record"] is not None:
        generation.record.ParseFromString(row["record"])
    return generation
