from pathlib import Path

import numpy as np
import pytest
import torch

from kino.media import write_video
from kino.models.tae import TAE
from kino.presets import PRESETS
from kino.shapes import Size
from training.fidelity import fidelity, real_clip, resized, size_of_area


@pytest.mark.parametrize(
    ("height", "width", "expected"), [(272, 640, (64, 144)), (96, 96, (96, 96)), (9, 900, (16, 960))]
)
def test_a_clip_keeps_its_ratio_as_well_as_sixteens_can(height: int, width: int, expected: tuple[int, int]) -> None:
    assert size_of_area(height, width, 96) == Size(*expected)


def test_a_shrunk_frame_keeps_its_mean() -> None:
    frame = np.tile(np.array([[0, 200], [200, 0]], np.uint8), (32, 32))[..., None].repeat(3, axis=-1)
    assert abs(float(resized(frame, Size(16, 16)).mean()) - 100) < 1


def test_a_real_clip_is_read_at_the_rate_and_size_of_the_model(tmp_path: Path) -> None:
    frames = np.arange(20, dtype=np.uint8)[:, None, None, None] * np.full((20, 64, 64, 3), 10, np.uint8)
    write_video(tmp_path / "clip.mkv", frames, 32, "ffv1")
    clip = real_clip(tmp_path / "clip.mkv", 32, 16, 8)
    assert clip.shape == (8, 32, 32, 3)
    assert clip[:, 0, 0, 0].tolist() == [0, 20, 40, 60, 80, 100, 120, 140]


def test_what_comes_back_is_measured_against_what_went_in() -> None:
    torch.manual_seed(0)
    tae = TAE(PRESETS["nano"].tae).eval()
    figures = fidelity(tae, np.random.default_rng(0).integers(0, 255, (40, 32, 32, 3), np.uint8))
    assert 0 < figures["psnr"] < 15
    assert abs(figures["ssim"]) < 0.3
    assert figures["tiled_difference"] >= 0
