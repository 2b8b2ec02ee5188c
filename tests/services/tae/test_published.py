"""Published autoencoders: long clips in pieces, and pictures in tiles, are the library's own."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kino.families import FAMILIES, TAE
from kino.importing import import_pipeline
from kino.registry import Registry
from services.tae.families.table import AUTOENCODERS, open_engine
from services.tae.published import PublishedTae, compressed, pixels
from tests import pipelines
from tests.services.test_abilities import STREAMED, builds

LATENTS = {"flux": 1, "cogvideox": 5}
"""Latent frames of the clips, where not seven."""


def engine(name: str, folder: Path, tiled: bool = False) -> PublishedTae:
    imported = import_pipeline(pipelines.save(builds(name), folder / name), Registry(folder / "models"))
    return PublishedTae(AUTOENCODERS[name], imported.versions[TAE], Registry(folder / "models"), tiled=tiled)


def noise(tae: PublishedTae, name: str) -> NDArray[np.float32]:
    """Latents of 64 x 64 pixels."""
    side = 64 // tae.clips.spatial
    shape = (tae.clips.channels, LATENTS.get(name, 7), side, side)
    return np.random.default_rng(4).standard_normal(shape, np.float32)


def decoded(tae: PublishedTae, latents: NDArray[np.float32]) -> list[NDArray[np.uint8]]:
    _, frames = tae.clips.video_frames(latents.shape[1])
    return list(tae.decode(latents, frames))


@torch.inference_mode()
def by_library(name: str, tae: PublishedTae, latents: NDArray[np.float32], network: Any) -> NDArray[np.uint8]:
    """The whole video at once, by a network of the library as it is."""
    given = tae.autoencoder.denormalised(torch.from_numpy(latents)[None])
    video = network.decode(given[:, :, 0] if name == "flux" else given, return_dict=False)[0]
    return pixels(video[0][:, None] if name == "flux" else video[0])


def shrink(network: Any, spatial: int) -> None:
    """Make tiles of 32 x 32 pixels, half of which overlap."""
    network.enable_tiling()
    sizes = {"tile_sample_min": 32, "tile_sample_stride": 16, "tile_latent_min": 32 // spatial}
    for start, size in sizes.items():
        for end in ("height", "width", "size"):
            if hasattr(network, f"{start}_{end}"):
                setattr(network, f"{start}_{end}", size)
    for end in ("", "_height", "_width"):
        if hasattr(network, f"tile_overlap_factor{end}"):
            setattr(network, f"tile_overlap_factor{end}", 0.5)


@pytest.mark.parametrize("name", FAMILIES)
def test_pieces_are_the_whole_video_of_the_library(name: str, tmp_path: Path) -> None:
    tae = engine(name, tmp_path)
    latents = noise(tae, name)
    pieces = decoded(tae, latents)
    np.testing.assert_array_equal(
        np.concatenate(pieces), by_library(name, tae, latents, pipelines.make(builds(name)).vae)
    )
    at_once = tae.autoencoder.frames_at_once
    assert (len(pieces) > 1, at_once is not None) == (name in STREAMED, name in STREAMED)
    assert at_once is None or max(map(len, pieces)) <= at_once


@pytest.mark.parametrize("name", FAMILIES)
def test_tiles_are_those_of_the_library(name: str, tmp_path: Path) -> None:
    tae = engine(name, tmp_path, tiled=True)
    latents, network = noise(tae, name), pipelines.make(builds(name)).vae
    for one in (tae.autoencoder.network, network):
        shrink(one, tae.clips.spatial)
    if name.startswith("ltx"):
        network.use_framewise_decoding = True
    whole = by_library(name, tae, latents, pipelines.make(builds(name)).vae)
    made = np.concatenate(decoded(tae, latents))
    np.testing.assert_array_equal(made, by_library(name, tae, latents, network))
    assert (made != whole).any()


def test_tiles_take_less_memory_and_are_for_published_models_alone(tmp_path: Path) -> None:
    tae, tiled = (engine("hunyuan15", tmp_path / str(tiles), tiles) for tiles in (False, True))
    clip = (121, 720, 1280)
    assert tiled.autoencoder.needed_bytes(*clip) < 0.25 * tae.autoencoder.needed_bytes(*clip)
    with pytest.raises(ValueError, match="tiled is true, must be left out: it is for published models alone"):
        open_engine("nano", "nano", Registry(tmp_path / "models"), "cpu", "torch", tiled=True)


def test_a_picture_is_compressed_before_it_is_encoded_where_that_is_asked_for(tmp_path: Path) -> None:
    tae = engine("ltx2", tmp_path)
    picture = np.random.default_rng(5).integers(0, 256, (32, 64, 3), np.uint8)
    lost = [np.abs(compressed(picture, crf).astype(float) - picture).mean() for crf in (1, 20, 33)]
    assert 0 < lost[0] < lost[1] < lost[2]
    (plain,), (made,) = tae.encode(picture[None]), tae.encode(picture[None], crf=33)
    (expected,) = tae.encode(compressed(picture, 33)[None])
    np.testing.assert_array_equal(made, expected)
    assert np.abs(made - plain).max() > 0.01


@pytest.mark.parametrize(
    ("frames", "crf", "reason"),
    [
        (1, 52, "crf is 52, must be from 0 to 51"),
        (1, -1, "crf is -1, must be from 0 to 51"),
        (9, 33, "crf is 33, must be left out for 9 frames: it is for a picture"),
    ],
)
def test_what_cannot_be_compressed_is_refused(frames: int, crf: int, reason: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=reason):
        engine("ltx2", tmp_path).encode(np.zeros((frames, 32, 64, 3), np.uint8), crf=crf)
