from functools import partial

import pytest

from kino.memory import decode_bytes, step_bytes, tokens
from kino.shapes import Grid

WAN = {"patch_size": [1, 2, 2], "num_attention_heads": 12, "attention_head_dim": 128, "ffn_dim": 8960}
EXTENT = Grid(21, 60, 104)  # 81 frames of 832x480


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (WAN, 32_760),  # as Wan's own repository counts them
        ({"patch_size": 1, "patch_size_t": 1}, 21 * 60 * 104),
        ({"patch_size": 2, "patch_size_t": 2}, 16_380),
        ({"patch_size": 1, "axes_dims_rope": [16, 56, 56]}, 32_760),
    ],
)
def test_tokens_are_counted_in_patches(config: dict[str, object], expected: int) -> None:
    assert tokens(config, EXTENT) == expected


def test_a_step_takes_what_its_widest_part_does() -> None:
    assert step_bytes(WAN, EXTENT, 1, 512, 2) == 2 * (32_760 + 512) * (8 * 1536 + 2 * 8960)
    assert step_bytes(WAN, EXTENT, 2, 512, 4) == 4 * step_bytes(WAN, EXTENT, 1, 512, 2)
    square = {"patch_size": 2, "num_attention_heads": 2, "attention_head_dim": 8}
    assert step_bytes(square, Grid(1, 2, 2), 1, 0, 4) == 4 * (8 * 16 + 2 * 64)


def test_times_of_tokens_take_as_many_modulations_of_each() -> None:
    def more(itemsize: int, config: dict[str, object] = WAN, heard: int = 0) -> int:
        bytes_of = partial(step_bytes, config, EXTENT, 2, 512, itemsize, heard)
        return bytes_of(times_tokens=True) - bytes_of()

    assert more(4) == 2 * 32_760 * 1536 * 4 * 13
    assert more(2) == 2 * 32_760 * 1536 * (6 * 2 + 6 * 4 + 2)
    assert more(4, WAN | {"audio_num_attention_heads": 4, "audio_attention_head_dim": 8}, heard=50) == (
        2 * 32_760 * 1536 * 4 * 23
    )


def test_decoding_takes_what_its_last_stage_does() -> None:
    assert decode_bytes({"base_dim": 96}, 4, 480, 832, 4) == 4 * 4 * 480 * 832 * (15 * 96 + 6)
    patched = {"decoder_block_out_channels": [128, 256], "block_out_channels": [64], "patch_size": 4}
    assert decode_bytes(patched, 1, 32, 32, 2) == 2 * 32 * 32 * (15 * 128 // 16 + 6)


def test_blocks_that_join_attention_and_feed_forward_take_more() -> None:
    config = {"patch_size": 2, "num_attention_heads": 2, "attention_head_dim": 8, "num_single_layers": 3}
    assert step_bytes(config, Grid(1, 2, 2), 1, 0, 4) == 4 * (8 * 16 + 3 * 64 + 16)
