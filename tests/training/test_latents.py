from pathlib import Path

import numpy as np
import pytest
import torch

from kino.registry import Registry
from training import latents
from training.data import to_signed
from training.latents import LatentSet, object_share, open_latents
from training.published import MODELS, open_tae
from training.world.render import render

ITEMS = LatentSet("train", 20, size=32, frames=16)


def test_object_share_counts_the_first_object_in_each_position() -> None:
    mask = np.zeros((9, 8, 8), np.uint8)
    mask[:8, :4, :4] = 1
    mask[:8, :4, 4:] = 2
    mask[4:8, 4:, :4] = 1
    mask[8] = 1
    share = object_share(mask)
    assert share.shape == (2, 2, 2)
    assert share[0].tolist() == [[255, 0], [128, 0]]
    assert share[1].tolist() == [[255, 255], [255, 255]]


def test_an_interrupted_encoding_goes_on_and_equals_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tae, manifest = open_tae("nano", Registry(tmp_path / "models"))
    space = manifest.latent_space
    whole = open_latents(ITEMS, tae, space, tmp_path / "whole")
    encode, calls = latents.encode_chunk, []

    def failing(*arguments: object) -> object:
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return encode(*arguments)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(latents, "encode_chunk", failing)
        with pytest.raises(KeyboardInterrupt):
            open_latents(ITEMS, tae, space, tmp_path / "broken")
    resumed = open_latents(ITEMS, tae, space, tmp_path / "broken")
    assert np.array_equal(whole.values, resumed.values)
    assert np.array_equal(whole.coverage, resumed.coverage)
    assert whole.values.shape == (20, 16, 2, 4, 4)
    assert whole.coverage.max() > 128


def test_stills_are_seen_at_times_of_their_own() -> None:
    stills = LatentSet("train", 50, frames=1)
    times = [stills.start_seconds(index) for index in range(50)]
    assert all(0 <= time < 2 for time in times)
    assert len(set(times)) == 50
    assert ITEMS.start_seconds(3) == 0.0


def test_another_space_or_set_has_another_key() -> None:
    keys = {ITEMS.key("a"), ITEMS.key("b"), LatentSet("train", 21, size=32, frames=16).key("a")}
    assert len(keys) == 3


def test_a_wide_clip_is_encoded_as_it_is_drawn(tmp_path: Path) -> None:
    tae, manifest = open_tae("nano", Registry(MODELS))
    space = manifest.latent_space
    items = LatentSet("train", 2, size=(32, 48), frames=8)
    found = open_latents(items, tae, space, tmp_path)
    assert found.values.shape == (2, 16, 1, 4, 6)
    assert found.coverage.shape == (2, 1, 4, 6)
    with torch.inference_mode():
        expected = tae.encode(to_signed(render(items.scene(1), 8, 32, 48, 16)[None]))[0]
    assert np.abs(found.values[1] - expected.numpy()).max() < 0.1  # the set is encoded in bfloat16
