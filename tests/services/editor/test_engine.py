from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kino import conditions, devices, flow
from kino.denoising import State
from kino.limits import EDITS
from kino.models.dit import DiT
from kino.presets import EDITOR_TASKS, PRESETS
from kino.registry import Registry
from kino.windows import merged
from services.editor.engine import EditorEngine, Task
from tests.services.generator.harness import rows


def latents(frames: int = 2, channels: int = 16) -> NDArray[np.float32]:
    return np.random.default_rng(7).standard_normal((channels, frames, 4, 6), np.float32)


TASK = Task("recolour", rows(1), rows(2), latents(), 9, seed=3, steps=5, linear_steps=50, guidance=3.0)


@pytest.fixture(scope="module")
def engine() -> EditorEngine:
    return EditorEngine("nano", "nano", Registry(Path("no-registry")))


def last(states: Iterator[State]) -> NDArray[np.float32]:
    *_, state = states
    return state.x_t


def velocity(network: DiT, task: Task, x: torch.Tensor, t: torch.Tensor, condition: torch.Tensor, told: bool) -> Any:
    words = task.embeddings if told else task.unconditional
    texts = {name: (torch.from_numpy(words[name])[None], torch.ones(1, len(words[name])).bool()) for name in words}
    number = torch.tensor([EDITOR_TASKS.index(task.task)])
    return network(torch.cat([x, condition], 1), t[None], texts, number)


@pytest.mark.parametrize("source_guidance", [1.0, 2.0])
@pytest.mark.parametrize("kind", ["style", "image"])
@torch.inference_mode()
def test_the_result_is_the_flow_beside_the_source(engine: EditorEngine, kind: str, source_guidance: float) -> None:
    task = replace(TASK, task=kind, source_guidance=source_guidance)
    if kind == "image":
        task = replace(task, latents=latents(1))
    source = torch.from_numpy(task.latents)[None]
    given = conditions.from_picture(source, 2) if kind == "image" else conditions.from_video(source)
    x_t = torch.randn(1, 16, 2, 4, 6, generator=torch.Generator().manual_seed(3))
    for now, then in pairwise(flow.linear_quadratic(5, 50)):
        nothing, untold, told = (
            velocity(engine.network, task, x_t, now, condition, words)
            for condition, words in ((torch.zeros_like(given), False), (given, False), (given, True))
        )
        v = nothing + source_guidance * (untold - nothing) + 3.0 * (told - untold)
        x_t = x_t + (then - now) * v
    np.testing.assert_allclose(last(engine.edit(task)), x_t[0].numpy(), atol=1e-4, rtol=1e-4)


def test_a_picture_is_kept_to_as_the_row_says_and_a_video_as_it_says_of_videos(
    engine: EditorEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(EDITS, "nano", replace(EDITS["nano"], picture_guidance=2.0))
    for task, own in ((TASK, 1.0), (replace(TASK, task="image", latents=latents(1)), 2.0)):
        told = last(engine.edit(replace(task, source_guidance=own)))
        np.testing.assert_array_equal(last(engine.edit(replace(task, source_guidance=None))), told)


@torch.inference_mode()
def test_a_long_video_is_edited_in_windows_of_the_trained_length(engine: EditorEngine) -> None:
    """Two latent frames are a window of nano; five of them take four windows, merged at every step."""
    task = replace(TASK, latents=latents(5), frames=40, guidance=1.0, steps=2, linear_steps=10)
    given = conditions.from_video(torch.from_numpy(task.latents)[None])
    x_t = torch.randn(1, 16, 5, 4, 6, generator=torch.Generator().manual_seed(3))
    for now, then in pairwise(flow.linear_quadratic(2, 10)):

        def of_window(x: torch.Tensor, starts: Any, now: torch.Tensor = now) -> torch.Tensor:
            condition = given[:, :, starts[0] : starts[0] + 2]
            v: torch.Tensor = velocity(engine.network, task, x, now, condition, told=True)
            return v

        x_t = x_t + (then - now) * merged(of_window, x_t, 2, 1)
    np.testing.assert_allclose(last(engine.edit(task)), x_t[0].numpy(), atol=1e-4, rtol=1e-4)


def test_a_film_of_a_picture_is_made_whole(engine: EditorEngine) -> None:
    seen: list[tuple[int, ...]] = []
    handle = engine.network.register_forward_hook(lambda _, inputs, __: seen.append(tuple(inputs[0].shape)))
    made = last(engine.edit(replace(TASK, task="image", latents=latents(1), frames=40, steps=1)))
    handle.remove()
    assert (made.shape, seen) == ((16, 5, 4, 6), [(2, 33, 5, 4, 6)])


@pytest.mark.parametrize("done", [1, 4])
def test_going_on_from_a_state_gives_the_bytes_of_the_undisturbed_run(engine: EditorEngine, done: int) -> None:
    undisturbed = [state.x_t.tobytes() for state in engine.edit(TASK)]
    *_, state = islice(engine.edit(TASK), done)
    assert [state.x_t.tobytes() for state in engine.edit(replace(TASK, start=state))] == undisturbed[done:]


def test_task_source_seed_and_words_decide_the_result(engine: EditorEngine) -> None:
    changes: list[dict[str, Any]] = [
        {},
        {"task": "remove"},
        {"latents": latents() + np.float32(0.1)},
        {"seed": 4},
        {"embeddings": rows(9)},
        {"source_guidance": 1.5},
    ]
    made = [last(engine.edit(replace(TASK, **change))).tobytes() for change in changes]
    assert len(set(made)) == len(changes)
    assert last(engine.edit(TASK)).tobytes() == made[0]


def test_without_any_guidance_the_unconditional_text_is_not_read(engine: EditorEngine) -> None:
    plain = last(engine.edit(replace(TASK, guidance=1.0, unconditional={})))
    assert last(engine.edit(replace(TASK, guidance=1.0))).tobytes() == plain.tobytes()


def test_what_is_left_open_is_the_presets(engine: EditorEngine) -> None:
    left_open = replace(TASK, steps=None, linear_steps=None, guidance=None)
    sampler = PRESETS["nano"].sampler
    said = replace(
        TASK, steps=sampler.steps, linear_steps=sampler.linear_steps, guidance=sampler.guidance, source_guidance=1.0
    )
    assert last(engine.edit(left_open)).tobytes() == last(engine.edit(said)).tobytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"task": "text"}, r"task is 'text', must be one of image, mark, recolour"),
        ({"frames": 0}, r"frames is 0, must be from 1 to 256"),
        ({"frames": 17}, r"latents is float32 \[16, 2, 4, 6\], must be float32 \[16, 3, 4, 6\]"),
        ({"task": "image"}, r"latents is float32 \[16, 2, 4, 6\], must be float32 \[16, 1, 4, 6\]"),
        ({"latents": latents(channels=3)}, r"latents is float32 \[3, 2, 4, 6\], must be float32 \[16, 2, 4, 6\]"),
        ({"latents": latents()[0]}, r"latents is float32 \[2, 4, 6\], must be float32 \[16 t h w\]"),
        ({"latents": latents()[:, :, :3]}, r"height is 24, must be a positive multiple of 16"),
        ({"latents": np.full_like(latents(), np.nan)}, r"latents is partly NaN or infinite, must be finite"),
        ({"latents": np.zeros((16, 2, 40, 40), np.float32)}, r"height is 320, must be from 1 to 112"),
        ({"source_guidance": 0.5}, r"source_guidance is 0.5, must be from 1 to 30"),
        ({"source_guidance": float("nan")}, r"source_guidance is nan, must be"),
        ({"steps": 0}, r"sampling.steps is 0, must be from 1 to 1000"),
        ({"seed": -1}, r"seed is -1, must be from 0"),
        ({"unconditional": {}}, r"unconditional is of no tower, must be one each of ul2, byt5, metaclip"),
        ({"start": State(2, 9, latents())}, r"resume_from.of is 9, must be the 5 steps of this request"),
    ],
)
def test_a_task_out_of_bounds_is_refused_before_anything_is_computed(
    engine: EditorEngine, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        engine.edit(replace(TASK, **changes))
    assert next(engine.edit(TASK)).step == 1


def test_a_task_beyond_the_memory_is_refused_and_a_longer_one_takes_no_more_than_a_window(
    engine: EditorEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr("services.editor.engine.reserve", lambda num_bytes, device, what: asked.append(num_bytes))
    for count in (2, 32):
        engine.edit(replace(TASK, latents=latents(count), frames=8 * count))
    assert asked[0] == asked[1]
    monkeypatch.undo()
    monkeypatch.setattr(devices, "free_bytes", lambda device: 1000)
    with pytest.raises(MemoryError, match="a clip of 12 tokens takes about"):
        engine.edit(TASK)
