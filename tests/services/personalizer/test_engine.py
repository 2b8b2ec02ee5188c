from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kino import flow
from kino.denoising import State
from kino.models.identity import cut
from kino.presets import PRESETS
from kino.registry import Registry
from services.personalizer.engine import PersonalizerEngine, Task
from tests.people import picture

TOWERS = PRESETS["nano"].towers


def rows(seed: int, **lengths: int) -> dict[str, NDArray[np.float32]]:
    """Embeddings of a text of so many tokens in each tower."""
    draw = np.random.default_rng(seed)
    counts = {"ul2": 5, "byt5": 3, "metaclip": 1} | lengths
    return {name: draw.standard_normal((counts[name], tower.width), np.float32) for name, tower in TOWERS.items()}


def person(seed: int) -> NDArray[np.float32]:
    """Tokens of somebody."""
    return np.random.default_rng(seed).standard_normal((2, 8), np.float32)


TASK = Task(
    rows(1), rows(2, ul2=2, byt5=0), person(3), frames=9, height=32, width=48, seed=3, steps=6, linear_steps=60,
    guidance=3.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def engine() -> PersonalizerEngine:
    return PersonalizerEngine("nano", "nano", Registry(Path("no-registry")))


def last(states: Iterator[State]) -> NDArray[np.float32]:
    *_, state = states
    return state.x_t


def test_the_tokens_are_those_of_the_face_that_is_found(engine: PersonalizerEngine) -> None:
    pixels = picture(1)
    found = engine.identify(pixels)
    signed = torch.from_numpy(pixels).permute(2, 0, 1).float() / 127.5 - 1
    (face,) = engine.encoder.find(signed)
    assert found.face == face
    square = cut(signed, face.x, face.y, face.reach, engine.encoder.config.size)
    torch.testing.assert_close(torch.from_numpy(found.tokens), engine.encoder.tokens(square[None])[0])
    assert found.tokens.shape == (2, 8)


def test_a_picture_of_nobody_or_of_two_is_refused(engine: PersonalizerEngine) -> None:
    with pytest.raises(ValueError, match=r"^image is a picture of nobody that is known, must be one of one person of"):
        engine.identify(picture(0))
    with pytest.raises(ValueError, match=r"^image is a picture of 2 people, must be one of one person$"):
        engine.identify(picture(2))


def test_a_single_pixel_is_no_picture_of_one_person(engine: PersonalizerEngine) -> None:
    with pytest.raises(ValueError, match=r"^image is a picture of"):
        engine.identify(np.zeros((1, 1, 3), np.uint8))


def test_the_result_is_the_flow_guided_by_text_and_person_together(engine: PersonalizerEngine) -> None:
    texts = {
        name: [
            (torch.from_numpy(side[name])[None], torch.ones(1, len(side[name])).bool())
            for side in (rows(2, ul2=2, byt5=0), rows(1))
        ]
        for name in TOWERS
    }
    tokens = torch.from_numpy(person(3))[None]
    texts["identity"] = [(tokens, torch.zeros(1, 2).bool()), (tokens, torch.ones(1, 2).bool())]
    x_t = torch.randn(1, 16, 2, 4, 6, generator=torch.Generator().manual_seed(3))
    for now, then in pairwise(flow.linear_quadratic(6, 60)):
        with torch.inference_mode():
            against, towards = (
                engine.network(x_t, now[None], {name: side[index] for name, side in texts.items()}) for index in (0, 1)
            )
        x_t = x_t + (then - now) * (against + 3.0 * (towards - against))
    np.testing.assert_allclose(last(engine.generate(TASK)), x_t[0].numpy(), atol=1e-4, rtol=1e-4)


def test_two_people_side_by_side_never_mix(engine: PersonalizerEngine) -> None:
    other = replace(TASK, identity=person(4))
    alone = [last(engine.generate(task)).tobytes() for task in (TASK, other)]
    assert alone[0] != alone[1]
    together = list(zip(engine.generate(TASK), engine.generate(other), strict=True))[-1]
    assert [state.x_t.tobytes() for state in together] == alone
    apart = list(zip(engine.generate(other), engine.generate(TASK), strict=True))[-1]
    assert [state.x_t.tobytes() for state in apart] == alone[::-1]


@pytest.mark.parametrize("done", [1, 3, 5])
def test_going_on_from_a_state_gives_the_bytes_of_the_undisturbed_run(engine: PersonalizerEngine, done: int) -> None:
    undisturbed = [state.x_t.tobytes() for state in engine.generate(TASK)]
    *_, state = islice(engine.generate(TASK), done)
    resumed = list(engine.generate(replace(TASK, start=state)))
    assert [state.x_t.tobytes() for state in resumed] == undisturbed[done:]


def test_guidance_of_one_reads_no_unconditional_text(engine: PersonalizerEngine) -> None:
    plain = last(engine.generate(replace(TASK, guidance=1.0, unconditional={})))
    assert last(engine.generate(replace(TASK, guidance=1.0))).tobytes() == plain.tobytes()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"identity": np.zeros((2, 7), np.float32)}, r"identity is float32 \[2, 7\], must be float32 \[2, 8\]"),
        ({"identity": np.zeros((1, 8), np.float32)}, r"identity is float32 \[1, 8\], must be float32 \[2, 8\]"),
        ({"identity": np.full((2, 8), np.nan, np.float32)}, r"is partly NaN or infinite, must be finite"),
        ({"embeddings": {}}, r"embeddings is of no tower, must be one each of ul2, byt5, metaclip"),
        ({"frames": 0}, r"frames is 0, must be from 1 to 256"),
        ({"height": 40}, r"height is 40, must be a positive multiple of 16"),
        ({"seed": -1}, r"seed is -1, must be"),
        ({"steps": 0}, r"sampling.steps is 0, must be from 1 to 1000"),
    ],
)
def test_a_task_out_of_bounds_is_refused_before_anything_is_computed(
    engine: PersonalizerEngine, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        engine.generate(replace(TASK, **changes))
    assert next(engine.generate(TASK)).step == 1
