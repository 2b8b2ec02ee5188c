from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kino import devices
from kino.flow import SIGMA_MIN
from kino.loudness import normalise
from kino.manifest import Manifest, Spaces
from kino.media import Frames, Limits, write_video
from kino.models.audio import Conditions
from kino.registry import Registry
from kino.shapes import audio_samples
from kino.weights import random_manifest
from services.audio import engine as engine_module
from services.audio.engine import AudioEngine, Made, Stage, Task, Video

SECOND = 48_000
WORDS = "a ball hits the ground"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> AudioEngine:
    return AudioEngine("nano", "nano", Registry(tmp_path_factory.mktemp("models")))


def frames(count: int, seed: int = 0) -> Frames:
    return np.random.default_rng(seed).integers(0, 256, (count, 16, 32, 3), np.uint8)


def task(samples: int = SECOND, **changes: Any) -> Task:
    given: dict[str, Any] = {"seed": 1, "description": WORDS}
    return Task(samples, **given | changes)


def film(folder: Path, num_frames: int, fps: Fraction | int = 16, seed: int = 0, **changes: Any) -> Task:
    path = folder / f"film{seed}.mkv"
    write_video(path, frames(num_frames, seed), fps, "ffv1")
    video = Video(path, num_frames, Fraction(fps), Limits(max_fps=1000, min_fps=Fraction(1, 10)))
    return Task(audio_samples(num_frames, Fraction(fps)), 1, video, **changes)


def made(engine: AudioEngine, task: Task) -> Made:
    *_, last = engine.generate(task)
    assert last.made is not None
    return last.made


@pytest.mark.parametrize(
    ("num_frames", "fps"),
    [(2, 16), (33, 16), (7, 24), (5, Fraction(30000, 1001)), (2, 1000), (37, 1000), (3, Fraction(1, 2))],
)
def test_the_sound_is_exactly_as_long_as_the_film(
    engine: AudioEngine, tmp_path: Path, num_frames: int, fps: int | Fraction
) -> None:
    given = film(tmp_path, num_frames, fps)
    result = made(engine, given)
    assert result.sound.shape == (round(num_frames / Fraction(fps) * SECOND),)
    assert result.figures.samples == given.samples
    assert np.isfinite(result.sound).all()


@pytest.mark.parametrize("samples", [1, 1919, 1920, 1921, SECOND, 2 * SECOND + 1])
def test_sound_of_words_is_as_long_as_asked(engine: AudioEngine, samples: int) -> None:
    assert made(engine, task(samples)).sound.shape == (samples,)


def test_the_work_is_counted_piece_by_piece(engine: AudioEngine, tmp_path: Path) -> None:
    """20 frames are 3 chunks, then 5 steps, one tile of sound and its level."""
    stages = list(engine.generate(film(tmp_path, 20, steps=5)))
    assert [(stage.step, stage.of) for stage in stages] == [(step, 10) for step in range(1, 11)]
    assert [stage.made is not None for stage in stages] == [False] * 9 + [True]


def test_the_same_task_gives_the_same_sound_and_another_seed_another(engine: AudioEngine) -> None:
    first, again, other = (made(engine, task(seed=seed)).sound for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


def test_tasks_that_run_in_turns_do_not_change_each_other(engine: AudioEngine) -> None:
    alone = [made(engine, task(seed=seed)).sound for seed in (1, 2)]
    runs: list[Iterator[Stage]] = [engine.generate(task(seed=seed)) for seed in (1, 2)]
    ends: list[Stage] = [stages[-1] for stages in zip(*map(list, map(iter, zip(*runs, strict=True))), strict=True)]
    for end, expected in zip(ends, alone, strict=True):
        assert end.made is not None
        np.testing.assert_array_equal(end.made.sound, expected)


def test_what_is_seen_said_and_played_all_change_the_sound(engine: AudioEngine, tmp_path: Path) -> None:
    tasks = [
        film(tmp_path, 16),
        film(tmp_path, 16, seed=3),
        film(tmp_path, 16, description=WORDS),
        film(tmp_path, 16, music="calm piano"),
        film(tmp_path, 16, description=WORDS, quality=2.0),
        task(),
    ]
    sounds = [made(engine, each).sound for each in tasks]
    for index, sound in enumerate(sounds):
        assert all(np.abs(sound - other).max() > 1e-3 for other in sounds[:index])


def test_without_guidance_only_the_conditions_are_asked(engine: AudioEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Conditions] = []
    forward = engine.network.forward

    def watched(x_t: torch.Tensor, t: torch.Tensor, conditions: Conditions) -> torch.Tensor:
        seen.append(conditions)
        return forward(x_t, t, conditions)

    monkeypatch.setattr(engine.network, "forward", watched)
    made(engine, task(guidance=1.0, steps=2))
    assert [(len(each.video), bool(each.text_mask.all())) for each in seen] == [(1, True)] * 2
    seen.clear()
    made(engine, task(guidance=3.0, steps=2))
    assert [each.text_mask.any(dim=1).tolist() for each in seen] == [[False, True]] * 2


def test_guidance_moves_away_from_nothing(engine: AudioEngine) -> None:
    """v = u + g (c - u), from one step of the flow, where x_1 = x_0 + v."""
    x = torch.randn(1, 8, 25, generator=torch.Generator().manual_seed(0))
    conditions = engine._conditions(task(), "a ball", None, 25)
    t = torch.zeros(1)
    u, c = (engine._guided(x, t, each, 1.0) for each in (conditions.dropped(), conditions))
    assert torch.allclose(engine._guided(x, t, conditions, 2.5), u + 2.5 * (c - u), atol=1e-6)


def test_windows_that_fit_are_one_window(engine: AudioEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """50 latents are nano's window: a sound of them is made as if there were no windows at all."""
    windowed = made(engine, task(50 * 1920)).sound
    monkeypatch.setattr(engine_module, "merged", lambda predict, x_t, window, at_once: predict(x_t, [0]))
    np.testing.assert_array_equal(made(engine, task(50 * 1920)).sound, windowed)


def test_a_minute_has_no_seams(engine: AudioEngine) -> None:
    """Where windows begin, neither the level nor the wave jumps more than from any other latent to the next."""
    parts = made(engine, task(60 * SECOND, steps=2)).sound.astype(np.float64).reshape(-1, 1920)
    levels = np.log(np.square(parts).mean(axis=1))
    for jumps in (np.abs(np.diff(levels)), np.abs(parts[1:, 0] - parts[:-1, -1])):
        at_borders = np.zeros(len(jumps), bool)
        at_borders[24::25] = True
        near, elsewhere = jumps[at_borders], jumps[~at_borders]
        assert near.mean() <= elsewhere.mean() + 3 * elsewhere.std() / len(near) ** 0.5


def test_the_sound_goes_on_from_what_is_given(engine: AudioEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The latents of the context come out as they went in, over windows too; what follows is made anew."""
    ends: list[torch.Tensor] = []
    decode = engine.codec.decode_tiled
    monkeypatch.setattr(engine.codec, "decode_tiled", lambda x: ends.append(x) or decode(x))  # type: ignore[func-returns-value]
    given = (np.random.default_rng(0).standard_normal(SECOND + 700) * 0.1).astype(np.float32)
    for samples in (2 * SECOND, 5 * SECOND):
        with_it, without = (made(engine, task(samples, context=each)) for each in (given, None))
        assert with_it.sound.shape == (samples,)
        known = engine.codec.encode(torch.from_numpy(normalise(given)[: 25 * 1920])[None])
        reached, free = ends[-2:]
        assert torch.allclose(reached[..., :25], known, atol=10 * SIGMA_MIN, rtol=0)
        assert (reached[..., 25:] - free[..., 25:]).abs().max() > 1e-3
        assert np.abs(with_it.sound - without.sound).max() > 0.01


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"samples": 0}, "samples is 0, must be from 1"),
        ({"samples": 601 * SECOND}, "samples is 28848000, must be from 1"),
        ({"seed": -1}, "seed is -1, must be"),
        ({"steps": 0}, "sampling.steps is 0, must be"),
        ({"steps": 8, "linear_steps": 7}, "sampling.linear_steps is 7, must be from 8"),
        ({"guidance": 0.5}, "sampling.guidance is 0.5, must be from 1"),
        ({"guidance": float("nan")}, "sampling.guidance is nan, must be"),
        ({"quality": 11.0}, "quality is 11.0, must be from 1 to 10"),
        ({"description": "", "quality": 5.0}, "quality is 5.0, must be left out where nothing is described"),
        ({"description": ""}, "description is '', must be given where there is neither a video nor music"),
        ({"context": np.zeros(1919, np.float32)}, "context is 1919 samples long, must be at least 1920"),
        ({"context": np.zeros(SECOND, np.float32)}, "context is 48000 samples long, must be at least 1920 and fewer"),
    ],
)
def test_what_is_out_of_bounds_is_refused(engine: AudioEngine, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        engine.generate(task(**changes))
    assert made(engine, task()).sound.shape == (SECOND,)


def test_what_the_device_cannot_hold_is_refused(engine: AudioEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "free_bytes", lambda device: 1000)
    with pytest.raises(MemoryError, match="a sound of 48000 samples takes about"):
        engine.generate(task())


def test_latents_that_are_not_finite_end_the_task(engine: AudioEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine.network, "forward", lambda x_t, t, conditions: x_t * torch.inf)
    with pytest.raises(FloatingPointError, match="not finite after step 1 of 4"):
        made(engine, task())


def test_a_codec_that_makes_silence_gives_silence_and_says_so(
    engine: AudioEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine.codec, "decode_raw", lambda latents: torch.zeros(1, latents.shape[-1] * 1920))
    result = made(engine, task())
    assert result.figures.silent
    assert not result.sound.any()


def test_parts_of_another_training_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def other(component: str, preset: str) -> Manifest:
        manifest = random_manifest(component, preset)
        spaces = Spaces("f" * 64, manifest.spaces.text, manifest.spaces.vision)
        return Manifest(component, preset, preset, manifest.config, spaces=spaces)

    monkeypatch.setattr(
        "kino.weights.random_manifest", lambda c, p: other(c, p) if c == "audio" else random_manifest(c, p)
    )
    with pytest.raises(ValueError, match=r"codec is nano, must be another version: .* digest ffffffffffff"):
        AudioEngine("nano", "nano", Registry(tmp_path))


def test_a_row_of_sizes_without_parts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="preset is '1b', must be one whose vision encoder and text tower are ours"):
        AudioEngine("1b", "1b", Registry(tmp_path))
