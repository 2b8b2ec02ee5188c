from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kino.models.tae import TAE, Conv, TaeConfig, blend
from kino.presets import PRESETS

UNPATCHED = TaeConfig(16, (8, 8, 8, 8), encoder_blocks=1, decoder_blocks=1, attention=True)
CONFIGS = {
    "nano": PRESETS["nano"].tae,
    "without attention": replace(PRESETS["nano"].tae, attention=False),
    "unpatched": UNPATCHED,
}


def clip(frames: int, batch: int = 1, seed: int = 0) -> Tensor:
    return torch.rand(batch, 3, frames, 16, 32, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def grid(frames: int, batch: int = 1, seed: int = 0) -> Tensor:
    return torch.randn(batch, 16, frames, 2, 4, generator=torch.Generator().manual_seed(seed))


def untrained(config: TaeConfig) -> TAE:
    torch.manual_seed(0)
    return TAE(config).eval().requires_grad_(False)


def trained(config: TaeConfig) -> TAE:
    """A network whose temporal weights are no longer what they start as."""
    tae = untrained(config)
    for name, parameter in tae.named_parameters():
        if "time" in name and parameter.ndim > 1:
            parameter.add_(torch.randn(parameter.shape) * 0.1)
    tae.latent_mean.normal_()
    tae.latent_std.uniform_(0.5, 2.0)
    return tae


@pytest.fixture(scope="module", params=CONFIGS)
def tae(request: pytest.FixtureRequest) -> TAE:
    return trained(CONFIGS[request.param])


@pytest.mark.parametrize("frames", [*range(1, 34), 40, 41])
def test_any_number_of_frames_goes_in_and_comes_out(frames: int) -> None:
    tae = trained(CONFIGS["nano"])
    latents = tae.encode(clip(frames))
    assert latents.shape == (1, 16, -(-frames // 8), 2, 4)
    assert tae.decode(latents, frames).shape == (1, 3, frames, 16, 32)
    pieces = list(tae.decode_tiled(latents, frames))
    assert torch.cat(pieces, dim=2).shape == (1, 3, frames, 16, 32)


def test_an_image_is_a_clip_that_stands_still(tae: TAE) -> None:
    still = clip(1).expand(-1, -1, 8, -1, -1)
    torch.testing.assert_close(tae.encode(clip(1)), tae.encode(still), atol=1e-5, rtol=1e-5)


def test_an_untrained_network_encodes_every_eighth_frame_as_an_image() -> None:
    tae, video = untrained(UNPATCHED), clip(24)
    images = torch.cat([tae.encode(video[:, :, [frame]]) for frame in (0, 8, 16)], dim=2)
    torch.testing.assert_close(tae.encode(video), images, atol=1e-5, rtol=1e-5)


def test_an_untrained_network_decodes_every_latent_frame_as_an_image_eight_times() -> None:
    tae, latents = untrained(UNPATCHED), grid(3)
    images = [tae.decode(latents[:, :, [frame]], 1).expand(-1, -1, 8, -1, -1) for frame in range(3)]
    torch.testing.assert_close(tae.decode(latents, 24), torch.cat(images, dim=2), atol=1e-5, rtol=1e-5)


def test_time_convolutions_start_as_the_identity() -> None:
    torch.manual_seed(0)
    conv, x = Conv(3, 5), torch.randn(1, 6, 4, 4, 3)
    frames = [conv.space(x[:, frame].permute(0, 3, 1, 2)).permute(0, 2, 3, 1) for frame in range(6)]
    torch.testing.assert_close(conv(x), torch.stack(frames, dim=1))


def test_a_decoder_with_symmetric_weights_runs_backwards_as_well() -> None:
    tae, latents = trained(UNPATCHED), grid(4)
    for module in tae.modules():
        if isinstance(module, Conv):
            module.time.weight.copy_((module.time.weight + module.time.weight.flip(2)) / 2)
    forwards, backwards = tae.decode_raw(latents), tae.decode_raw(latents.flip(2))
    torch.testing.assert_close(backwards.flip(2), forwards, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(forwards[:, :, :8], forwards[:, :, 8:16], atol=1e-2)


def test_latents_are_the_posterior_mean_shifted_and_scaled(tae: TAE) -> None:
    video = clip(16)
    mean, std = (values.view(1, -1, 1, 1, 1) for values in (tae.latent_mean, tae.latent_std))
    latents, posterior = tae.encode(video), tae.posterior(video)
    torch.testing.assert_close(latents, (posterior.mean - mean) / std)
    torch.testing.assert_close(tae.decode(latents, 13), tae.decode_raw(posterior.mean)[:, :, :13], atol=1e-5, rtol=1e-5)
    assert posterior.log_variance.shape == posterior.mean.shape


def test_log_variances_stay_where_their_exponential_is_finite() -> None:
    tae = untrained(CONFIGS["nano"])
    bias = tae.encoder.leave.time.bias
    assert bias is not None
    bias[16:24], bias[24:] = 1e4, -1e4
    log_variance = tae.posterior(clip(8)).log_variance
    assert (log_variance.amax().item(), log_variance.amin().item()) == (10.0, -20.0)


@pytest.mark.parametrize("frames", [1, 8, 25, 32])
def test_one_tile_is_the_whole_bit_for_bit(tae: TAE, frames: int) -> None:
    latents = tae.encode(clip(frames))
    assert torch.equal(torch.cat(list(tae.encode_tiled(clip(frames))), dim=2), latents)
    whole = tae.decode(latents, frames)
    assert torch.equal(torch.cat(list(tae.decode_tiled(latents, frames)), dim=2), whole)


@pytest.mark.parametrize("latent_frames", [5, 6, 7, 8, 13])
def test_tiles_of_a_scene_that_stands_still_are_the_whole(tae: TAE, latent_frames: int) -> None:
    latents = grid(1).expand(-1, -1, latent_frames, -1, -1)
    frames = 8 * latent_frames - 3
    tiled = torch.cat(list(tae.decode_tiled(latents, frames)), dim=2)
    torch.testing.assert_close(tiled, tae.decode(latents, frames), atol=1e-5, rtol=1e-5)


def test_the_frames_that_one_tile_alone_covers_are_that_tile_bit_for_bit(tae: TAE) -> None:
    latents = grid(6)
    tiled = torch.cat(list(tae.decode_tiled(latents, 48)), dim=2)
    first, second = tae.decode(latents[:, :, :4], 32), tae.decode(latents[:, :, 2:], 32)
    assert torch.equal(tiled[:, :, :16], first[:, :, :16])
    assert torch.equal(tiled[:, :, 32:], second[:, :, 16:])


def test_encoding_in_tiles_is_encoding_each_alone(tae: TAE) -> None:
    video = clip(70)
    parts = [tae.encode(video[:, :, start : start + 32]) for start in (0, 32, 64)]
    assert all(torch.equal(a, b) for a, b in zip(tae.encode_tiled(video), parts, strict=True))


def test_weights_of_a_blend_sum_to_one() -> None:
    tiles = [torch.ones(1, 1, 5, 1, 1, dtype=torch.float64)] * 3
    pieces = list(blend(iter(tiles), overlap=2))
    assert [piece.shape[2] for piece in pieces] == [3, 3, 3, 2]
    torch.testing.assert_close(torch.cat(pieces, dim=2), torch.ones(1, 1, 11, 1, 1, dtype=torch.float64))


def test_a_blend_rises_linearly_from_the_old_tile_to_the_new() -> None:
    tiles = [torch.zeros(1, 1, 5, 1, 1), torch.ones(1, 1, 5, 1, 1)]
    seam = torch.cat(list(blend(iter(tiles), overlap=3)), dim=2).flatten()
    torch.testing.assert_close(seam, torch.tensor([0, 0, 0.25, 0.5, 0.75, 1, 1]))


def test_tiles_are_decoded_only_when_asked_for() -> None:
    tae = trained(CONFIGS["nano"])
    decoded: list[int] = []
    tae.decoder.register_forward_hook(lambda module, inputs, output: decoded.append(inputs[0].shape[1]))
    pieces = tae.decode_tiled(grid(40), 320)
    next(pieces)
    assert decoded == [4]


def test_a_clip_does_not_depend_on_its_batch_neighbour(tae: TAE) -> None:
    both = clip(9, batch=2)
    latents = tae.encode(both)
    torch.testing.assert_close(latents[:1], tae.encode(both[:1]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(tae.decode(latents, 9)[:1], tae.decode(latents[:1], 9), atol=1e-5, rtol=1e-5)


def test_a_row_whose_compression_is_not_eight_cannot_be_made() -> None:
    with pytest.raises(AssertionError):
        TaeConfig(16, (8, 8), encoder_blocks=1, decoder_blocks=1, attention=False)
