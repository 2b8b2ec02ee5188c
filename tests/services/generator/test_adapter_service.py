"""Adapters through the generator's service: of our own network, named by requests that share one process."""

import asyncio
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kino import wire
from kino.adapter_import import import_adapter
from kino.errors import FailedPreconditionError, InvalidArgumentError, ResourceExhaustedError
from kino.models.dit import DiT
from kino.presets import PRESETS
from kino.registry import Registry
from kino.v1.generator_pb2 import Adapter, GeneratorServiceDescribeRequest
from kino.v1.generator_pb2_grpc import GeneratorServiceStub
from kino.v1.info_pb2 import Info
from kino.weights import seeded_init
from tests import adapters
from tests.services.conftest import Served
from tests.services.generator.harness import events, request, result

TARGETS = ("qkv", "kv", "down", "patch_out")


def network() -> DiT:
    made = DiT(PRESETS["nano"].dit)
    seeded_init(made)
    return made


def publish(root: Path, name: str, seed: int) -> str:
    """Import a new adapter into the registry of a served generator, and return its digest."""
    folder = adapters.save_peft(network(), root / "adapters" / name, seed, TARGETS)
    return import_adapter(folder, Registry(root / "models"), "nano", name).manifest.digest


async def describe(served: Served) -> Info:
    answer = await GeneratorServiceStub(served.channel).Describe(GeneratorServiceDescribeRequest())
    info: Info = answer.info
    return info


async def test_an_adapter_adds_its_product_to_the_matrices(served: Served, tmp_path: Path) -> None:
    publish(tmp_path, "first", 1)
    made = await result(served, request(adapters=[Adapter(name="first", weight=0.5)]))
    plain = await result(served, request())
    changed = served.servicer.engine.network
    with torch.no_grad():
        held = adapters.numbered(_shapes(), 1)
        for name, layer in changed.named_modules():
            if isinstance(layer, nn.Linear) and name.endswith(TARGETS):
                down, up = (held[f"base_model.model.{name}.lora_{side}.weight"] for side in "AB")
                layer.weight += 0.5 * 8 / 4 * (up @ down)
    merged = await result(served, request())
    latents = [wire.decode(answer.latents, "latents", "c t h w") for answer in (made, merged, plain)]
    np.testing.assert_allclose(latents[0], latents[1], atol=1e-3)
    assert np.abs(latents[0] - latents[2]).max() > 0.1
    assert made.model_digest == plain.model_digest


def _shapes() -> dict[str, torch.Tensor]:
    layers = [(name, layer) for name, layer in network().named_modules() if isinstance(layer, nn.Linear)]
    return {
        f"base_model.model.{name}.lora_{side}.weight": torch.empty(shape)
        for name, layer in layers
        if name.endswith(TARGETS)
        for side, shape in (("A", (4, layer.in_features)), ("B", (layer.out_features, 4)))
    }


async def test_requests_at_once_are_what_each_is_alone_while_another_adapter_is_imported(
    served: Served, tmp_path: Path
) -> None:
    for seed, name in enumerate(("first", "second")):
        publish(tmp_path, name, seed)
    orders = [request(adapters=[Adapter(name=name)]) for name in ("first", "second")] + [request()]
    alone = [await result(served, order) for order in orders]
    assert len({answer.latents.data for answer in alone}) == len(orders)
    together = asyncio.gather(*(result(served, order) for order in orders * 3))
    digest = await asyncio.to_thread(publish, tmp_path, "third", 3)
    third = await result(served, request(adapters=[Adapter(name="third", digest=digest)]))
    for answer, expected in zip(await together, alone * 3, strict=True):
        assert answer.latents == expected.latents
    assert third.latents.data not in {answer.latents.data for answer in alone}


async def test_a_checkpoint_goes_on_under_the_same_adapters(served: Served, tmp_path: Path) -> None:
    publish(tmp_path, "first", 1)
    given = [Adapter(name="first", weight=-1)]
    seen = await events(served, request(adapters=given, checkpoint_every=2))
    checkpoint = next(event.checkpoint for event in seen if event.HasField("checkpoint"))
    resumed = await result(served, request(adapters=given, resume_from=checkpoint))
    assert resumed.latents == seen[-1].result.latents


async def test_the_generator_tells_its_adapters_as_soon_as_they_are_there(served: Served, tmp_path: Path) -> None:
    before = await describe(served)
    assert list(before.adapters) == []
    assert (before.limits.adapters.maximum, before.limits.adapter_weight.minimum) == (8, -4)
    digest = publish(tmp_path, "first", 1)
    assert [(adapter.name, adapter.digest) for adapter in (await describe(served)).adapters] == [("first", digest)]


async def test_what_the_model_has_not_is_refused(served: Served, tmp_path: Path) -> None:
    digest = publish(tmp_path, "first", 1)
    first = Adapter(name="first")
    refused = [
        ([Adapter(name="other")], r"adapters\[0\].name is 'other', must be one of first"),
        ([first, first], r"adapters\[1\].name is 'first', must be there once"),
        ([Adapter(name="first", weight=4.5)], r"adapters\[0\].weight is 4.5, must be from -4 to 4"),
        ([Adapter(name="first", weight=float("nan"))], r"adapters\[0\].weight is nan, must be from -4 to 4"),
        ([first] * 9, r"adapters is '9 adapters', must be at most 8"),
    ]
    for given, reason in refused:
        with pytest.raises(InvalidArgumentError, match=reason):
            await result(served, request(adapters=given))
    with pytest.raises(FailedPreconditionError, match=rf"adapters\[0\].digest is '0+', first is {digest} by now"):
        await result(served, request(adapters=[Adapter(name="first", digest="0" * 64)]))


async def test_an_adapter_of_another_version_is_refused_by_its_name(served: Served, tmp_path: Path) -> None:
    publish(tmp_path, "first", 1)
    engine = served.servicer.engine
    engine.manifest = replace(engine.manifest, version="other", config={})
    with pytest.raises(FailedPreconditionError, match=r"is 'first', which was made for the version .* is dit/other"):
        await result(served, request(adapters=[Adapter(name="first")]))


async def test_adapters_larger_than_the_room_for_them_are_refused_and_the_next_request_works(
    served: Served, tmp_path: Path
) -> None:
    publish(tmp_path, "first", 1)
    served.servicer.engine.adapters.max_bytes = 1000
    with pytest.raises(ResourceExhaustedError, match="adapters take 0 MiB, this service has 0 MiB for them"):
        await result(served, request(adapters=[Adapter(name="first")]))
    assert (await result(served, request())).latents.data
