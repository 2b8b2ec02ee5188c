"""Memory that is too little: said before anything is loaded or computed, and when it ends on the way."""

from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch

from kino import wire
from kino.client_services import last
from kino.errors import ResourceExhaustedError, from_rpc_error
from kino.importing import import_pipeline
from kino.registry import Registry
from kino.v1.encoder_pb2 import Embedding
from kino.v1.generator_pb2 import GenerateRequest, GenerateResult, Sampling
from kino.v1.generator_pb2_grpc import GeneratorServiceStub
from tests import pipelines
from tests.services.conftest import Serve, Served

STEPS = 3


@pytest.fixture
def models(tmp_path: Path) -> Registry:
    registry = Registry(tmp_path / "models")
    import_pipeline(pipelines.save(pipelines.wan, tmp_path / "wan"), registry, "tiny")
    return registry


def ask(side: int = 32) -> GenerateRequest:
    rows = np.random.default_rng(0).standard_normal((4, 16), np.float32)
    text = [Embedding(tower="umt5", embeddings=wire.encode(rows))]
    sampling = Sampling(steps=STEPS, guidance=1.0)
    return GenerateRequest(embeddings=text, frames=5, height=side, width=side, seed=1, sampling=sampling)


async def generate(served: Served, request: GenerateRequest) -> GenerateResult:
    try:
        result: GenerateResult = await last(GeneratorServiceStub(served.channel).Generate(request), None)
    except grpc.RpcError as error:
        raise from_rpc_error(error) from None
    return result


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("DefaultCPUAllocator: can't allocate memory")]
)
async def test_memory_that_ends_on_the_way_ends_one_request_alone(
    serve: Serve, models: Registry, error: Exception
) -> None:
    served = await serve("generator", preset="mini", version="tiny")
    whole = await generate(served, ask())
    calls: list[int] = []

    def second_step_fails(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise error

    hook = served.servicer.engine.denoiser.network.blocks[1].register_forward_pre_hook(second_step_fails)
    with pytest.raises(ResourceExhaustedError, match="too big for the memory of the device") as raised:
        await generate(served, ask())
    assert raised.value.retry_after_seconds is None
    hook.remove()
    assert (await generate(served, ask())).latents == whole.latents


async def test_a_request_that_cannot_fit_is_told_what_it_takes_and_what_there_is(
    serve: Serve, models: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = await serve("generator", preset="mini", version="tiny")
    monkeypatch.setattr("kino.devices.free_bytes", lambda device: 1 << 20)
    with pytest.raises(ResourceExhaustedError, match=r"2 x 64 x 64 latents takes about 2 MiB, cpu has 1 MiB left"):
        await generate(served, ask(512))
    monkeypatch.undo()
    await generate(served, ask())


@pytest.mark.parametrize(("name", "part"), [("encoder", "text_encoder"), ("generator", "transformer"), ("tae", "vae")])
async def test_what_has_no_room_is_not_loaded(
    serve: Serve, models: Registry, monkeypatch: pytest.MonkeyPatch, name: str, part: str
) -> None:
    monkeypatch.setattr("kino.devices.free_bytes", lambda device: 10)
    monkeypatch.setattr("kino.parts.read_network", lambda *_: pytest.fail("was read"))
    with pytest.raises(MemoryError, match=rf"{part} in float32 takes about \d+ MiB, cpu has 0 MiB left"):
        await serve(name, preset="mini", version="tiny")
