import pytest
import torch
from torch import nn

from kino.flow import linear_quadratic
from kino.models.audio import AudioDit
from kino.models.codec import Codec
from kino.models.dit import DiT
from kino.models.lm import LanguageModel
from kino.models.tae import TAE
from kino.models.text import Tower
from kino.models.upsampler import Upsampler
from kino.models.vision import Vision
from kino.presets import PRESETS, Preset
from kino.shapes import ASPECTS, size_for_aspect


def parameters(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.fixture(params=PRESETS)
def preset(request: pytest.FixtureRequest) -> Preset:
    return PRESETS[request.param]


def test_a_row_has_its_own_name(preset: Preset) -> None:
    assert PRESETS[preset.name] is preset


def test_parts_of_a_row_fit_each_other(preset: Preset) -> None:
    assert preset.dit.latent_channels == preset.tae.latent_channels
    for name, tower in preset.towers.items():
        assert preset.text_shapes[name] == (tower.max_rows, tower.width)
    assert preset.audio.latent_channels == preset.codec.latent_channels
    assert preset.vision is None or preset.audio.video_width == preset.vision.features
    assert preset.t5 is None or preset.audio.text_width == preset.t5.width
    assert list(preset.text_shapes) == ["ul2", "byt5", "metaclip"]


def test_every_size_of_a_row_has_positions(preset: Preset) -> None:
    video, (frames, height, width) = preset.video, preset.dit.max_grid
    assert 8 * frames >= video.max_frames
    assert min(height, width) * 16 >= video.max_side
    for aspect in ASPECTS:
        for pixels in (video.pixels, video.max_pixels):
            size = size_for_aspect(aspect, pixels)
            assert max(size.height, size.width) <= video.max_side


def test_what_a_row_makes_by_itself_is_within_its_limits(preset: Preset) -> None:
    video, sampler = preset.video, preset.sampler
    for aspect in ASPECTS:
        size = size_for_aspect(aspect, video.pixels)
        assert video.clips(16).grid(video.frames, size.height, size.width).tokens >= 1
    assert video.fps in video.frame_rates
    assert len(linear_quadratic(sampler.steps, sampler.linear_steps)) == sampler.steps + 1
    assert sampler.guidance >= 1


def test_no_network_of_the_smallest_row_has_a_million_parameters() -> None:
    nano = PRESETS["nano"]
    with torch.device("meta"):
        networks = [
            DiT(nano.dit),
            TAE(nano.tae),
            LanguageModel(nano.rewriter),
            *map(Tower, nano.towers.values()),
            *sound_networks(nano),
            upsampler(nano),
        ]
    assert max(map(parameters, networks)) < 1_000_000


def test_the_shipped_upsampler_is_at_most_2_megabytes_in_8_bits() -> None:
    with torch.device("meta"):
        network = upsampler(PRESETS["mini"])
    rows = sum(parameter.shape[0] for parameter in network.parameters() if parameter.ndim > 1)
    assert parameters(network) + 4 * rows <= 2e6


def test_an_upsampler_ships_where_its_sizes_are_published(preset: Preset) -> None:
    assert (preset.upsampler is None) == (preset.name in ("1b", "5b", "30b"))


def test_the_shipped_row_is_at_most_32_megabytes_in_bfloat16() -> None:
    mini = PRESETS["mini"]
    with torch.device("meta"):
        networks = [DiT(mini.dit), TAE(mini.tae), LanguageModel(mini.rewriter), *map(Tower, mini.towers.values())]
    assert 2 * sum(map(parameters, networks)) <= 32e6


def test_what_makes_sound_takes_16_megabytes_more() -> None:
    with torch.device("meta"):
        networks = sound_networks(PRESETS["mini"])
    assert 2 * sum(map(parameters, networks)) <= 16e6


def upsampler(preset: Preset) -> nn.Module:
    assert preset.upsampler is not None
    return Upsampler(preset.upsampler)


def sound_networks(row: Preset) -> list[nn.Module]:
    assert row.vision is not None
    assert row.t5 is not None
    return [Codec(row.codec), Vision(row.vision), Tower(row.t5), AudioDit(row.audio)]
