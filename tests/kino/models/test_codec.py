from dataclasses import replace

import pytest
import torch
from torch import Tensor

from kino.models.codec import Codec, CodecConfig, tiles
from kino.presets import PRESETS

UNPATCHED = CodecConfig(4, (4, 4, 6, 6, 8), (2, 8, 10, 12))
CONFIGS = {"nano": PRESETS["nano"].codec, "unpatched": UNPATCHED}


def codec(config: CodecConfig) -> Codec:
    torch.manual_seed(0)
    made = Codec(config).eval().requires_grad_(False)
    made.latent_mean.normal_()
    made.latent_std.uniform_(0.5, 2.0)
    return made


def sound(samples: int, batch: int = 1) -> Tensor:
    return torch.rand(batch, samples, generator=torch.Generator().manual_seed(samples)) * 2 - 1


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
@pytest.mark.parametrize("samples", [1, 1919, 1920, 1921, 96_000])
def test_any_number_of_samples_goes_in_and_comes_out(config: CodecConfig, samples: int) -> None:
    made = codec(config)
    latents = made.encode(sound(samples, 2))
    assert latents.shape == (2, config.latent_channels, -(-samples // 1920))
    assert made.decode(latents, samples).shape == (2, samples)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_tiles_leave_no_seams(config: CodecConfig) -> None:
    whole = codec(replace(config, tile_latents=1000))
    tiled = codec(replace(config, tile_latents=7))
    heard = sound(60 * 1920)
    latents = whole.encode(heard)
    torch.testing.assert_close(tiled.encode(heard), latents, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(tiled.decode(latents, 60 * 1920), whole.decode(latents, 60 * 1920), atol=1e-4, rtol=0)


def test_a_sample_depends_on_no_more_latents_than_the_context() -> None:
    made = codec(PRESETS["nano"].codec)
    context = made.config.context_latents
    latents = torch.randn(1, made.config.latent_channels, 41)
    changed = latents.clone()
    changed[..., 20] += 1
    moved = (made.decode_raw(changed) - made.decode_raw(latents)).abs()[0] > 0
    touched = moved.nonzero()[:, 0] // 1920
    assert 20 - context <= int(touched.min()) < 20 < int(touched.max()) <= 20 + context


def test_spans_cover_everything_once_with_their_context() -> None:
    assert list(tiles(10, 4, 3)) == [(0, 0, 4, 7), (1, 4, 8, 10), (5, 8, 10, 10)]


def test_compression_must_come_to_1920_samples() -> None:
    with pytest.raises(AssertionError):
        CodecConfig(8, (8, 8), (10,), patch=16)
    assert PRESETS["30b"].codec.latent_channels == 128
