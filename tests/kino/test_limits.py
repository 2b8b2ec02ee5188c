import pytest

from kino.limits import (
    PEOPLE_SAMPLERS,
    VideoLimits,
    clip_limits,
    editor_limits,
    generator_limits,
    personalizer_limits,
    upsampler_limits,
)
from kino.presets import PRESETS
from kino.shapes import Grid
from kino.v1 import info_pb2

LIMITS = VideoLimits(pixels=96, max_pixels=128, max_frames=64, frame_rates=(16,), frames=32, fps=16).clips(16)


def test_a_clip_within_the_limits_has_its_grid() -> None:
    assert LIMITS.grid(32, 96, 96) == Grid(4, 12, 12)
    assert LIMITS.grid(1, 64, 192) == Grid(1, 8, 24)
    assert LIMITS.grid(64, 128, 128) == Grid(8, 16, 16)


@pytest.mark.parametrize(
    ("frames", "height", "width", "message"),
    [
        (0, 96, 96, "frames is 0, must be from 1 to 64"),
        (65, 96, 96, "frames is 65, must be from 1 to 64"),
        (32, -16, 96, "height is -16, must be from 1 to 192"),
        (32, 96, 208, "width is 208, must be from 1 to 192"),
        (32, 96, 90, "width is 90, must be a positive multiple of 16"),
        (32, 144, 128, "height is 144, must be at most 132 at a width of 128"),
    ],
)
def test_a_clip_beyond_the_limits_is_refused(frames: int, height: int, width: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LIMITS.grid(frames, height, width)


def test_what_goes_over_the_wire_is_the_row() -> None:
    clips, limits = clip_limits("mini"), generator_limits("mini")
    assert clips.fps == info_pb2.FloatRange(minimum=1, maximum=60, default_value=16)
    assert limits.frames == clips.frames == info_pb2.IntRange(minimum=1, maximum=256, default_value=32)
    assert not limits.HasField("fps")
    assert limits.guidance.default_value == PRESETS["mini"].sampler.guidance
    assert personalizer_limits("mini").guidance.default_value == PEOPLE_SAMPLERS["mini"].guidance == 4.0
    assert personalizer_limits("mini").steps == limits.steps
    sizes = {entry.aspect: (entry.size.height, entry.size.width) for entry in limits.aspects}
    assert (sizes["1:1"], sizes["16:9"], sizes["9:16"]) == ((96, 96), (80, 128), (128, 80))


def test_an_upsampler_takes_what_is_smaller_than_full_hd() -> None:
    limits = upsampler_limits("mini")
    assert limits.steps == info_pb2.IntRange(minimum=1, maximum=50, default_value=1)
    assert limits.height == limits.width == info_pb2.IntRange(minimum=16, maximum=1920)


def test_an_editor_says_how_long_a_video_may_be_and_which_aspects_it_was_trained_on() -> None:
    limits = editor_limits("mini")
    assert (limits.seconds.maximum, limits.fps.default_value, limits.frames.default_value) == (16, 16, 32)
    assert [entry.aspect for entry in limits.aspects] == ["1:1"]
    assert (limits.aspects[0].size.height, limits.aspects[0].size.width) == (96, 96)
    assert (limits.steps.default_value, limits.guidance.default_value) == (24, 4)
    assert len(editor_limits("1b").aspects) == 6
