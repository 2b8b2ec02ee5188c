import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kino import devices, flow
from kino.denoising import State
from kino.presets import PRESETS
from kino.registry import Registry
from services.generator.engine import GeneratorEngine, Task

TOWERS = PRESETS["nano"].towers


def rows(seed: int, **lengths: int) -> dict[str, NDArray[np.float32]]:
    """Embeddings of a text of so many tokens in each tower."""
    draw = np.random.default_rng(seed)
    counts = {"ul2": 5, "byt5": 3, "metaclip": 1} | lengths
    return {name: draw.standard_normal((counts[name], tower.width), np.float32) for name, tower in TOWERS.items()}


TASK = Task(
    rows(1), rows(2, ul2=2, byt5=0), frames=9, height=32, width=48, seed=3, steps=6, linear_steps=60, guidance=3.0
)


@pytest.fixture(scope="module")
def engine() -> GeneratorEngine:
    return GeneratorEngine("nano", "nano", Registry(Path("no-registry")))


def last(states: Iterator[State]) -> NDArray[np.float32]:
    *_, state = states
    return state.x_t


def test_every_step_is_counted_and_the_last_one_is_the_result(engine: GeneratorEngine) -> None:
    states = list(engine.generate(TASK))
    assert [(state.step, state.of) for state in states] == [(step, 6) for step in range(1, 7)]
    assert states[-1].x_t.shape == (16, 2, 4, 6)
    assert states[-1].x_t.dtype == np.float32


def test_the_result_is_the_flow_integrated_from_the_seeds_noise(engine: GeneratorEngine) -> None:
    texts = {
        name: [
            (torch.from_numpy(side[name])[None], torch.ones(1, len(side[name])).bool())
            for side in (rows(2, ul2=2, byt5=0), rows(1))
        ]
        for name in TOWERS
    }
    x_t = torch.randn(1, 16, 2, 4, 6, generator=torch.Generator().manual_seed(3))
    times = flow.linear_quadratic(6, 60)
    for now, then in pairwise(times):
        with torch.inference_mode():
            against, towards = (
                engine.network(x_t, now[None], {name: side[index] for name, side in texts.items()}) for index in (0, 1)
            )
        x_t = x_t + (then - now) * (against + 3.0 * (towards - against))
    np.testing.assert_allclose(last(engine.generate(TASK)), x_t[0].numpy(), atol=1e-4, rtol=1e-4)


def test_a_long_clip_is_the_mean_of_windows_as_long_as_the_network_was_trained_on(engine: GeneratorEngine) -> None:
    task = replace(TASK, frames=40, guidance=1.0, steps=1, linear_steps=1)
    reading = engine.network.read(
        {name: (torch.from_numpy(v)[None], torch.ones(1, len(v)).bool()) for name, v in rows(1).items()}
    )
    x_0 = torch.randn(1, 16, 5, 4, 6, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        first, second, third, last_two = (
            engine.network(x_0[:, :, i : i + 2], torch.zeros(1), reading) for i in range(4)
        )
    inner = [(a[:, :, 1] + b[:, :, 0]) / 2 for a, b in pairwise([first, second, third, last_two])]
    velocity = torch.stack([first[:, :, 0], *inner, last_two[:, :, 1]], dim=2)
    np.testing.assert_allclose(last(engine.generate(task)), (x_0 + velocity)[0].numpy(), atol=1e-5)


def test_the_same_task_gives_the_same_bytes_and_another_seed_others(engine: GeneratorEngine) -> None:
    first = last(engine.generate(TASK)).tobytes()
    assert last(engine.generate(TASK)).tobytes() == first
    assert (
        last(engine.generate(replace(TASK, embeddings=dict(reversed(list(TASK.embeddings.items())))))).tobytes()
        == first
    )
    assert last(engine.generate(replace(TASK, seed=4))).tobytes() != first


def test_a_task_does_not_depend_on_one_beside_it(engine: GeneratorEngine) -> None:
    other = replace(TASK, embeddings=rows(9, ul2=7), seed=8)
    alone = last(engine.generate(TASK)).tobytes()
    together = list(zip(engine.generate(TASK), engine.generate(other), strict=True))
    assert together[-1][0].x_t.tobytes() == alone


@pytest.mark.parametrize("done", [1, 3, 5])
def test_going_on_from_a_state_gives_the_bytes_of_the_undisturbed_run(engine: GeneratorEngine, done: int) -> None:
    undisturbed = [state.x_t.tobytes() for state in engine.generate(TASK)]
    *_, state = islice(engine.generate(TASK), done)
    resumed = list(engine.generate(replace(TASK, start=state)))
    assert [state.step for state in resumed] == list(range(done + 1, 7))
    assert [state.x_t.tobytes() for state in resumed] == undisturbed[done:]


def test_guidance_of_one_reads_no_unconditional_text(engine: GeneratorEngine) -> None:
    plain = last(engine.generate(replace(TASK, guidance=1.0, unconditional={})))
    assert last(engine.generate(replace(TASK, guidance=1.0))).tobytes() == plain.tobytes()
    assert not np.allclose(plain, last(engine.generate(TASK)), atol=1e-3)


def test_what_is_left_open_is_the_presets(engine: GeneratorEngine) -> None:
    sampler = PRESETS["nano"].sampler
    left_open = replace(TASK, steps=None, linear_steps=None, guidance=None)
    said = replace(TASK, steps=sampler.steps, linear_steps=sampler.linear_steps, guidance=sampler.guidance)
    assert last(engine.generate(left_open)).tobytes() == last(engine.generate(said)).tobytes()
    many = replace(TASK, steps=sampler.linear_steps + 1, linear_steps=None)
    assert next(engine.generate(many)).of == sampler.linear_steps + 1


@pytest.mark.parametrize(("frames", "shape"), [(1, (16, 1, 2, 2)), (256, (16, 32, 2, 2))])
def test_images_and_the_longest_clips_are_made(engine: GeneratorEngine, frames: int, shape: tuple[int, ...]) -> None:
    assert next(engine.generate(replace(TASK, frames=frames, height=16, width=16, steps=1))).x_t.shape == shape


def test_leaving_the_steps_ends_the_computation(engine: GeneratorEngine) -> None:
    computed: list[None] = []
    handle = engine.network.register_forward_hook(lambda *_: computed.append(None))
    states = engine.generate(TASK)
    assert len(computed) == 0
    next(states)
    next(states)
    del states
    handle.remove()
    assert len(computed) == 2


def state(step: int = 2, of: int = 6, shape: tuple[int, ...] = (16, 2, 4, 6), value: float = 0.0) -> State:
    return State(step, of, np.full(shape, value, np.float32))


def spoiled(tower: str, array: NDArray[Any]) -> dict[str, NDArray[Any]]:
    return rows(1) | {tower: array}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 0}, r"frames is 0, must be from 1 to 256"),
        ({"frames": -8}, r"frames is -8, must be from 1 to 256"),
        ({"frames": 257}, r"frames is 257, must be from 1 to 256"),
        ({"height": 40}, r"height is 40, must be a positive multiple of 16"),
        ({"width": 144}, r"width is 144, must be from 1 to 112"),
        ({"height": 96, "width": 64}, r"height is 96, must be at most 84 at a width of 64"),
        ({"seed": -1}, r"seed is -1, must be from 0 to 9.22337e\+18"),
        ({"seed": 2**63}, r"seed is 9223372036854775808, must be"),
        ({"steps": 0}, r"sampling.steps is 0, must be from 1 to 1000"),
        ({"steps": 1001, "linear_steps": 2000}, r"sampling.steps is 1001, must be from 1 to 1000"),
        ({"linear_steps": 5}, r"sampling.linear_steps is 5, must be from 6 to 10000"),
        ({"linear_steps": 10_001}, r"sampling.linear_steps is 10001, must be from 6 to 10000"),
        ({"guidance": 0.0}, r"sampling.guidance is 0.0, must be from 1 to 30"),
        ({"guidance": -2.0}, r"sampling.guidance is -2.0, must be"),
        ({"guidance": math.nan}, r"sampling.guidance is nan, must be"),
        ({"guidance": math.inf}, r"sampling.guidance is inf, must be"),
        ({"embeddings": {}}, r"embeddings is of no tower, must be one each of ul2, byt5, metaclip"),
        ({"unconditional": {"ul2": rows(1)["ul2"]}}, r"unconditional is of ul2, must be one each of"),
        (
            {"embeddings": spoiled("ul2", np.zeros((5, 31), np.float32))},
            r"embeddings\[ul2\].embeddings is float32 \[5, 31\]",
        ),
        ({"embeddings": spoiled("ul2", np.zeros((65, 32), np.float32))}, r"\[65, 32\], must be float32 \[64, 32\]"),
        ({"embeddings": spoiled("metaclip", np.zeros((2, 32), np.float32))}, r"must be float32 \[1, 32\]"),
        ({"embeddings": spoiled("byt5", np.zeros((3, 32), np.float64))}, r"is float64 \[3, 32\], must be float32"),
        ({"embeddings": spoiled("byt5", np.zeros((), np.float32))}, r"is float32 \[\], must be float32 \[32, 32\]"),
        (
            {"embeddings": spoiled("ul2", np.full((5, 32), np.nan, np.float32))},
            r"is partly NaN or infinite, must be finite",
        ),
        ({"start": state(step=0)}, r"resume_from.step is 0, must be from 1 to 5"),
        ({"start": state(step=6)}, r"resume_from.step is 6, must be from 1 to 5"),
        ({"start": state(of=7)}, r"resume_from.of is 7, must be the 6 steps of this request"),
        (
            {"start": state(shape=(16, 2, 4, 4))},
            r"resume_from.x_t is float32 \[16, 2, 4, 4\], must be float32 \[16, 2, 4, 6\]",
        ),
        ({"start": state(value=np.inf)}, r"resume_from.x_t is partly NaN or infinite, must be finite"),
    ],
)
def test_a_task_out_of_bounds_is_refused_before_anything_is_computed(
    engine: GeneratorEngine, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        engine.generate(replace(TASK, **changes))
    assert next(engine.generate(TASK)).step == 1


def test_a_task_beyond_the_memory_is_refused_with_figures(
    engine: GeneratorEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(devices, "free_bytes", lambda device: 1 << 16)
        with pytest.raises(MemoryError, match=r"a clip of 192 tokens takes about 0 MiB, cpu has 0 MiB left"):
            engine.generate(replace(TASK, frames=256, height=32, width=48))
    assert next(engine.generate(TASK)).step == 1


def test_weights_that_are_not_numbers_end_the_computation() -> None:
    engine = GeneratorEngine("nano", "nano", Registry(Path("no-registry")))
    engine.network.patch_out.weight.fill_(math.nan)
    with pytest.raises(FloatingPointError, match="the sample is not finite after step 1 of 6"):
        next(engine.generate(TASK))


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(ValueError, match="preset"):
        GeneratorEngine("huge", "huge", Registry(Path("no-registry")))
