from collections.abc import Iterator

import numpy as np
import pytest
import torch

from kino.media import Frames
from kino.models.upsampler import Upsampler, UpsamplerConfig
from kino.shapes import Size
from kino.upsampling import Plan, filled, upsample
from kino.weights import seeded_init
from training.data import to_pixels, to_signed
from training.objectives.upsampler import upsampled

CONFIG = UpsamplerConfig(
    (8, 12, 16), 1, start_noise=0.03, window_frames=3, overlap_frames=1, window_tokens=6, overlap_tokens=2
)


@pytest.fixture
def network() -> Upsampler:
    made = Upsampler(CONFIG).eval().requires_grad_(False)
    seeded_init(made)
    return made


def noise(frames: int, side: int) -> Frames:
    return np.random.default_rng(0).integers(0, 256, (frames, side, side, 3), dtype=np.uint8)


def test_what_is_over_is_cut_off_evenly() -> None:
    columns = torch.arange(16.0)[None, None, None, None, :].expand(1, 3, 1, 8, 16)
    square = filled(columns / 16, Size(16, 16))
    assert square.shape == (1, 3, 1, 16, 16)
    # Of columns 0 to 15, enlarged twice, the middle sixteen are left: those of columns 4 to 11.
    assert square[0, 0, 0, 8].mean().item() == pytest.approx(7.5 / 16, abs=1e-3)


def test_what_fits_one_window_comes_out_as_in_training(network: Upsampler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kino.upsampling.multiplies_bfloat16", lambda _: False)
    given, plan = noise(3, 24), Plan.of(CONFIG, 3, Size(96, 96), 4)
    assert plan.num_windows == 4
    pieces = upsample(network, iter(given), plan, seed=0)
    made = np.stack([piece.frame for piece in pieces if piece.frame is not None])
    large = filled(to_signed(given[None]), Size(96, 96))
    noises = torch.randn(3, 192, 12, 12, generator=torch.Generator().manual_seed(0))
    wanted = to_pixels(upsampled(network, large, 4, noises.transpose(0, 1)[None]))[0]
    assert np.abs(made.astype(int) - wanted).max() <= 1


def test_frames_come_in_a_stream(network: Upsampler) -> None:
    plan, asked = Plan.of(CONFIG, 40, Size(64, 64), 2), 0

    def frames() -> Iterator[Frames]:
        nonlocal asked
        for frame in noise(40, 16):
            asked += 1
            yield frame

    first = next(piece for piece in upsample(network, frames(), plan, seed=0) if piece.frame is not None)
    assert first.step < plan.num_windows / 4
    assert asked <= 8
