import pytest
import torch
from torch import Tensor

from kino.models.upsampler import LATENT_CHANNELS, Level, Upsampler, UpsamplerConfig, cosines, enlarged

CONFIG = UpsamplerConfig((8, 12, 16), 1, window_frames=3, overlap_frames=1, window_tokens=6, overlap_tokens=2)


@pytest.fixture
def network() -> Upsampler:
    torch.manual_seed(0)
    made = Upsampler(CONFIG).eval().requires_grad_(False)
    made.latent_mean.normal_()
    made.latent_scale.uniform_(0.1, 2.0)
    return made


def trained(network: Upsampler) -> Upsampler:
    """The same with weights that are not zero where training begins at zero."""
    for name, weights in network.named_parameters():
        if name.endswith("weight") and not weights.any():
            torch.nn.init.normal_(weights, std=0.1)
    return network


def video(frames: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.rand(1, 3, frames, height, width, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def latents(frames: int, height: int, width: int, seed: int = 0) -> Tensor:
    return torch.randn(1, LATENT_CHANNELS, frames, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("length", [3, 8])
def test_the_cosine_transform_is_orthonormal_and_begins_with_the_mean(length: int) -> None:
    waves = cosines(length)
    torch.testing.assert_close(waves @ waves.T, torch.eye(length), atol=1e-6, rtol=0)
    torch.testing.assert_close(waves[0], torch.full((length,), length**-0.5))


def test_latents_lose_nothing(network: Upsampler) -> None:
    frames = video(3, 24, 40)
    assert network.encode(frames).shape == (1, 192, 3, 3, 5)
    torch.testing.assert_close(network.decode(network.encode(frames)), frames, atol=1e-5, rtol=0)


def test_a_grey_block_is_one_number() -> None:
    network = Upsampler(CONFIG)
    waves = network.encode(torch.full((1, 3, 1, 8, 8), 0.5))[0, :, 0, 0, 0]
    assert waves[0].item() == pytest.approx(0.5 * 192**0.5, rel=1e-6)
    assert waves[1:].abs().max() < 1e-6


def test_distances_of_unscaled_latents_are_those_of_pixels() -> None:
    network, one, other = Upsampler(CONFIG), video(2, 16, 16), video(2, 16, 16, seed=1)
    apart = (network.encode(one) - network.encode(other)).square().sum()
    torch.testing.assert_close(apart, (one - other).square().sum())


def test_an_untrained_network_answers_with_the_condition(network: Upsampler) -> None:
    condition = latents(2, 4, 6)
    x_t = latents(2, 4, 6, seed=1)
    torch.testing.assert_close(network(x_t, torch.tensor([0.3]), condition), condition, atol=0, rtol=0)


def test_state_time_and_condition_all_matter(network: Upsampler) -> None:
    trained(network)
    x_t, condition, t = latents(2, 4, 6), latents(2, 4, 6, seed=1), torch.tensor([0.3])
    made = network(x_t, t, condition) - condition
    assert not torch.allclose(made, network(x_t, torch.tensor([0.8]), condition) - condition)
    assert not torch.allclose(made, network(2 * x_t, t, condition) - condition)
    assert not torch.allclose(made, network(x_t + condition, t, 2 * condition) - 2 * condition)


def test_a_frame_is_told_by_its_neighbours_and_a_place_by_what_is_near(network: Upsampler) -> None:
    trained(network)
    t, condition = torch.tensor([0.5]), latents(13, 4, 48, seed=1)
    x_t, changed = latents(13, 4, 48), latents(13, 4, 48)
    changed[:, :, 6, 2, 24] += 1

    def moved() -> Tensor:
        apart: Tensor = network(changed, t, condition) - network(x_t, t, condition)
        return apart.abs().amax(dim=(0, 1)) > 1e-7

    assert moved().any(dim=(1, 2)).nonzero().flatten().tolist() == [6]
    first, last = network.down[1], network.up[1]
    assert isinstance(first, Level)
    assert first.time is not None
    assert isinstance(last, Level)
    assert last.time is not None
    first.time.data.normal_()
    assert moved().any(dim=(1, 2)).nonzero().flatten().tolist() == [5, 6, 7]
    last.time.data.normal_()
    assert moved().any(dim=(1, 2)).nonzero().flatten().tolist() == [4, 5, 6, 7, 8]
    near = moved().any(dim=(0, 1)).nonzero().flatten()
    assert 10 <= near[0] < 16
    assert 32 < near[-1] <= 38


def test_flat_places_stay_flat_and_faint_outlines_are_sharpened_like_strong_ones() -> None:
    torch.manual_seed(0)
    network = trained(Upsampler(CONFIG)).requires_grad_(False)
    condition, t = 0.3 * latents(1, 16, 16), torch.tensor([0.0])
    condition[:, :, :, :, 8:] = 0
    condition[:, ::64] -= condition[:, ::64].mean(dim=(3, 4), keepdim=True)

    def missing(contrast: float) -> Tensor:
        made: Tensor = network(contrast * condition, t, contrast * condition) - contrast * condition
        return made

    strong, faint = missing(1.0), missing(0.5)
    assert strong[..., 14:].abs().max() < 0.02 * strong[..., :8].abs().max()
    torch.testing.assert_close(faint[..., :6], 0.5 * strong[..., :6], atol=0.02 * strong.abs().max().item(), rtol=0)


def test_a_video_of_one_frame_repeats_it_before_and_after(network: Upsampler) -> None:
    trained(network)
    x_t, condition, t = latents(1, 4, 4), latents(1, 4, 4, seed=1), torch.tensor([0.5])
    still = network(x_t.repeat(1, 1, 3, 1, 1), t, condition.repeat(1, 1, 3, 1, 1))
    torch.testing.assert_close(still[:, :, :1], network(x_t, t, condition), atol=1e-4, rtol=0)


def test_enlarging_keeps_flat_colours_and_stays_within_bounds() -> None:
    flat = torch.full((2, 3, 4, 6, 10), 0.25)
    torch.testing.assert_close(enlarged(flat, 67, 111), torch.full((2, 3, 4, 67, 111), 0.25))
    edge = torch.ones(1, 3, 1, 8, 8)
    edge[..., :4] = -1
    assert enlarged(edge, 90, 90).abs().max() <= 1


def test_shrinking_averages_areas() -> None:
    board = torch.ones(1, 3, 1, 32, 32)
    board[..., ::2, ::2] = -1
    board[..., 1::2, 1::2] = -1
    assert enlarged(board, 8, 8)[..., 2:-2, 2:-2].abs().max() < 0.02
