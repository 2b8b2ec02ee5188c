"""What services share that denoise latents: embeddings and states as they come, progress and checkpoints as they go."""

import asyncio
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypedDict

import numpy as np
from numpy.typing import NDArray

from kino import validate, wire
from kino.compute import ComputeQueue
from kino.denoising import State
from kino.errors import FailedPreconditionError, InvalidArgumentError
from kino.limits import MAX_STEPS
from kino.manifest import Spaces
from kino.store import Store
from kino.v1.encoder_pb2 import Embedding
from kino.v1.generator_pb2 import Checkpoint, Sampling
from kino.v1.progress_pb2 import PHASE_QUEUED, PHASE_RUNNING, Progress
from kino.v1.tensor_pb2 import Tensor

_MIN_CHECKPOINT_SECONDS, _MAX_CHECKPOINT_SECONDS = 1e-3, 86_400.0


class Request(Protocol):
    """What every request to denoise says of its checkpoints."""

    checkpoint_every: int
    checkpoint_seconds: float

    @property
    def resume_from(self) -> Checkpoint:
        """Where to go on from."""
        ...

    def HasField(self, field_name: Any, /) -> bool:
        """Tell whether a field is set."""
        ...


@dataclass(frozen=True)
class Denoised:
    """The finished sample, float32 [c t h w], the seconds that it was on the device, and its sound [c t m], if any."""

    latents: NDArray[np.float32]
    seconds: float
    sound: NDArray[np.float32] | None = None


class Checkpoints:
    """Which states are worth keeping: so many steps, or so many seconds, after the one before; never the last."""

    def __init__(self, request: Request) -> None:
        self._every, self._seconds = MAX_STEPS, math.inf
        if request.HasField("checkpoint_every"):
            self._every = validate.whole(request.checkpoint_every, "checkpoint_every", 1, MAX_STEPS)
        if request.HasField("checkpoint_seconds"):
            bounds = (_MIN_CHECKPOINT_SECONDS, _MAX_CHECKPOINT_SECONDS)
            self._seconds = validate.real(request.checkpoint_seconds, "checkpoint_seconds", *bounds)
        self.last = time.monotonic()

    def due(self, state: State) -> bool:
        """Return whether a state is to be kept; time counts from `last` on."""
        now = time.monotonic()
        is_early = state.step % self._every and now - self.last < self._seconds
        if state.step == state.of or not state.resumes or is_early:
            return False
        self.last = now
        return True


class Asked(TypedDict):
    """How a request asks for the flow to be integrated; what is None is the preset's own value."""

    steps: int | None
    linear_steps: int | None
    guidance: float | None


def asked(sampling: Sampling) -> Asked:
    """What a request says of its sampling."""
    return Asked(
        steps=sampling.steps if sampling.HasField("steps") else None,
        linear_steps=sampling.linear_steps if sampling.HasField("linear_steps") else None,
        guidance=sampling.guidance if sampling.HasField("guidance") else None,
    )


def denoise(
    queue: ComputeQueue,
    steps: Iterator[State],
    begin: tuple[int, int],
    checkpoints: Checkpoints,
    encode: Callable[[NDArray[np.float32]], Tensor],
) -> AsyncGenerator[Progress | Checkpoint | Denoised]:
    """Compute steps in a turn of their own, and yield what `tell` yields of it."""
    return tell(queue, _turn(queue, steps), begin, checkpoints, encode)


@asynccontextmanager
async def _turn(queue: ComputeQueue, steps: Iterator[State]) -> AsyncIterator[AsyncIterator[State]]:
    async with queue.turn(), aclosing(queue.iterate(steps)) as states:
        yield states


async def tell(
    queue: ComputeQueue,
    turn: AbstractAsyncContextManager[AsyncIterator[State]],
    begin: tuple[int, int],
    checkpoints: Checkpoints,
    encode: Callable[[NDArray[np.float32]], Tensor],
) -> AsyncGenerator[Progress | Checkpoint | Denoised]:
    """Yield progress and checkpoints as steps are finished, and the sample last.

    Args:
        turn: waits for the device and gives the states as they are computed; further ones while they are taken.
        begin: steps that are done before the first, and steps in all.
        encode: makes a sample the tensor of a checkpoint; runs in a thread.
    """
    with queue.place():
        yield Progress(phase=PHASE_QUEUED)
    async with turn as states:
        started = checkpoints.last = time.monotonic()
        yield _running(*begin, started)
        kept: asyncio.Task[Checkpoint] | None = None  # written while the next step is computed
        async for state in states:
            if kept is not None:
                yield await kept
                kept = None
            yield _running(state.step, state.of, started)
            if checkpoints.due(state):
                kept = asyncio.create_task(_checkpoint(state, encode))
        seconds = time.monotonic() - started
    yield Denoised(state.x_t, seconds, next(iter(state.sound), None))


def rows(
    entries: Iterable[Embedding], field: str, towers: Mapping[str, tuple[int, int]], spaces: Spaces, store: Store
) -> dict[str, NDArray[np.float32]]:
    """Embeddings by tower; each tower once, each of the space that the model was trained on.

    Args:
        towers: most rows and width by tower.
    """
    found: dict[str, NDArray[np.float32]] = {}
    for index, entry in enumerate(entries):
        name = f"{field}[{index}]"
        tower = validate.one_of(entry.tower, f"{name}.tower", tuple(towers))
        if tower in found:
            raise InvalidArgumentError(f"{name}.tower", tower, "there once")
        if entry.text_space not in ("", spaces.text[tower]):
            raise FailedPreconditionError(
                f"{name}.text_space is {entry.text_space[:64]!r}, this model was trained on {spaces.text[tower]}"
            )
        found[tower] = wire.decode(entry.embeddings, f"{name}.embeddings", f"n {towers[tower][1]}", store=store)
    return found


def start_of(request: Request, store: Store) -> State | None:
    """The state that a request goes on from, None for one that begins at noise."""
    if not request.HasField("resume_from"):
        return None
    given = request.resume_from
    x_t = wire.decode(given.x_t, "resume_from.x_t", "c t h w", store=store)
    history = (wire.decode(kept, "resume_from.history", "c t h w", store=store) for kept in given.history)
    sound = (wire.decode(kept, "resume_from.sound", "c t m", store=store) for kept in given.sound)
    return State(given.step, given.of, x_t, tuple(history), sound=tuple(sound))


async def _checkpoint(state: State, encode: Callable[[NDArray[np.float32]], Tensor]) -> Checkpoint:
    x_t, *others = [await asyncio.to_thread(encode, array) for array in (state.x_t, *state.history, *state.sound)]
    count = len(state.history)
    return Checkpoint(step=state.step, of=state.of, x_t=x_t, history=others[:count], sound=others[count:])


def _running(step: int, of: int, started: float) -> Progress:
    return Progress(phase=PHASE_RUNNING, step=step, of=of, seconds=time.monotonic() - started)
