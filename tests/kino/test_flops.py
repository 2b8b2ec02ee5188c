"""Operations told of networks without numbers, against those that are counted while the networks compute."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from kino import flops, parts
from kino.families import FAMILIES, family_of
from kino.shapes import Clips, Grid
from kino.speed import Flops
from tests import pipelines
from tests.pipelines import PROMPT

Build = Callable[[], Any]
WIDE_LTX = {
    "in_channels": 8, "out_channels": 8, "num_attention_heads": 4, "attention_head_dim": 8, "cross_attention_dim": 32,
    "num_layers": 3, "caption_channels": 16,
}  # fmt: skip


def ltx() -> Any:
    pipeline = pipelines.ltx()
    pipeline.register_modules(transformer=parts.library().LTXVideoTransformer3DModel(**WIDE_LTX))
    return pipeline


@pytest.mark.parametrize(
    ("build", "frames", "side", "passes", "rows"),
    [
        (pipelines.wan, 9, 128, 2, 512),
        (ltx, 17, 64, 2, 128),
        (pipelines.hunyuan, 9, 64, 1, 256),
        (partial(pipelines.cogvideox, num_layers=3), 9, 64, 2, 226),
        (pipelines.mochi, 7, 96, 2, 256),
        (partial(pipelines.flux, num_layers=2, num_single_layers=3), 1, 64, 1, 512),
    ],
)
def test_a_step_takes_what_is_counted(build: Build, frames: int, side: int, passes: int, rows: int) -> None:
    pipeline = pipelines.make(build)
    pipeline.set_progress_bar_config(disable=True)
    family = FAMILIES[family_of(type(pipeline).__name__)]
    configs = {name: dict(part.config) for name, part in pipeline.components.items() if name in ("vae", "transformer")}
    grid = family.clips(configs | {"pipeline": {}}).grid(frames, side, side)
    given, long = {"num_frames": frames} if frames > 1 else {}, " ".join([PROMPT] * 128)  # as many rows as may be
    with FlopCounterMode(display=False) as counter:
        pipeline(
            prompt=long, negative_prompt=long, height=side, width=side, guidance_scale=4.0, num_inference_steps=2,
            output_type="latent", generator=torch.Generator().manual_seed(0), **given,
        )  # fmt: skip
    counted = sum(counter.get_flop_counts()[type(pipeline.transformer).__name__].values())
    told = flops.of_step(pipeline.transformer, grid, rows).times(2 * passes)
    assert told.total == pytest.approx(counted, rel=0.1)


def test_a_text_takes_what_is_counted() -> None:
    network = pipelines.make(pipelines.wan).text_encoder
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros(1, 64, dtype=torch.long), torch.ones(1, 64, dtype=torch.long))
    assert flops.of_text(network, 64).total == counter.get_total_flops()


@pytest.mark.parametrize(
    ("build", "times"),
    [
        (pipelines.wan, 5),
        (pipelines.cogvideox, 5),
        (pipelines.mochi, 4),
        (pipelines.hunyuan, 2),
        (pipelines.hunyuan, 8),
    ],
)
def test_decoding_takes_what_is_counted(build: Build, times: int) -> None:
    vae = pipelines.make(build).vae
    channels = getattr(vae.config, "z_dim", None) or vae.config.latent_channels
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        vae.decode(torch.zeros(1, channels, times, 12, 16))
    told = flops.of_decoding(vae.to("meta"), clips(channels), Grid(times, 12, 16), tiled=False)
    assert told.total == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_tiles_that_overlap_are_decoded_again() -> None:
    vae = pipelines.make(pipelines.wan).vae.to("meta")  # in tiles of 256 pixels, 192 apart
    whole, tiled = (flops.of_decoding(vae, clips(16), Grid(3, 32, 56), tiled=tiled) for tiled in (False, True))
    again = (32 + 32 + 8) / 56  # a row of tiles begins at 0, 24 and 48 cells; 32 are high enough for one and 8 more
    assert tiled.convolutions == pytest.approx(whole.convolutions * again * (32 + 8) / 32, rel=1e-6)


def test_tiles_of_time_that_overlap_are_decoded_again() -> None:
    vae = pipelines.make(pipelines.hunyuan).vae.to("meta")  # in tiles of 5 latent frames, 3 apart, from 5 on
    one, four, seven = (flops.of_decoding(vae, clips(4), Grid(t, 8, 8), tiled=False).convolutions for t in (1, 4, 7))
    frame = (four - one) / 3
    assert seven == pytest.approx(3 * one + (4 + 3 + 0) * frame, rel=1e-6)


def test_attention_of_a_decoder_grows_with_the_square_of_cells() -> None:
    vae = pipelines.make(pipelines.wan).vae.to("meta")
    small, large = (flops.of_decoding(vae, clips(16), Grid(3, side, side), tiled=False) for side in (8, 16))
    assert large == Flops(4 * small.products, 16 * small.attention, 4 * small.convolutions)
    assert small.attention > 0


def clips(channels: int) -> Clips:
    return Clips(channels, 4, 1, 8, 16, 9, 64, 64, 16, 33, 512, 512 * 512)
