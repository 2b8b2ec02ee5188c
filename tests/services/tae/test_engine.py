import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kino import devices
from kino.registry import Registry
from services.tae.engine import TaeEngine


@pytest.fixture(scope="module")
def engine() -> TaeEngine:
    return TaeEngine("nano", "nano", Registry(Path("no-registry")))


def frames(count: int, height: int = 16, width: int = 32, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, 3), np.uint8)


def grid(length: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).standard_normal((16, length, 2, 4), np.float32)


def test_latents_are_the_networks_own(engine: TaeEngine) -> None:
    pixels = frames(11)
    (latents,) = engine.encode(pixels)
    video = torch.from_numpy(pixels).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    assert np.array_equal(latents, engine.network.encode(video)[0].numpy())
    assert latents.shape == (16, 2, 2, 4)


def test_pixels_are_the_networks_own_rounded(engine: TaeEngine) -> None:
    decoded = np.concatenate(list(engine.decode(grid(2), 13)))
    video = engine.network.decode(torch.from_numpy(grid(2))[None], 13)[0].permute(1, 2, 3, 0)
    expected = ((video.clamp(-1, 1) + 1) * 127.5).round().numpy()
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, expected)


@pytest.mark.parametrize("count", [1, 8, 31, 32, 33, 70])
def test_any_number_of_frames_goes_in_and_comes_out(engine: TaeEngine, count: int) -> None:
    latents = np.concatenate(list(engine.encode(frames(count))), axis=1)
    assert latents.shape == (16, math.ceil(count / 8), 2, 4)
    assert np.concatenate(list(engine.decode(latents, count))).shape == (count, 16, 32, 3)


def test_the_same_input_gives_the_same_bytes(engine: TaeEngine) -> None:
    first, second = (np.concatenate(list(engine.decode(grid(6), 48))).tobytes() for _ in range(2))
    assert first == second
    first, second = (np.concatenate(list(engine.encode(frames(40))), axis=1).tobytes() for _ in range(2))
    assert first == second


def test_tiles_are_computed_only_when_asked_for(engine: TaeEngine) -> None:
    computed: list[None] = []
    handles = [
        part.register_forward_hook(lambda *_: computed.append(None))
        for part in (engine.network.encoder, engine.network.decoder)
    ]
    next(engine.decode(grid(32), 256))
    assert len(computed) == 1
    next(engine.encode(frames(256)))
    assert len(computed) == 2
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (frames(1).astype(np.float32), r"frames is float32 \[1, 16, 32, 3\], must be uint8 \[t h w 3\]"),
        (frames(1)[0], r"frames is uint8 \[16, 32, 3\], must be"),
        (frames(1)[..., :1], r"frames is uint8 \[1, 16, 32, 1\], must be"),
        (frames(0), r"frames is 0, must be from 1 to 256"),
        (frames(257, 16, 16), r"frames is 257, must be from 1 to 256"),
        (frames(1, 24, 32), r"height is 24, must be a positive multiple of 16"),
        (frames(1, 16, 144), r"width is 144, must be from 1 to 112"),
        (frames(1, 96, 64), r"height is 96, must be at most 84 at a width of 64"),
    ],
)
def test_frames_out_of_bounds_are_refused(engine: TaeEngine, pixels: NDArray[Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        engine.encode(pixels)


def test_what_is_for_published_models_alone_is_refused(engine: TaeEngine) -> None:
    with pytest.raises(ValueError, match="clip_frames is 9, must be left out: this TAE encodes what is there"):
        engine.encode(frames(1), clip_frames=9)
    with pytest.raises(ValueError, match="seed is 3, must be left out: the latents of this TAE are certain"):
        engine.encode(frames(1), seed=3)
    with pytest.raises(ValueError, match="crf is 33, must be left out: this TAE encodes pictures as they are"):
        engine.encode(frames(1), crf=33)


@pytest.mark.parametrize(
    ("latents", "count", "message"),
    [
        (grid(2).astype(np.float64), 16, r"latents is float64 \[16, 2, 2, 4\], must be float32 \[16 t h w\]"),
        (grid(2)[:8], 16, r"latents is float32 \[8, 2, 2, 4\], must be"),
        (grid(2)[0], 16, r"latents is float32 \[2, 2, 4\], must be"),
        (np.full((16, 2, 2, 4), np.nan, np.float32), 16, r"latents is partly NaN or infinite, must be finite"),
        (grid(2), 8, r"frames is 8, must be from 9 to 16 for 2 latent frames"),
        (grid(2), 17, r"frames is 17, must be from 9 to 16 for 2 latent frames"),
        (grid(2), 0, r"frames is 0, must be from 1 to 256"),
        (grid(2)[:, :, :1], 16, r"height is 8, must be a positive multiple of 16"),
        (np.zeros((16, 1, 0, 4), np.float32), 1, r"height is 0, must be from 1 to 112"),
    ],
)
def test_latents_out_of_bounds_are_refused(engine: TaeEngine, latents: NDArray[Any], count: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        engine.decode(latents, count)


def test_a_tile_beyond_the_memory_is_refused_with_figures(engine: TaeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(devices, "free_bytes", lambda device: 1 << 18)
        with pytest.raises(MemoryError, match=r"a tile of 16x32 pixels takes about 0 MiB, cpu has 0 MiB left"):
            engine.encode(frames(1))
        with pytest.raises(MemoryError):
            engine.decode(grid(1), 8)
    assert next(engine.decode(grid(1), 8)).shape == (8, 16, 32, 3)
