import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kino.shapes import (
    ASPECTS,
    Clips,
    Grid,
    Size,
    SoundLatents,
    audio_samples,
    frames_for_seconds,
    full_hd,
    latent_frames,
    latent_grid,
    size_for_aspect,
)


@pytest.mark.parametrize(("frames", "expected"), [(1, 1), (7, 1), (8, 1), (9, 2), (16, 2), (17, 3), (33, 5), (256, 32)])
def test_eight_frames_share_a_latent_frame(frames: int, expected: int) -> None:
    assert latent_frames(frames) == expected


@given(st.integers(1, 100_000))
def test_latent_frames_hold_every_frame_and_waste_less_than_one(frames: int) -> None:
    assert 0 <= 8 * latent_frames(frames) - frames < 8


@pytest.mark.parametrize(
    ("frames", "size", "grid", "tokens"),
    [
        (256, Size(768, 768), Grid(32, 96, 96), 73_728),
        (256, Size(576, 1024), Grid(32, 72, 128), 73_728),
        (192, Size(576, 1024), Grid(24, 72, 128), 55_296),
        (128, Size(1024, 576), Grid(16, 128, 72), 36_864),
        (1, Size(576, 1024), Grid(1, 72, 128), 2_304),
        (256, Size(256, 256), Grid(32, 32, 32), 8_192),
        (1, Size(256, 256), Grid(1, 32, 32), 256),
        (32, Size(96, 96), Grid(4, 12, 12), 144),
    ],
)
def test_the_papers_clips_have_the_papers_tokens(frames: int, size: Size, grid: Grid, tokens: int) -> None:
    assert latent_grid(frames, size) == grid
    assert grid.tokens == tokens


@pytest.mark.parametrize(
    ("frames", "size", "message"),
    [
        (0, Size(96, 96), "frames is 0, must be at least 1"),
        (-3, Size(96, 96), "frames is -3, must be at least 1"),
        (1, Size(0, 96), "height is 0, must be a positive multiple of 16"),
        (1, Size(100, 96), "height is 100, must be a positive multiple of 16"),
        (1, Size(96, 8), "width is 8, must be a positive multiple of 16"),
        (1, Size(96, -16), "width is -16, must be a positive multiple of 16"),
    ],
)
def test_a_clip_that_has_no_latents_is_refused(frames: int, size: Size, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        latent_grid(frames, size)


@pytest.mark.parametrize(
    ("aspect", "pixels", "size"),
    [
        ("1:1", 768, Size(768, 768)),
        ("16:9", 768, Size(576, 1024)),
        ("9:16", 768, Size(1024, 576)),
        ("1:1", 96, Size(96, 96)),
        ("16:9", 96, Size(80, 128)),
        ("4:3", 96, Size(80, 112)),
    ],
)
def test_an_aspect_keeps_the_area(aspect: str, pixels: int, size: Size) -> None:
    assert size_for_aspect(aspect, pixels) == size


@pytest.mark.parametrize("aspect", ASPECTS)
@pytest.mark.parametrize("pixels", [16, 32, 96, 256, 768])
def test_every_aspect_has_latents_at_every_size(aspect: str, pixels: int) -> None:
    assert latent_grid(1, size_for_aspect(aspect, pixels)).tokens >= 1


def test_an_unknown_aspect_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"aspect is '2:1', must be one of 1:1, 16:9"):
        size_for_aspect("2:1", 96)


@pytest.mark.parametrize(("seconds", "fps", "frames"), [(2, 16, 32), (0.01, 16, 1), (1.5, 24, 36), (10.6, 24, 254)])
def test_seconds_become_frames(seconds: float, fps: int, frames: int) -> None:
    assert frames_for_seconds(seconds, fps) == frames


@pytest.mark.parametrize("seconds", [0, -1, math.nan, math.inf])
def test_seconds_that_are_no_time_are_refused(seconds: float) -> None:
    with pytest.raises(ValueError, match="seconds is"):
        frames_for_seconds(seconds, 16)


def test_a_frame_rate_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="fps is 0, must be at least 1"):
        frames_for_seconds(1, 0)


@pytest.mark.parametrize(
    ("frames", "fps", "samples"), [(32, 16, 96_000), (256, 16, 768_000), (1, 7, 6_857), (1, 32, 1_500), (1, 64_000, 1)]
)
def test_sound_is_as_long_as_the_film(frames: int, fps: int, samples: int) -> None:
    assert audio_samples(frames, fps) == samples


@given(st.integers(1, 10_000), st.integers(1, 120))
def test_the_sound_ends_within_half_a_sample_of_the_film(frames: int, fps: int) -> None:
    assert abs(audio_samples(frames, fps) * fps - frames * 48_000) * 2 <= fps


@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        (9, 16, (1080, 1920)),
        (16, 9, (1920, 1080)),
        (1, 1, (1080, 1080)),
        (3, 4, (1080, 1440)),
        (9, 21, (822, 1920)),
        (80, 128, (1080, 1728)),
        (1, 1000, (2, 1920)),
    ],
)
def test_full_hd_keeps_the_aspect_within_1080_and_1920(height: int, width: int, size: tuple[int, int]) -> None:
    assert full_hd(height, width) == Size(*size)


WAN = Clips(16, 4, 1, 8, 16, 81, 480, 832, 16, 241, 1280, 1280 * 720)
OURS = Clips(16, 8, 8, 8, 16, 32, 96, 96, 16, 256, 192, 192 * 96)


@pytest.mark.parametrize(
    ("clips", "frames", "latents", "held"),
    [
        (WAN, 1, 1, (1, 1)),
        (WAN, 2, 2, (2, 5)),
        (WAN, 5, 2, (2, 5)),
        (WAN, 81, 21, (78, 81)),
        (OURS, 1, 1, (1, 8)),
        (OURS, 8, 1, (1, 8)),
        (OURS, 9, 2, (9, 16)),
        (OURS, 256, 32, (249, 256)),
    ],
)
def test_latent_frames_of_a_family_stand_for_so_many(
    clips: Clips, frames: int, latents: int, held: tuple[int, int]
) -> None:
    assert clips.latent_frames(frames) == latents
    assert clips.video_frames(latents) == held
    assert clips.grid(frames, 96, 160) == Grid(latents, 12, 20)


@pytest.mark.parametrize(
    ("frames", "height", "width", "reason"),
    [
        (0, 480, 832, "frames is 0, must be from 1 to 241"),
        (242, 480, 832, "frames is 242, must be from 1 to 241"),
        (81, 480, 1296, "width is 1296, must be from 1 to 1280"),
        (81, 488, 832, "height is 488, must be a positive multiple of 16"),
        (81, 736, 1280, "height is 736, must be at most 720 at a width of 1280"),
    ],
)
def test_a_clip_beyond_a_familys_bounds_is_refused(frames: int, height: int, width: int, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        WAN.grid(frames, height, width)


def test_the_default_size_of_a_family_comes_first_under_the_nearest_aspect() -> None:
    sizes = WAN.sizes
    assert next(iter(sizes.items())) == ("16:9", Size(480, 832))
    assert sizes["1:1"] == Size(640, 640)
    assert all(size.height * size.width <= WAN.max_area and size.width <= WAN.max_side for size in sizes.values())


def test_clips_come_back_from_json() -> None:
    assert Clips.from_dict(WAN.as_dict()) == WAN
    for broken in (None, {}, WAN.as_dict() | {"fps": 0}, WAN.as_dict() | {"fps": True}, WAN.as_dict() | {"more": 1}):
        with pytest.raises(ValueError, match="clips"):
            Clips.from_dict(broken)


@pytest.mark.parametrize(("frames", "fps", "times"), [(121, 24, 126), (9, 24, 9), (48, 24, 50), (1, 60, 1)])
def test_sound_has_a_latent_for_every_fortieth_millisecond(frames: int, fps: float, times: int) -> None:
    assert SoundLatents(8, 16, 25.0).shape(frames, fps) == (8, times, 16)
