from pathlib import Path

import numpy as np
import pytest

from kino.media import write_video
from kino.models.upsampler import Upsampler, UpsamplerConfig
from kino.presets import PRESETS
from kino.registry import Registry
from kino.shapes import Size
from kino.upsampling import Plan
from training.published import open_upsampler
from training.upscaling import Pair, likeness, measure, real_pair, resized, seams
from training.world.render import render
from training.world.scene import sample

CONFIG = UpsamplerConfig(
    (8, 12, 16), 1, start_noise=0.03, window_frames=3, overlap_frames=1, window_tokens=6, overlap_tokens=2
)


def scene(frames: int = 2, side: int = 96) -> np.ndarray:
    return render(sample(0, 0, "held_out"), frames, side, side, 16)


def test_the_same_is_as_sharp_and_blur_is_less_sharp() -> None:
    true = scene()
    same = likeness(true, true)
    assert (same["ssim"], same["sharpness"]) == (1, 1)
    blurred = likeness(resized(resized(true, 24, 24), 96, 96), true)
    assert 15 < blurred["psnr"] < 40
    assert 0.3 < blurred["ssim"] < 1
    assert 0.1 < blurred["sharpness"] < 0.8


def test_noise_is_no_sharpness() -> None:
    true = scene().astype(float)
    noisy = (true + np.random.default_rng(0).normal(0, 20, true.shape)).clip(0, 255).astype(np.uint8)
    assert likeness(noisy, scene())["sharpness"] == pytest.approx(1, abs=0.1)


def test_a_step_at_the_borders_of_windows_is_a_seam() -> None:
    plan = Plan.of(CONFIG, 4, Size(160, 160), 1)
    rng = np.random.default_rng(0)
    even = rng.normal(0, 1, (4, 160, 160, 3))
    assert seams(even, even, plan)["seam"] == 1
    border = 8 * plan.space[1].spans[0].stop
    stepped = even.copy()
    stepped[:, :, border:] += 20
    assert seams(stepped, even, plan)["seam"] > 3
    assert seams(stepped, stepped, plan)["seam"] == 1  # what the pictures themselves show there is none


def test_a_network_that_adds_nothing_is_as_good_as_interpolation() -> None:
    network, true = Upsampler(CONFIG).eval(), scene(3)
    table = measure(network, Pair("averaged", resized(true, 24, 24), true), [1, 2])
    assert list(table) == ["bicubic", "1 steps", "2 steps"]
    for name, value in table["bicubic"].items():
        assert table["2 steps"][name] == pytest.approx(value, rel=0.01)


def test_a_real_video_is_cut_to_whole_eighths_and_made_small(tmp_path: Path) -> None:
    write_video(tmp_path / "clip.mkv", scene(5, 98), 16, "ffv1")
    pair = real_pair(tmp_path / "clip.mkv", 3)
    assert (pair.name, pair.true.shape, pair.small.shape) == ("clip.mkv", (3, 96, 96, 3), (3, 24, 24, 3))


def test_the_random_preset_is_opened_as_published(tmp_path: Path) -> None:
    assert open_upsampler("nano", Registry(tmp_path)).config == PRESETS["nano"].upsampler
