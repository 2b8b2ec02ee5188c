"""Published models in less memory or time: what stays equal bit for bit, and how far the rest is from exact."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kino.execution import CACHE_STEPS, Execution
from kino.families import DIT, TOWERS
from kino.importing import import_pipeline
from kino.manifest import Manifest
from kino.registry import Registry
from services.encoder.families.table import TEXTS
from services.encoder.published import PublishedEncoder
from services.generator.engine import Task
from services.generator.families.table import DENOISERS, open_engine
from services.generator.published import PublishedEngine
from services.generator.shortcuts import Shortcuts
from tests import pipelines, sound_pipelines
from tests.pipelines import NEGATIVE, PROMPT

STEPS = 8
SIZES = {
    "wan": (9, 32, 64),
    "wan_experts": (9, 32, 64),
    "hunyuan": (9, 16, 32),
    "mochi": (7, 32, 48),
}


class Model:
    """An imported pipeline, and what it makes of one task."""

    def __init__(self, name: str, folder: Path) -> None:
        imported = import_pipeline(pipelines.save(getattr(pipelines, name), folder / name), Registry(folder), "tiny")
        self.registry, self.family, self.size = Registry(folder), imported.pipeline.family, SIZES[name]
        self.versions = imported.versions
        self.task = self.ask(self.encoder())

    def encoder(self, execution: Execution | None = None) -> PublishedEncoder:
        return PublishedEncoder(TEXTS[self.family], self.versions[TOWERS], self.registry, execution=execution)

    def engine(self, execution: Execution, device: str = "cpu") -> PublishedEngine:
        return PublishedEngine(DENOISERS[self.family], self.versions[DIT], self.registry, device, execution=execution)

    def ask(self, encoder: PublishedEncoder) -> Task:
        texts = encoder.encode(PROMPT), encoder.encode(NEGATIVE)
        return Task(*texts, *self.size, seed=5, steps=STEPS, guidance=4.0)

    def made(self, execution: Execution) -> NDArray[np.float32]:
        return list(self.engine(execution).generate(self.task))[-1].x_t


def loss_db(made: NDArray[np.float32], exact: NDArray[np.float32]) -> float:
    return 10 * math.log10(float(np.mean(exact**2) / np.mean((made - exact) ** 2)))


@pytest.mark.parametrize("offload", ["networks", "layers"])
@pytest.mark.parametrize("name", ["wan_experts", "mochi"])
def test_where_weights_lie_changes_no_bit(name: str, offload: str, tmp_path: Path) -> None:
    model = Model(name, tmp_path)
    np.testing.assert_array_equal(model.made(Execution(offload=offload)), model.made(Execution()))
    away = model.ask(model.encoder(Execution(offload=offload)))
    np.testing.assert_equal(away.embeddings, model.task.embeddings)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="moves weights between a GPU and its host")
@pytest.mark.parametrize("offload", ["networks", "layers"])
def test_what_does_not_compute_is_not_on_the_gpu(offload: str, tmp_path: Path) -> None:
    model = Model("wan_experts", tmp_path)
    engine = model.engine(Execution(offload=offload), "cuda")
    made = list(engine.generate(model.task))[-1].x_t
    np.testing.assert_array_equal(made, list(model.engine(Execution(), "cuda").generate(model.task))[-1].x_t)
    first, second = ({p.device.type for p in network.parameters()} for network in engine.denoiser.networks.values())
    assert first == {"cpu"}
    assert second == ({"cuda"} if offload == "networks" else {"cpu"})


@pytest.mark.parametrize(("weights", "least"), [("int8", 45.0), ("float8", 30.0)])
def test_matrices_of_8_bits_stay_near_and_take_a_quarter(weights: str, least: float, tmp_path: Path) -> None:
    model = Model("wan", tmp_path)
    assert loss_db(model.made(Execution(weights)), model.made(Execution())) > least
    exact, small = (model.encoder(Execution(kind)).texts.networks["text_encoder"] for kind in ("", weights))
    before, after = (network.encoder.block[0].layer[0].SelfAttention.q.weight for network in (exact, small))
    data = after.qdata
    assert (before.dtype.itemsize, data.dtype.itemsize) == (4, 1)
    assert data.shape == before.shape
    assert loss_db(after.dequantize().numpy(), before.numpy()) > least - 10


@pytest.mark.parametrize("name", ["wan", "mochi"])
def test_a_cached_run_is_near_and_resumes_where_it_begins_anew(name: str, tmp_path: Path) -> None:
    model = Model(name, tmp_path)
    engine, exact = model.engine(Execution(cache=0.2)), model.made(Execution())
    states = list(engine.generate(model.task))
    assert [state.step for state in states if state.resumes] == [CACHE_STEPS, STEPS]
    assert loss_db(states[-1].x_t, exact) > 20
    start = states[CACHE_STEPS - 1]
    resumed = list(engine.generate(Task(**{**vars(model.task), "start": start})))
    np.testing.assert_array_equal(resumed[-1].x_t, states[-1].x_t)
    np.testing.assert_array_equal(list(engine.generate(model.task))[-1].x_t, states[-1].x_t)


def test_a_cache_leaves_blocks_out_that_change_little(tmp_path: Path) -> None:
    model = Model("wan", tmp_path)
    counts = {}
    for cache in (1e-6, 1.0):
        engine = model.engine(Execution(cache=cache))
        calls: list[int] = []
        engine.denoiser.network.blocks[-1].ffn.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        list(engine.generate(model.task))
        counts[cache] = len(calls)
    assert counts == {1e-6: 2 * STEPS, 1.0: 2 * 2}  # both texts, in every step or where it begins anew


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (pipelines.ltx, "this LTXVideoTransformer3DModel has a single block"),
        (sound_pipelines.ltx2, "the blocks of LTX2VideoTransformer3DModel know none"),
    ],
)
def test_a_cache_is_refused_where_no_block_can_be_left_out(build: Callable[[], Any], reason: str) -> None:
    with pytest.raises(ValueError, match=rf"--cache is 0\.1, must be left out: {reason}"):
        Shortcuts([build().transformer], Execution(cache=0.1))


def test_compiled_blocks_are_asked_for_once_and_take_no_adapters(tmp_path: Path) -> None:
    model = Model("wan", tmp_path)
    engine = model.engine(Execution(compiled=True))
    assert all(block._compiled_call_impl is not None for block in engine.denoiser.network.blocks)
    with torch.compiler.set_stance("force_eager"):  # what the compiler makes of them is not ours, and takes minutes
        made = list(engine.generate(model.task))[-1].x_t
    np.testing.assert_array_equal(made, model.made(Execution()))
    chosen = type("Chosen", (), {"manifest": Manifest("adapter", "red", "", {})})
    with pytest.raises(ValueError, match="adapters is 'red', must be left out: the model is compiled"):
        engine.generate(Task(**{**vars(model.task), "adapters": (chosen(),)}))


def test_models_of_our_own_are_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="execution is weights in int8, must be left out"):
        open_engine("nano", "nano", Registry(tmp_path), "cpu", Execution("int8"), 0)
