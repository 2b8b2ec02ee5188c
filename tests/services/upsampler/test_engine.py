from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kino.media import UPSAMPLED_VIDEOS, Frames, write_video
from kino.multidiffusion import Axis
from kino.presets import PRESETS
from kino.registry import Registry
from kino.shapes import Size
from kino.upsampling import Piece, filled
from services.upsampler.engine import Task, UpsamplerEngine, Video

SIZE = Size(48, 64)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> UpsamplerEngine:
    return UpsamplerEngine("nano", "nano", Registry(tmp_path_factory.mktemp("models")))


def video(folder: Path, frames: Frames) -> Video:
    path = folder / "video.mkv"
    write_video(path, frames, Fraction(16), "ffv1")
    return Video(path, len(frames), frames.shape[1], frames.shape[2], UPSAMPLED_VIDEOS)


@pytest.fixture
def noisy(tmp_path: Path) -> Video:
    return video(tmp_path, np.random.default_rng(0).integers(0, 256, (5, 24, 32, 3), dtype=np.uint8))


def frames_of(pieces: list[Piece]) -> Frames:
    return np.stack([piece.frame for piece in pieces if piece.frame is not None])


def test_frames_come_out_as_many_as_went_in_and_every_window_is_counted(engine: UpsamplerEngine, noisy: Video) -> None:
    task = Task(noisy, seed=1, size=SIZE)
    pieces = list(engine.upsample(task))
    plan = engine.plan(task)
    assert frames_of(pieces).shape == (5, 48, 64, 3)
    # Two steps; two windows of three frames; one of three rows of tokens, and one of four columns.
    assert plan.num_windows == 2 * 2 * 1 * 1
    assert [piece.step for piece in pieces if piece.frame is None] == list(range(1, plan.num_windows + 1))


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(engine: UpsamplerEngine, noisy: Video) -> None:
    made = [frames_of(list(engine.upsample(Task(noisy, seed=seed, size=SIZE)))) for seed in (1, 1, 2)]
    assert np.array_equal(made[0], made[1])
    assert not np.array_equal(made[0], made[2])


def test_windows_of_space_leave_a_network_of_flat_pictures_as_it_is(engine: UpsamplerEngine, tmp_path: Path) -> None:
    flat = np.full((2, 32, 32, 3), (200, 90, 30), np.uint8)
    task = Task(video(tmp_path, flat), seed=0, size=Size(160, 160))
    assert len(engine.plan(task).space[0].spans) == 2
    made = frames_of(list(engine.upsample(task))).astype(int)
    assert np.abs(made - flat[0, 0, 0]).max() <= 40


def test_with_a_network_that_adds_nothing_the_enlarged_video_comes_out(engine: UpsamplerEngine, tmp_path: Path) -> None:
    plain = UpsamplerEngine("nano", "nano", Registry(tmp_path))
    for weights in plain.network.patch_out.parameters():
        torch.nn.init.zeros_(weights)
    ramp = np.linspace(0, 255, 32).astype(np.uint8)[None, None, :, None]
    given = np.broadcast_to(ramp, (3, 24, 32, 3)).copy()
    made = frames_of(list(plain.upsample(Task(video(tmp_path, given), seed=5, size=SIZE))))
    signed = torch.from_numpy(given).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    wanted = ((filled(signed, SIZE)[0] + 1) * 127.5).permute(1, 2, 3, 0).numpy()
    assert np.abs(made - wanted).max() <= 1


def test_a_video_of_one_frame_is_taken(engine: UpsamplerEngine, tmp_path: Path) -> None:
    still = video(tmp_path, np.zeros((1, 16, 16, 3), np.uint8))
    assert frames_of(list(engine.upsample(Task(still, seed=0, size=Size(32, 32))))).shape == (1, 32, 32, 3)


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        (96, 96, (1080, 1080)),
        (80, 128, (1080, 1728)),
        (128, 80, (1728, 1080)),
        (64, 144, (854, 1920)),
        (17, 33, (990, 1920)),
    ],
)
def test_full_hd_of_the_own_aspect_is_the_default(
    engine: UpsamplerEngine, noisy: Video, height: int, width: int, size: tuple[int, int]
) -> None:
    plan = engine.plan(Task(replace(noisy, height=height, width=width), seed=0))
    assert (plan.size.height, plan.size.width) == size


def test_windows_of_full_hd_cover_it_padded_to_whole_tokens(engine: UpsamplerEngine, noisy: Video) -> None:
    plan = engine.plan(Task(noisy, seed=0, size=Size(1080, 1920)))
    assert plan.latent_size == (136, 240)
    config = PRESETS["nano"].upsampler
    assert config is not None
    assert plan.time == Axis.of(5, config.window_frames, config.overlap_frames)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 1}, "video.height is 1, must be from 16 to 1920"),
        ({"width": 1921}, "video.width is 1921, must be from 16 to 1920"),
        ({"num_frames": 2049}, "video.frames is 2049, must be from 1 to 2048"),
        ({"height": 1080, "width": 1920}, "video is 1920x1080, must be smaller than the 1920x1080"),
        ({"height": 1200, "width": 1600}, "video is 1600x1200, must be smaller than the 1440x1080"),
    ],
)
def test_videos_beyond_the_bounds_are_refused(
    engine: UpsamplerEngine, noisy: Video, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        engine.upsample(Task(replace(noisy, **change), seed=0))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"steps": 0}, "steps is 0, must be from 1 to 50"),
        ({"size": Size(47, 64)}, "size.height is 47, must be even"),
        ({"size": Size(1440, 2560)}, "size is 2560x1440, must be within 1920x1080"),
        ({"size": Size(48, 32)}, "video is 32x24, must be smaller than the 32x48"),
    ],
)
def test_tasks_beyond_the_bounds_are_refused(
    engine: UpsamplerEngine, noisy: Video, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        engine.upsample(replace(Task(noisy, seed=0), **change))


def test_a_device_without_room_refuses_at_once(
    engine: UpsamplerEngine, noisy: Video, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kino.devices.free_bytes", lambda _: 1 << 20)
    with pytest.raises(MemoryError, match="a video of 1440x1080 takes about"):
        engine.upsample(Task(noisy, seed=0))


def test_a_preset_without_an_upsampler_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="preset is '1b', must be one whose upsampler is ours"):
        UpsamplerEngine("1b", "1b", Registry(tmp_path))
