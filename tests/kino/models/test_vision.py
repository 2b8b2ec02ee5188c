import pytest
import torch

from kino.models.vision import Vision, VisionConfig
from kino.presets import PRESETS


@pytest.fixture(scope="module")
def vision() -> Vision:
    torch.manual_seed(0)
    config = PRESETS["nano"].vision
    assert config is not None
    return Vision(config).eval().requires_grad_(False)


def test_a_frame_is_one_row_of_zero_mean_and_unit_deviation(vision: Vision) -> None:
    rows = vision(torch.rand(3, 3, 16, 16) * 2 - 1)
    assert rows.shape == (3, 16)
    torch.testing.assert_close(rows.mean(-1), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows.std(-1, unbiased=False), torch.ones(3), atol=1e-2, rtol=0)


def test_a_row_depends_on_its_frame_alone(vision: Vision) -> None:
    frames = torch.rand(4, 3, 16, 16) * 2 - 1
    torch.testing.assert_close(vision(frames)[2], vision(frames[2:3])[0], atol=1e-5, rtol=1e-5)
    changed = frames.clone()
    changed[0] = 0
    torch.testing.assert_close(vision(changed)[1:], vision(frames)[1:])


def test_frames_of_any_size_are_scaled_to_the_square(vision: Vision) -> None:
    plain = torch.full((1, 3, 40, 90), 0.25)
    torch.testing.assert_close(vision(plain), vision(torch.full((1, 3, 16, 16), 0.25)), atol=1e-5, rtol=0)


def test_the_side_must_halve_evenly() -> None:
    with pytest.raises(AssertionError):
        VisionConfig(20, (8, 16), 4)
