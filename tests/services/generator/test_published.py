"""The engine of published transformers, and the numbers that published weights come in."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kino.denoising import Rows
from kino.families import DIT, FAMILIES, TOWERS
from kino.importing import import_pipeline
from kino.memory import step_bytes
from kino.registry import Registry
from kino.shapes import Grid
from services.encoder.families.table import TEXTS
from services.encoder.published import PublishedEncoder
from services.generator.engine import Task
from services.generator.families.denoiser import Order
from services.generator.families.table import DENOISERS
from services.generator.published import PublishedEngine
from tests import picture_pipelines, pipelines
from tests.pipelines import NEGATIVE, PROMPT
from tests.sound_pipelines import ltx2

SIZES = {
    "wan": (9, 32, 64), "ltx": (9, 32, 64), "hunyuan": (9, 16, 32), "hunyuan15": (5, 32, 32), "cogvideox": (9, 32, 48),
    "mochi": (7, 32, 48),
}  # fmt: skip
UNSAID = {"hunyuan": ("negative_prompt",), "hunyuan15": ("guidance_scale",)}
"""What the library's pipelines of a family are not told by their calls."""
STEPS, GUIDANCE, SEED = 3, 4.0, 5


def engines(folder: Path, models: Path, dtype: str) -> tuple[PublishedEncoder, PublishedEngine]:
    imported = import_pipeline(folder, Registry(models), "tiny", dtype)
    family, found = imported.pipeline.family, imported.versions
    encoder = PublishedEncoder(TEXTS[family], found[TOWERS], Registry(models))
    return encoder, PublishedEngine(DENOISERS[family], found[DIT], Registry(models))


def task(embeddings: Rows, unconditional: Rows, size: tuple[int, int, int], **changes: Any) -> Task:
    given: Mapping[str, Any] = {"seed": SEED, "steps": STEPS, "guidance": GUIDANCE} | changes
    return Task(embeddings, unconditional, *size, **given)


@pytest.mark.parametrize("name", SIZES)
def test_in_bfloat16_too_latents_are_the_librarys_own_and_resume(name: str, tmp_path: Path) -> None:
    folder, size = pipelines.save(getattr(pipelines, name), tmp_path / name), SIZES[name]
    encoder, engine = engines(folder, tmp_path / "models", "bfloat16")
    order = task(encoder.encode(PROMPT), encoder.encode(NEGATIVE), size)
    states = list(engine.generate(order))
    made = type(pipelines.make(getattr(pipelines, name))).from_pretrained(folder, dtype=torch.bfloat16)
    made.set_progress_bar_config(disable=True)
    said = {"negative_prompt": NEGATIVE, "guidance_scale": GUIDANCE}
    for option in UNSAID.get(name, ()):
        del said[option]
    expected = made(
        PROMPT, num_frames=size[0], height=size[1], width=size[2], num_inference_steps=STEPS,
        generator=torch.Generator().manual_seed(SEED), output_type="latent", **said,
    ).frames  # fmt: skip
    shape = states[-1].x_t.shape
    if expected.ndim == 3:
        expected = made._unpack_latents(expected, *shape[1:])
    if name == "cogvideox":
        expected = expected.transpose(1, 2)
    np.testing.assert_array_equal(states[-1].x_t, expected[0].float().numpy())
    for done in range(1, STEPS):
        rest = list(engine.generate(task(order.embeddings, order.unconditional, size, start=states[done - 1])))
        np.testing.assert_array_equal(rest[-1].x_t, states[-1].x_t)


@pytest.fixture(scope="module")
def wan(tmp_path_factory: pytest.TempPathFactory) -> tuple[PublishedEncoder, PublishedEngine]:
    root = tmp_path_factory.mktemp("wan")
    return engines(pipelines.save(pipelines.wan, root / "wan"), root / "models", "")


@pytest.mark.parametrize(
    ("changes", "size", "reason"),
    [
        ({"linear_steps": 50}, (9, 32, 64), "sampling.linear_steps is 50, must be left out"),
        ({"guidance": 31.0}, (9, 32, 64), "sampling.guidance is 31.0, must be from 1 to 30"),
        ({"steps": 0}, (9, 32, 64), "sampling.steps is 0, must be from 1 to 1000"),
        ({}, (9, 24, 64), "height is 24, must be a positive multiple of 16"),
        ({}, (242, 32, 64), "frames is 242, must be from 1 to 241"),
    ],
)
def test_what_the_model_does_not_take_is_refused(
    wan: tuple[PublishedEncoder, PublishedEngine], changes: dict[str, Any], size: tuple[int, int, int], reason: str
) -> None:
    encoder, engine = wan
    with pytest.raises(ValueError, match=reason):
        engine.generate(task(encoder.encode(PROMPT), encoder.encode(""), size, **changes))


def test_a_history_that_is_not_the_solvers_is_refused(wan: tuple[PublishedEncoder, PublishedEngine]) -> None:
    encoder, engine = wan
    given = encoder.encode(PROMPT), encoder.encode("")
    states = list(engine.generate(task(*given, SIZES["wan"])))
    broken = states[1]._replace(history=())
    with pytest.raises(ValueError, match=r"resume_from\.history is of 0 tensors, must be of 3"):
        next(engine.generate(task(*given, SIZES["wan"], start=broken)))


def test_a_run_that_nobody_waits_for_ends_after_its_step(wan: tuple[PublishedEncoder, PublishedEngine]) -> None:
    encoder, engine = wan
    calls: list[int] = []
    hook = engine.denoiser.network.register_forward_hook(lambda *_: calls.append(1))
    states = engine.generate(task(encoder.encode(PROMPT), encoder.encode(""), SIZES["wan"], steps=50))
    assert (next(states).step, next(states).step) == (1, 2)
    states.close()  # type: ignore[attr-defined]
    hook.remove()
    assert len(calls) == 4  # two texts for each of two steps


def test_what_cannot_fit_is_refused_before_it_begins(
    wan: tuple[PublishedEncoder, PublishedEngine], monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, engine = wan
    monkeypatch.setattr("kino.devices.free_bytes", lambda device: 1 << 20)
    with pytest.raises(MemoryError, match=r"a clip of 21 x 90 x 160 latents takes about .* MiB"):
        engine.generate(task(encoder.encode(PROMPT), encoder.encode(""), (81, 720, 1280)))


def test_every_family_that_makes_silent_videos_of_texts_is_tried_in_bfloat16() -> None:
    made = {name for name, row in FAMILIES.items() if any("text to video" in can for can in row.pipelines.values())}
    assert set(SIZES) == {name for name in made if FAMILIES[name].sound is None}


def test_a_picture_that_the_model_cannot_begin_with_is_refused(wan: tuple[PublishedEncoder, PublishedEngine]) -> None:
    encoder, engine = wan
    order = task(encoder.encode(PROMPT), encoder.encode(""), SIZES["wan"], picture=np.zeros((16, 3, 4, 8), np.float32))
    with pytest.raises(ValueError, match="latents is given, must be left out: the model begins with no picture"):
        engine.generate(order)
    with pytest.raises(ValueError, match="picture is given, must be left out: these encoders read texts alone"):
        encoder.encode(PROMPT, picture=np.zeros((32, 64, 3), np.uint8))


def test_a_picture_that_the_model_begins_with_is_asked_for(tmp_path: Path) -> None:
    folder = pipelines.save(picture_pipelines.wan, tmp_path / "wan")
    encoder, engine = engines(folder, tmp_path / "models", "")
    with pytest.raises(ValueError, match="picture is missing, must be given"):
        encoder.encode(PROMPT)
    rows = encoder.encode(PROMPT, picture=np.zeros((32, 64, 3), np.uint8))
    assert rows["vision"].shape == (5, 16)  # four patches and the whole
    with pytest.raises(ValueError, match="latents is missing, must be given: the model begins with a picture"):
        engine.generate(task(rows, rows, SIZES["wan"]))
    alone = np.zeros((16, 1, 4, 8), np.float32)
    reason = r"latents is float32 \[16, 1, 4, 8\], must be float32 \[16, 3, 4, 8\]"
    with pytest.raises(ValueError, match=reason):
        engine.generate(task(rows, rows, SIZES["wan"], picture=alone))


@pytest.mark.parametrize(
    ("build", "plainly", "with_picture"),
    [(pipelines.wan, False, False), (pipelines.wan_5b, True, True), (pipelines.ltx, False, True), (ltx2, False, True)],
)
def test_times_of_tokens_are_counted_where_the_network_is_told_them(
    build: Callable[[], Any], plainly: bool, with_picture: bool, tmp_path: Path
) -> None:
    encoder, engine = engines(pipelines.save(build, tmp_path / "pipeline"), tmp_path / "models", "")
    denoiser, text = engine.denoiser, {name: torch.from_numpy(rows)[None] for name, rows in encoder.encode("a").items()}
    order = Order([text], [], 1.0, Grid(2, 4, 8), 24.0, sound=(2, 8, 2) if build is ltx2 else ())
    of_picture = replace(order, picture=torch.zeros(1, *denoiser.picture_shape(order.grid)))
    for given, counted in ((order, plainly), (of_picture, with_picture)):
        heard = given.sound[1] if given.sound else 0
        rows = sum(part.shape[1] for part in text.values())
        extent = denoiser.extent(given.grid)
        bytes_of = partial(step_bytes, denoiser.network.config, extent, 1, rows, 4, heard)
        assert bytes_of(times_tokens=True) > bytes_of()
        assert denoiser.needed_bytes(given) == bytes_of(times_tokens=counted)
