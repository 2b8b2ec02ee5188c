"""Requests to a generator of random weights, and what it answers."""

from typing import Any

import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray

from kino import wire
from kino.errors import from_rpc_error
from kino.presets import PRESETS
from kino.v1.encoder_pb2 import Embedding
from kino.v1.generator_pb2 import GenerateRequest, GenerateResponse, GenerateResult, Sampling
from kino.v1.generator_pb2_grpc import GeneratorServiceStub
from tests.services.conftest import Served

PRESET = PRESETS["nano"]
LENGTHS = {"ul2": 5, "byt5": 0, "metaclip": 1}


def rows(seed: int) -> dict[str, NDArray[np.float32]]:
    draw = np.random.default_rng(seed)
    return {name: draw.standard_normal((LENGTHS[name], PRESET.towers[name].width), np.float32) for name in LENGTHS}


def embeddings(seed: int) -> list[Embedding]:
    return [Embedding(tower=name, embeddings=wire.encode(array)) for name, array in rows(seed).items()]


def request(**changes: Any) -> GenerateRequest:
    given: dict[str, Any] = {
        "embeddings": embeddings(1),
        "unconditional": embeddings(2),
        "frames": 9,
        "height": 32,
        "width": 48,
        "seed": 3,
        "sampling": Sampling(steps=6, linear_steps=60, guidance=3.0),
    }
    return GenerateRequest(**given | changes)


async def events(served: Served, request: GenerateRequest, timeout: float | None = None) -> list[GenerateResponse]:
    try:
        return [event async for event in GeneratorServiceStub(served.channel).Generate(request, timeout=timeout)]
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error


async def result(served: Served, request: GenerateRequest) -> GenerateResult:
    return (await events(served, request))[-1].result
