from pathlib import Path

import numpy as np
import pytest

from kino.registry import Registry
from training import latents
from training.latents import LatentSet, object_share, open_latents
from training.published import open_tae

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
    tae, space = open_tae("nano", Registry(tmp_path / "models"))
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
