from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from kino.footage import probe, read_video, transcode
from kino.media import VideoInfo, write_video
from kino.shapes import audio_samples
from kino.sound import Samples, read_sound, write_sound
from kino.soundtrack import can_copy, mux, write_flac, write_m4a
from tests.kino.clips import greys, noise, tone, turned, write_pictures


@pytest.fixture
def film(tmp_path: Path) -> Path:
    write_video(tmp_path / "film.mp4", noise(33, 18, 22), 16, "h264")
    return tmp_path / "film.mp4"


def hiss(num_samples: int, channels: int = 2) -> Samples:
    return np.random.default_rng(0).normal(0, 0.1, (channels, num_samples)).astype(np.float32)


def in_parts(sound: Samples, *bounds: int) -> Iterator[Samples]:
    yield from np.split(sound, bounds, axis=1)


def lag(heard: Samples, given: Samples) -> int:
    """By how many samples what is heard comes after what was given, from their correlation."""
    spectrum = np.fft.rfft(heard[0], 2 * heard.shape[1]) * np.fft.rfft(given[0], 2 * heard.shape[1]).conj()
    peak = int(np.fft.irfft(spectrum).argmax())
    return peak if peak < heard.shape[1] else peak - 2 * heard.shape[1]


@pytest.mark.parametrize(
    ("num_frames", "fps"), [(1, 16), (2, 16), (33, 16), (320, 16), (33, Fraction(30000, 1001)), (7, 24), (5, 120)]
)
def test_a_film_with_sound_is_exactly_as_long_and_in_time(tmp_path: Path, num_frames: int, fps: int | Fraction) -> None:
    frames = noise(num_frames, 16, 32)
    write_video(tmp_path / "film.mp4", frames, fps, "h264")
    given = hiss(audio_samples(num_frames, fps))
    mux(tmp_path / "film.mp4", in_parts(given, 100), tmp_path / "sound.mp4")
    heard = read_sound(tmp_path / "sound.mp4")
    assert heard.shape == (2, round(num_frames / fps * 48_000))
    assert lag(heard, given) == 0
    assert probe(tmp_path / "sound.mp4") == VideoInfo(num_frames, Fraction(fps), 16, 32, "h264", 1)


def test_a_player_that_heeds_the_edit_list_hears_the_exact_length(tmp_path: Path, film: Path) -> None:
    mux(film, tone(99_000), tmp_path / "sound.mp4")
    with av.open(str(tmp_path / "sound.mp4")) as container:
        track = container.streams.audio[0]
        assert (track.start_time, track.duration, track.time_base) == (0, 99_000, Fraction(1, 48_000))
        assert (track.codec_context.name, track.codec_context.sample_rate) == ("aac", 48_000)
        assert container.streams.video[0].start_time == 0


def test_sound_is_heard_when_it_was_given(tmp_path: Path, film: Path) -> None:
    given = np.zeros((2, 99_000), np.float32)
    given[:, 48_000:48_480] = tone(480, hertz=1000)
    mux(film, given, tmp_path / "sound.mp4")
    loud = np.flatnonzero(np.abs(read_sound(tmp_path / "sound.mp4")[0]) > 0.25)
    assert abs(loud[0] - 48_004) <= 16
    assert abs(loud[-1] - 48_476) <= 16


def test_the_pictures_of_a_film_are_copied_and_not_encoded_again(tmp_path: Path, film: Path) -> None:
    mux(film, tone(99_000), tmp_path / "sound.mp4")
    with av.open(str(film)) as silent, av.open(str(tmp_path / "sound.mp4")) as sounding:
        before, after = ([bytes(packet) for packet in file.demux(video=0)] for file in (silent, sounding))
    assert before == after
    np.testing.assert_array_equal(read_video(tmp_path / "sound.mp4")[0], read_video(film)[0])
    content = (tmp_path / "sound.mp4").read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_equal_films_and_sounds_give_equal_bytes_and_the_last_sound_counts(tmp_path: Path, film: Path) -> None:
    mux(film, tone(99_000), tmp_path / "a.mp4")
    mux(film.read_bytes(), tone(99_000), tmp_path / "b.mp4")
    mux(tmp_path / "a.mp4", hiss(99_000), tmp_path / "c.mp4")
    mux(film, hiss(99_000), tmp_path / "d.mp4")
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()
    assert (tmp_path / "c.mp4").read_bytes() == (tmp_path / "d.mp4").read_bytes()


@pytest.mark.parametrize("num_samples", [1, 98_999, 99_001])
def test_sound_of_another_length_than_the_film_is_refused_and_leaves_no_file(
    tmp_path: Path, film: Path, num_samples: int
) -> None:
    with pytest.raises(ValueError, match=f"sound is {num_samples} samples long, must be 99000"):
        mux(film, tone(num_samples), tmp_path / "sound.mp4")
    assert list(tmp_path.iterdir()) == [film]


@pytest.mark.parametrize(
    ("sound", "message"),
    [
        (tone(99_000).astype(np.float64), r"sound is float64 \[2, 99000\], must be float32 \[c n\]"),
        (tone(99_000)[0], r"sound is float32 \[99000\], must be float32 \[c n\]"),
        (tone(99_000, 3), r"sound is float32 \[3, 99000\], must be float32 \[c n\]"),
        (np.full((2, 99_000), np.nan, np.float32), "sound is not finite, must be numbers"),
        (tone(0), "sound is (empty|0 samples long), must be"),
        ([], "sound is (empty|0 samples long), must be"),
        ([tone(9000), tone(90_000, 1)], r"sound is float32 \[1, 90000\], must be .* the same in every part"),
    ],
    ids=["doubles", "flat", "three channels", "nan", "none", "no parts", "parts that differ"],
)
def test_what_is_no_sound_is_refused_and_leaves_no_file(
    tmp_path: Path, film: Path, sound: Samples, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        mux(film, sound, tmp_path / "sound.mp4")
    with pytest.raises(ValueError, match=message):
        write_sound(tmp_path / "sound.wav", sound)
    assert list(tmp_path.iterdir()) == [film]


@pytest.mark.parametrize(("container", "codec"), [("matroska", "ffv1"), ("avi", "mpeg4"), ("mpegts", "h264")])
def test_pictures_that_mp4_does_not_hold_as_they_are_must_be_encoded_first(
    tmp_path: Path, container: str, codec: str
) -> None:
    clip = tmp_path / "clip"
    write_pictures(clip, container, codec, greys(4), fps=25, options={"bf": "0"} if codec == "mpeg4" else {})
    assert not can_copy(clip)
    name = {"h264": "h264", "ffv1": "ffv1", "mpeg4": "mpeg4"}[codec]
    with pytest.raises(ValueError, match=f"video is in {name}, must be of a common kind in MP4 or Matroska"):
        mux(clip, tone(7680), tmp_path / "sound.mp4")
    transcode(clip, tmp_path / "film.mp4", "h264")
    assert can_copy(tmp_path / "film.mp4")


@pytest.mark.parametrize(
    ("container", "codec"), [("mp4", "mpeg4"), ("matroska", "libx264"), ("mp4", "libx265"), ("webm", "libvpx-vp9")]
)
@pytest.mark.parametrize("first", [0, 37])
def test_pictures_of_other_programs_are_copied_and_start_with_the_sound(
    tmp_path: Path, container: str, codec: str, first: int
) -> None:
    clip, ticks = tmp_path / "clip", [first + tick for tick in (0, 40, 80, 120, 280, 320)]
    write_pictures(clip, container, codec, greys(6), ticks=ticks, time_base=Fraction(1, 1000))
    info = probe(clip)
    given = hiss(audio_samples(info.num_frames, info.fps))
    mux(clip, given, tmp_path / "sound.mp4")
    heard, found = read_sound(tmp_path / "sound.mp4"), probe(tmp_path / "sound.mp4")
    assert (heard.shape, lag(heard, given)) == (given.shape, 0)
    assert (found.duration_seconds, found.num_tracks) == (info.duration_seconds, 1)
    if found.fps == info.fps:  # Matroska names a rate, MP4 tells the average where the rate varies
        np.testing.assert_array_equal(read_video(tmp_path / "sound.mp4")[0], read_video(clip)[0])
    with av.open(str(tmp_path / "sound.mp4")) as made:
        assert made.streams.video[0].start_time == 0


def test_a_turned_film_stays_turned(tmp_path: Path) -> None:
    frames = np.zeros((3, 16, 32, 3), np.uint8)
    frames[:, :8, :8] = 255
    write_video(tmp_path / "clip.mp4", frames, 16, "h264")
    clip = turned((tmp_path / "clip.mp4").read_bytes(), (0, 1, -1, 0))
    mux(clip, hiss(9000), tmp_path / "sound.mp4")
    shown, _ = read_video(tmp_path / "sound.mp4")
    assert shown.shape == (3, 32, 16, 3)
    np.testing.assert_array_equal(shown, read_video(clip)[0])


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("num_samples", [1, 3000, 123_457])
def test_flac_keeps_24_bits_and_m4a_the_length(tmp_path: Path, num_samples: int, channels: int) -> None:
    given = hiss(num_samples, channels)
    write_flac(tmp_path / "sound.flac", in_parts(given, num_samples // 2))
    kept = read_sound(tmp_path / "sound.flac", channels=channels)
    assert kept.shape == given.shape
    assert np.abs(kept - given).max() <= 2**-23
    write_m4a(tmp_path / "sound.m4a", given)
    heard = read_sound(tmp_path / "sound.m4a", channels=channels)
    assert heard.shape == given.shape
    if num_samples > 3000:
        assert lag(heard, given) == 0
