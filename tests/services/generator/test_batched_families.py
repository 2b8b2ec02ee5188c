"""Every family with several clips in one batch: what shares a batch, and how far each clip is from itself alone."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from kino.denoising import State
from services.generator.engine import Task
from services.generator.published import PublishedEngine
from tests import pipelines
from tests.pipelines import NEGATIVE, PROMPT
from tests.services.families import CASES, STEPS, Case
from tests.services.generator.test_published import engines

PROMPTS = (PROMPT, "two dogs", "a long text of a fish that swims along a river at night")
NEAR = 1e-4
"""Most that a number of a clip may change by what shares its batch, in float32; latents spread about 1."""


def model(case: Case, folder: Path) -> tuple[PublishedEngine, list[Task]]:
    """The engine of a case, and tasks whose texts, pictures and seeds all differ."""
    encoder, engine = engines(pipelines.save(case.build, folder / "pipeline"), folder / "models", "")
    draw, tasks = np.random.default_rng(7), []
    for seed, prompt in enumerate(PROMPTS):
        shown = draw.integers(0, 256, case.picture.shape, np.uint8) if encoder.reads_pictures else None
        text, negative = (encoder.encode(text, picture=shown) for text in (prompt, NEGATIVE))
        task = Task(text, negative, case.frames, case.height, case.width, seed, STEPS, guidance=case.guidance)
        if case.begins:
            shape = engine.denoiser.picture_shape(engine.clips.grid(case.frames, case.height, case.width))
            task = replace(task, picture=draw.standard_normal(shape, np.float32))
        tasks.append(task)
    return engine, tasks


@contextmanager
def calls(engine: PublishedEngine) -> Iterator[list[int]]:
    """The batch of each call of the transformers meanwhile."""
    seen: list[int] = []
    hooks = [
        network.register_forward_pre_hook(
            lambda _, args, given: seen.append(len(given["hidden_states"])), with_kwargs=True
        )
        for network in engine.denoiser.networks.values()
    ]
    yield seen
    for hook in hooks:
        hook.remove()


def together(engine: PublishedEngine, tasks: list[Task]) -> list[list[State]]:
    """The states of each task in one batch."""
    runs = [engine.prepare(task) for task in tasks]
    assert len({run.key for run in runs}) == 1
    made: dict[object, list[State]] = {run: [] for run in runs}
    for outcomes in engine.sample(runs):
        for run, state in outcomes:
            assert isinstance(state, State)
            made[run].append(state)
    return list(made.values())


def assert_near(made: State, expected: State) -> None:
    for given, exact in zip((made.x_t, *made.sound), (expected.x_t, *expected.sound), strict=True):
        np.testing.assert_allclose(given, exact, atol=NEAR, rtol=NEAR)
        assert exact.std() > 0.1


@pytest.mark.parametrize("name", CASES)
def test_clips_of_one_batch_are_near_to_each_alone_and_go_on_alone(name: str, tmp_path: Path) -> None:
    engine, tasks = model(CASES[name], tmp_path)
    with calls(engine) as apart:
        alone = [list(engine.generate(task)) for task in tasks]
    with calls(engine) as shared:
        batch = together(engine, tasks)
    assert [3 * count for count in apart[: len(apart) // 3]] == shared  # as many calls as of one clip, of three each
    for made, expected in zip(batch, alone, strict=True):
        assert [state.step for state in made] == [1, 2, 3, 4]
        for state, exact in zip(made, expected, strict=True):
            assert_near(state, exact)
            assert len(state.history) == len(exact.history)
    assert not np.allclose(batch[0][-1].x_t, batch[1][-1].x_t, atol=0.1)
    *_, last = engine.generate(replace(tasks[1], start=batch[1][1]))
    assert_near(last, alone[1][-1])


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> tuple[PublishedEngine, list[Task]]:
    return model(CASES["wan"], tmp_path_factory.mktemp("wan"))


def test_clips_that_go_on_from_one_step_share_a_batch(wan: tuple[PublishedEngine, list[Task]]) -> None:
    engine, tasks = wan
    alone = [list(engine.generate(task)) for task in tasks]
    resumed = [replace(task, start=states[1]) for task, states in zip(tasks, alone, strict=True)]
    for made, expected in zip(together(engine, resumed), alone, strict=True):
        assert [state.step for state in made] == [3, 4]
        assert_near(made[-1], expected[-1])


@pytest.mark.parametrize(
    ("changes", "fits"),
    [
        ({"seed": 99}, True),
        ({"fps": 12.0}, True),  # which this network is not told
        ({"frames": 8}, True),  # whose latents are as many
        ({"frames": 5}, False),
        ({"height": 64, "width": 32}, False),
        ({"steps": 5}, False),
        ({"guidance": 3.0}, False),
        ({"guidance": 1.0}, False),
    ],
)
def test_only_clips_of_one_shape_share_a_batch(
    wan: tuple[PublishedEngine, list[Task]], changes: dict[str, float], fits: bool
) -> None:
    engine, (task, *_) = wan
    assert (engine.prepare(task).key == engine.prepare(replace(task, **changes)).key) == fits  # type: ignore[arg-type]


def test_a_frame_rate_keeps_those_apart_that_are_told_it(tmp_path: Path) -> None:
    engine, (task, *_) = model(CASES["ltx"], tmp_path)
    assert engine.prepare(replace(task, fps=12.0)).key != engine.prepare(task).key
    assert engine.prepare(replace(task, fps=25.0)).key == engine.prepare(replace(task, fps=25.0, seed=9)).key


def test_rows_that_a_network_does_not_tell_from_padding_keep_clips_apart(tmp_path: Path) -> None:
    engine, (task, *_) = model(CASES["flux"], tmp_path)
    fewer = dict(task.embeddings) | {"t5": task.embeddings["t5"][:-1]}
    assert engine.prepare(replace(task, embeddings=fewer)).key != engine.prepare(task).key


def test_where_memory_ends_in_a_batch_its_clips_go_on_in_parts(wan: tuple[PublishedEngine, list[Task]]) -> None:
    engine, tasks = wan
    alone = [list(engine.generate(task))[-1] for task in tasks]

    def refuse_three(_: object, args: object, given: dict[str, torch.Tensor]) -> None:
        if len(given["hidden_states"]) == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with calls(engine) as seen:
        hook = engine.denoiser.network.register_forward_pre_hook(refuse_three, with_kwargs=True)
        batch = together(engine, tasks)
        hook.remove()
    for made, expected in zip(batch, alone, strict=True):
        assert_near(made[-1], expected)
    assert seen == [3, *STEPS * [1, 1, 2, 2]]  # two texts of one clip, and of two


def test_as_many_fit_as_there_is_memory_for(
    wan: tuple[PublishedEngine, list[Task]], monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, (task, *_) = wan
    run = engine.prepare(task)
    for free, fits in ((3.5, 3), (1.0, 1), (0.5, 1)):
        monkeypatch.setattr("kino.devices.free_bytes", lambda _, free=free: int(free * run.num_bytes))
        assert engine.room(run) == fits
