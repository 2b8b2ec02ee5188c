import asyncio

import pytest
from google.protobuf.message import Message

from kino.store import Store
from kino.v1 import encoder_pb2, generator_pb2, info_pb2, progress_pb2, tae_pb2, tensor_pb2
from services.graph.cache import StageCache, stage_key
from services.graph.calls import CALLS
from services.graph.flights import Flights, Listener

GENERATE = CALLS["generate"]
INFO = info_pb2.Info(component="generator", version="1", digest="a" * 64, software="0.1.0", device="cpu")


def request(**fields: object) -> generator_pb2.GenerateRequest:
    return generator_pb2.GenerateRequest(**{"frames": 8, "height": 32, "width": 32, "seed": 7, **fields})  # type: ignore[arg-type]


def test_a_key_depends_on_what_decides_the_result_and_on_nothing_else() -> None:
    key = stage_key(GENERATE, request(), INFO)
    checkpoint = generator_pb2.Checkpoint(step=3, of=20)
    same = request(checkpoint_every=5, checkpoint_seconds=2, resume_from=checkpoint, delivery=tensor_pb2.DELIVERY_STORE)
    elsewhere = info_pb2.Info(component="generator", version="one", digest="a" * 64, software="0.1.0", device="cuda:0")
    assert stage_key(GENERATE, same, elsewhere) == key
    others = [
        stage_key(GENERATE, request(seed=8), INFO),
        stage_key(GENERATE, request(sampling=generator_pb2.Sampling(steps=20)), INFO),
        stage_key(GENERATE, request(), info_pb2.Info(digest="b" * 64, software="0.1.0")),
        stage_key(GENERATE, request(), info_pb2.Info(digest="a" * 64, software="0.2.0")),
        stage_key(GENERATE, request(), info_pb2.Info(digest="a" * 64, software="0.1.0", approximations=["compiled"])),
        stage_key(GENERATE, request(), INFO, salt="generation"),
        stage_key(CALLS["encode"], encoder_pb2.EncodeRequest(), INFO),
        stage_key(CALLS["tae_encode"], tae_pb2.TaeServiceEncodeRequest(), INFO),
    ]
    assert len({key, *others}) == len(others) + 1


def test_a_result_counts_only_while_all_it_names_is_there(store: Store) -> None:
    cache, key = StageCache(store), stage_key(GENERATE, request(), INFO)
    assert cache.load(key, GENERATE.result) is None
    uri = store.put(b"latents", "application/octet-stream").uri
    result = generator_pb2.GenerateResult(latents=tensor_pb2.Tensor(uri=uri), latent_space="space")
    cache.save(key, result)
    assert cache.load(key, GENERATE.result) == result
    store.delete(uri)
    assert cache.load(key, GENERATE.result) is None


def test_a_damaged_record_is_made_again(store: Store) -> None:
    store.records.write(f"stages/{'0' * 64}", b"\xff\xff")
    assert StageCache(store).load("0" * 64, GENERATE.result) is None


def test_only_the_last_checkpoint_is_kept(store: Store) -> None:
    cache, key = StageCache(store), "1" * 64
    made = [
        generator_pb2.Checkpoint(step=step, of=9, x_t=tensor_pb2.Tensor(uri=store.put(bytes([step]), "a/b").uri))
        for step in (3, 6)
    ]
    for checkpoint in made:
        cache.save_checkpoint(key, checkpoint)
    assert cache.load_checkpoint(key) == made[1]
    assert [artifact.uri for artifact in store.list()] == [made[1].x_t.uri]
    cache.save(key, generator_pb2.GenerateResult())
    assert cache.load_checkpoint(key) is None
    assert list(store.list()) == []


def test_a_result_that_is_the_last_checkpoint_stays(store: Store) -> None:
    cache, key = StageCache(store), "1" * 64
    x_t = tensor_pb2.Tensor(uri=store.put(b"steps that change nothing", "a/b").uri)
    cache.save_checkpoint(key, generator_pb2.Checkpoint(step=3, of=9, x_t=x_t))
    result = generator_pb2.GenerateResult(latents=x_t)
    cache.save(key, result)
    assert cache.load(key, GENERATE.result) == result
    assert cache.load_checkpoint(key) is None


def unheard(_: progress_pb2.Progress) -> None:
    """A listener that does not care."""


async def test_who_joins_late_hears_the_last_progress_and_gets_the_same_result() -> None:
    go, begun = asyncio.Event(), 0
    heard: list[int] = []

    async def work(tell: Listener) -> Message:
        nonlocal begun
        begun += 1
        tell(progress_pb2.Progress(step=4))
        await go.wait()
        tell(progress_pb2.Progress(step=5))
        return generator_pb2.GenerateResult(model_digest="made")

    flights: Flights[Message] = Flights()
    first = asyncio.create_task(flights.join("key", work, unheard))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    second = asyncio.create_task(flights.join("key", work, lambda progress: heard.append(progress.step)))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.sleep(0)
    go.set()
    assert await second == generator_pb2.GenerateResult(model_digest="made")
    assert (begun, heard) == (1, [4, 5])
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_the_work_stops_when_the_last_one_leaves() -> None:
    stopped = asyncio.Event()

    async def work(tell: Listener) -> Message:
        try:
            await asyncio.Event().wait()
        finally:
            stopped.set()
        raise AssertionError("nobody sets that event")

    flights: Flights[Message] = Flights()
    waiting = [asyncio.create_task(flights.join("key", work, unheard)) for _ in range(2)]
    await asyncio.sleep(0)
    waiting[0].cancel()
    await asyncio.sleep(0.01)
    assert not stopped.is_set()
    waiting[1].cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    assert stopped.is_set()
