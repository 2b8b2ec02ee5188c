"""Adapters against the library's own pipeline with the same ones, and requests that must not see each other's."""

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kino.adapter_import import import_adapter
from kino.adapters import Chosen
from kino.denoising import State
from kino.registry import Registry
from services.generator.engine import Task
from services.generator.published import PublishedEngine
from tests import adapters, pipelines
from tests.pipelines import NEGATIVE, PROMPT
from tests.services import families
from tests.services.generator.test_published import GUIDANCE, SEED, SIZES, STEPS, engines, task

WEIGHTS = {"first": 0.7, "second": -1.3}
SETTINGS: dict[str, dict[str, Any]] = {
    "first": {},
    "second": {"r": 3, "lora_alpha": 2.5, "target_modules": ["to_k", "to_v"], "use_rslora": True},
}
PICTURE = (1, 16, 24)


@dataclass(frozen=True)
class Served:
    """An engine, an order for it without adapters, the adapters it may have, and the registry of all."""

    engine: PublishedEngine
    order: Task
    chosen: Mapping[str, Chosen]
    registry: Registry

    def under(self, *names: str, **changes: Any) -> Task:
        """The order with adapters of these names."""
        return replace(self.order, adapters=tuple(self.chosen[name] for name in names), **changes)

    def run(self, *names: str, **changes: Any) -> list[State]:
        """The states of the order with adapters of these names."""
        return list(self.engine.generate(self.under(*names, **changes)))


def serve(build: Callable[[], Any], size: tuple[int, int, int], root: Path, dtype: str = "") -> Served:
    """Import a pipeline and two adapters of it."""
    encoder, engine = engines(pipelines.save(build, root / "pipeline"), root / "models", dtype)
    registry, pipeline = Registry(root / "models"), pipelines.make(build)
    chosen = {}
    for seed, (name, weight) in enumerate(WEIGHTS.items()):
        folder = adapters.save(pipeline, root / name, seed, **SETTINGS[name])
        chosen[name] = Chosen(import_adapter(folder, registry, "tiny", name).manifest, weight)
    order = task(encoder.encode(PROMPT), encoder.encode(NEGATIVE), size)
    return Served(engine, order, chosen, registry)


def library(build: Callable[[], Any], size: tuple[int, int, int], root: Path, dtype: torch.dtype) -> Any:
    """Latents that the library's pipeline makes under the same adapters, in its own order of axes."""
    pipeline = type(pipelines.make(build)).from_pretrained(root / "pipeline", dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    adapt(pipeline, root)
    given: dict[str, Any] = {"height": size[1], "width": size[2], "num_inference_steps": STEPS}
    if type(pipeline).__name__ not in ("FluxPipeline", "HunyuanVideoPipeline"):
        given["negative_prompt"] = NEGATIVE
    if size[0] > 1:
        given["num_frames"] = size[0]
    random = torch.Generator().manual_seed(SEED)
    made = pipeline(PROMPT, guidance_scale=GUIDANCE, generator=random, output_type="latent", **given)[0]
    if type(pipeline).__name__ == "FluxPipeline":
        return pipeline._unpack_latents(made, size[1], size[2], pipeline.vae_scale_factor)[:, :, None]
    if type(pipeline).__name__ == "CogVideoXPipeline":
        return made.transpose(1, 2)
    if made.ndim == 3:
        ratio = pipeline.vae_spatial_compression_ratio
        frames = (size[0] - 1) // pipeline.vae_temporal_compression_ratio + 1
        return pipeline._unpack_latents(made, frames, size[1] // ratio, size[2] // ratio)
    return made


def adapt(pipeline: Any, root: Path) -> None:
    """Load both adapters into a pipeline of the library."""
    for name in WEIGHTS:
        pipeline.load_lora_weights(root / name, adapter_name=name, local_files_only=True)
    pipeline.set_adapters(list(WEIGHTS), list(WEIGHTS.values()))
    settle(pipeline.transformer)


def settle(network: torch.nn.Module) -> None:
    """Take weights out of the mapped file, whose offsets would decide the last bits of sums, as engines do."""
    for parameter in network.parameters():
        parameter.data = parameter.data.clone()


def last(states: list[State]) -> NDArray[np.float32]:
    return states[-1].x_t


@pytest.mark.parametrize("name", ["cogvideox", "flux", "hunyuan", "ltx", "mochi", "wan"])
def test_latents_under_two_adapters_are_the_librarys_own_bit_for_bit(name: str, tmp_path: Path) -> None:
    build, size = getattr(pipelines, name), SIZES.get(name, PICTURE)
    served = serve(build, size, tmp_path)
    made = last(served.run("first", "second"))
    np.testing.assert_array_equal(made, library(build, size, tmp_path, torch.float32)[0].numpy())
    for other in ((), ("first",), ("second",)):
        assert not np.array_equal(made, last(served.run(*other)))


@pytest.mark.parametrize("name", ["ltx2", "ltx2 from 2.3 on"])
def test_pictures_and_their_sound_under_two_adapters_are_the_librarys_own_bit_for_bit(
    name: str, tmp_path: Path
) -> None:
    case = families.CASES[name]
    served = serve(case.build, (case.frames, case.height, case.width), tmp_path)
    as_there = {"seed": families.SEED, "steps": families.STEPS}
    made = served.run("first", "second", **as_there)[-1]
    expected = families.library(case, partial(adapt, root=tmp_path))
    np.testing.assert_array_equal(made.x_t, expected.latents)
    np.testing.assert_array_equal(made.sound[0], expected.sound_latents)
    for other in ((), ("first",), ("second",)):
        state = served.run(*other, **as_there)[-1]
        assert not np.array_equal(made.x_t, state.x_t)
        assert not np.array_equal(made.sound[0], state.sound[0])


def test_in_bfloat16_too_they_are_the_librarys_own(tmp_path: Path) -> None:
    served = serve(pipelines.wan, SIZES["wan"], tmp_path, "bfloat16")
    expected = library(pipelines.wan, SIZES["wan"], tmp_path, torch.bfloat16)
    np.testing.assert_array_equal(last(served.run("first", "second")), expected[0].float().numpy())


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> Served:
    return serve(pipelines.wan, SIZES["wan"], tmp_path_factory.mktemp("adapters"))


def test_runs_that_take_turns_step_by_step_are_what_each_is_alone(wan: Served) -> None:
    orders = [(), ("first",), ("second",), ("second", "first")]
    alone = [wan.run(*names) for names in orders]
    assert len({last(states).tobytes() for states in alone}) == len(orders)
    runs: list[Iterator[State]] = [wan.engine.generate(wan.under(*names)) for names in orders]
    for step in range(STEPS):
        for run, states in zip(runs, alone, strict=True):
            np.testing.assert_array_equal(next(run).x_t, states[step].x_t)


def test_runs_in_two_threads_at_once_are_what_each_is_alone(wan: Served) -> None:
    alone = {name: last(wan.run(name)) for name in WEIGHTS}
    made: dict[str, list[NDArray[np.float32]]] = {name: [] for name in WEIGHTS}

    def run(name: str) -> None:
        made[name].extend(last(wan.run(name)) for _ in range(3))

    threads = [threading.Thread(target=run, args=(name,)) for name in WEIGHTS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for name, states in made.items():
        assert [np.array_equal(x_t, alone[name]) for x_t in states] == [True] * 3


def test_a_run_under_adapters_goes_on_from_any_step_bit_for_bit(wan: Served) -> None:
    whole = wan.run("first", "second")
    for done in range(1, STEPS):
        np.testing.assert_array_equal(last(wan.run("first", "second", start=whole[done - 1])), last(whole))
    assert not np.array_equal(last(wan.run("first", start=whole[0])), last(whole))


def test_an_adapter_that_is_imported_while_a_run_is_on_its_way_disturbs_nothing(wan: Served, tmp_path: Path) -> None:
    alone = last(wan.run("first"))
    run = wan.engine.generate(wan.under("first"))
    next(run)
    folder = adapters.save(pipelines.make(pipelines.wan), tmp_path / "third", seed=9)
    third = Chosen(import_adapter(folder, wan.registry, "tiny", "third").manifest, 1.0)
    other = wan.engine.generate(replace(wan.order, adapters=(third,)))
    between = [next(other)]
    *_, made = run
    np.testing.assert_array_equal(made.x_t, alone)
    between += list(other)
    np.testing.assert_array_equal(last(between), last(list(wan.engine.generate(replace(wan.order, adapters=(third,))))))
    assert not np.array_equal(last(between), alone)


def test_a_weight_of_nothing_changes_nothing_and_the_weight_counts(wan: Served) -> None:
    def under(weight: float) -> NDArray[np.float32]:
        return last(list(wan.engine.generate(replace(wan.order, adapters=(replace(first, weight=weight),)))))

    first = wan.chosen["first"]
    np.testing.assert_array_equal(under(0.0), last(wan.run()))
    np.testing.assert_array_equal(under(0.7), last(wan.run("first")))
    assert not np.array_equal(under(0.6), under(0.7))


def test_what_was_used_longest_ago_makes_room(wan: Served) -> None:
    first, second = (wan.chosen[name].manifest for name in WEIGHTS)
    held = wan.engine.adapters
    wan.run("first", "second")
    both = held.kept_bytes
    alone = last(wan.run("first"))
    before, held.max_bytes = held.max_bytes, int(4 * first.metrics["parameters"])
    try:
        run = wan.engine.generate(wan.under("first"))
        next(run)
        wan.run("second")
        assert 0 < held.kept_bytes <= held.max_bytes < both
        assert set(held._kept) == {second.digest}
        *_, made = run  # what a run has is its own until it ends
        np.testing.assert_array_equal(made.x_t, alone)
        wan.run("first")
        assert set(held._kept) == {first.digest}
        with pytest.raises(MemoryError, match="adapters take 0 MiB, this service has 0 MiB for them"):
            wan.engine.generate(wan.under("first", "second"))
    finally:
        held.max_bytes = before


def test_an_adapter_of_another_version_is_refused(wan: Served, tmp_path: Path) -> None:
    other = serve(lambda: pipelines.wan(transformer=pipelines.wan_transformer(ffn_dim=48)), SIZES["wan"], tmp_path)
    with pytest.raises(ValueError, match=r"adapters\[first\] is of another version, must be of [0-9a-f]{64}"):
        wan.engine.generate(replace(wan.order, adapters=(other.chosen["first"],)))


def test_each_of_two_experts_has_its_own(tmp_path: Path) -> None:
    folder = pipelines.save(pipelines.wan_experts, tmp_path / "pipeline")
    encoder, engine = engines(folder, tmp_path / "models", "")
    pipeline, registry = pipelines.make(pipelines.wan_experts), Registry(tmp_path / "models")
    saved = {name: adapters.save(pipeline, tmp_path / name, seed) for seed, name in enumerate(("high", "low"))}
    chosen = tuple(
        Chosen(import_adapter(saved[name], registry, "tiny", name, part).manifest, 1.0)
        for name, part in (("high", "transformer"), ("low", "transformer_2"))
    )
    order = task(encoder.encode(PROMPT), encoder.encode(NEGATIVE), SIZES["wan"], adapters=chosen)
    made = pipelines.make(pipelines.wan_experts)
    made.set_progress_bar_config(disable=True)
    made.load_lora_weights(saved["high"], adapter_name="high", local_files_only=True)
    made.load_lora_weights(saved["low"], adapter_name="low", local_files_only=True, load_into_transformer_2=True)
    settle(made.transformer)
    settle(made.transformer_2)
    frames, height, width = SIZES["wan"]
    expected = made(
        PROMPT, negative_prompt=NEGATIVE, num_frames=frames, height=height, width=width, num_inference_steps=STEPS,
        guidance_scale=GUIDANCE, generator=torch.Generator().manual_seed(SEED), output_type="latent",
    ).frames  # fmt: skip
    np.testing.assert_array_equal(last(list(engine.generate(order))), expected[0].numpy())
