"""How the workers of one start find each other in a store that also holds what workers of earlier starts wrote.

torchrun keeps one store through all restarts, and process groups look up each other's addresses there under fixed
names: a worker that is quicker than another reads the address of one that is gone, and waits for it
(https://github.com/pytorch/pytorch/issues/135712). So the workers first agree on a part of the store that is new.
"""

import hashlib
import time
import uuid
from datetime import timedelta

from torch._C._distributed_c10d import PrefixStore, Store

_LOOK_SECONDS = 0.05


def fresh_store(store: Store, rank: int, count: int, within: timedelta) -> Store:
    """Return a part of `store` in which nobody has written, the same one for all `count` workers of this start.

    Each worker gives itself a new name. The first collects the names; each that finds its own among them says so; when
    all have said so of the same names, no one of an earlier start is among them, and the first tells all.

    Raises:
        RuntimeError: not all agreed in time.
    """
    mine = uuid.uuid4().hex
    store.set(f"name/{rank}", mine)
    deadline = time.monotonic() + within.total_seconds()
    while time.monotonic() < deadline:
        if rank == 0:
            _collect(store, count)
        names = _read(store, "names")
        if mine in names.split():
            store.set(f"found/{rank}", names)
            if _read(store, "agreed") == names:
                return PrefixStore(hashlib.sha256(names.encode()).hexdigest(), store)
        time.sleep(_LOOK_SECONDS)
    raise RuntimeError(
        f"worker {rank} of {count} waited {within.total_seconds():g} s in vain for the others of its start"
    )


def _collect(store: Store, count: int) -> None:
    """Write who is here, and that they agreed once all have found themselves there."""
    names = " ".join(_read(store, f"name/{rank}") or "nobody" for rank in range(count))
    store.set("names", names)
    if all(_read(store, f"found/{rank}") == names for rank in range(count)):
        store.set("agreed", names)


def _read(store: Store, key: str) -> str:
    """Return a value, or nothing where there is none yet; `get` alone would wait for it."""
    return store.get(key).decode() if store.check([key]) else ""
