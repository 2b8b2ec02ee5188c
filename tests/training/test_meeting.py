"""Workers agree on a new part of a store that workers of earlier starts have written into."""

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from torch._C._distributed_c10d import HashStore, Store

from training.meeting import fresh_store

WITHIN = timedelta(seconds=20)


def meet(store: Store, count: int = 3) -> list[Store]:
    with ThreadPoolExecutor(count) as pool:
        started = [pool.submit(fresh_store, store, rank, count, WITHIN) for rank in range(count)]
        return [each.result() for each in started]


def test_all_of_one_start_share_a_part() -> None:
    parts = meet(HashStore())
    parts[2].set("address", "here")
    assert [part.get("address") for part in parts] == [b"here"] * 3


def test_a_later_start_finds_nothing_of_an_earlier_one() -> None:
    store = HashStore()
    meet(store)[0].set("address", "of one that is gone")
    assert [part.check(["address"]) for part in meet(store)] == [False] * 3


def test_the_quick_wait_for_the_slow_though_the_store_knows_one_that_is_gone() -> None:
    store = HashStore()
    meet(store, count=2)
    quick = ThreadPoolExecutor(1).submit(fresh_store, store, 0, 2, WITHIN)
    time.sleep(0.5)
    assert not quick.done()
    slow = fresh_store(store, 1, 2, WITHIN)
    slow.set("address", "new")
    assert quick.result().get("address") == b"new"


@pytest.mark.parametrize("rank", [0, 1])
def test_who_comes_alone_is_told(rank: int) -> None:
    store = HashStore()
    meet(store, count=2)
    with pytest.raises(RuntimeError, match=f"worker {rank} of 2 waited 0.2 s in vain"):
        fresh_store(store, rank, 2, timedelta(seconds=0.2))
