from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
from av.audio.stream import AudioStream

from kino.media import Limits, write_video
from kino.sound import Samples, at_sample_rate, fitted, iter_sound, read_sound, write_sound
from tests.kino.clips import block, greys, noise, tone


@pytest.fixture
def film(tmp_path: Path) -> Path:
    write_video(tmp_path / "film.mp4", noise(33, 18, 22), 16, "h264")
    return tmp_path / "film.mp4"


def hiss(num_samples: int, channels: int = 2) -> Samples:
    return np.random.default_rng(0).normal(0, 0.1, (channels, num_samples)).astype(np.float32)


def in_parts(sound: Samples, *bounds: int) -> Iterator[Samples]:
    yield from np.split(sound, bounds, axis=1)


def write_track(path: Path, container: str, codec: str, frames: list[av.AudioFrame], rate: int, layout: str) -> None:
    with av.open(str(path), "w", container) as made:
        track = cast(AudioStream, made.add_stream(codec, rate=rate, layout=layout))
        for frame in frames:
            made.mux(track.encode(frame))
        made.mux(track.encode(None))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("num_samples", [1, 3000, 123_457])
def test_lossless_sound_gives_back_the_same_samples(tmp_path: Path, num_samples: int, channels: int) -> None:
    given = hiss(num_samples, channels) * 20  # beyond full scale as well
    write_sound(tmp_path / "sound.wav", given)
    np.testing.assert_array_equal(read_sound(tmp_path / "sound.wav", channels=channels), given)


def test_sound_written_in_parts_gives_the_file_written_at_once(tmp_path: Path) -> None:
    given = hiss(100_000)
    write_sound(tmp_path / "whole.wav", given)
    write_sound(tmp_path / "parts.wav", in_parts(given, 1, 1, 60_000))
    assert (tmp_path / "parts.wav").read_bytes() == (tmp_path / "whole.wav").read_bytes()


def test_sound_is_read_in_chunks(tmp_path: Path) -> None:
    given = hiss(100_000)
    write_sound(tmp_path / "sound.wav", given)
    chunks = list(iter_sound((tmp_path / "sound.wav").read_bytes(), chunk=30_000))
    assert [chunk.shape for chunk in chunks] == [(2, 30_000)] * 3 + [(2, 10_000)]
    np.testing.assert_array_equal(np.concatenate(chunks, axis=1), given)


@pytest.mark.parametrize(
    ("container", "codec", "rate"),
    [("mp3", "libmp3lame", 44_100), ("flac", "flac", 44_100), ("ogg", "libopus", 48_000), ("mp4", "aac", 22_050)],
)
def test_common_kinds_of_sound_are_read_at_48_kilohertz(tmp_path: Path, container: str, codec: str, rate: int) -> None:
    frame = av.AudioFrame.from_ndarray(tone(rate, 2, 1000, rate), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
    write_track(tmp_path / "sound", container, codec, [frame], rate, "stereo")
    heard = read_sound(tmp_path / "sound")
    assert abs(heard.shape[1] - 48_000) <= (48 if codec != "libmp3lame" else 1152)
    middle = heard[:, 12_000:36_000]
    assert abs(np.abs(np.fft.rfft(middle[0])).argmax() * 2 - 1000) <= 2
    assert np.sqrt(2) * middle.std() == pytest.approx(0.5, rel=0.06)  # LAME itself scales by 0.95


def test_one_channel_fills_both_and_both_make_one(tmp_path: Path) -> None:
    write_sound(tmp_path / "one.wav", tone(4800, 1))
    np.testing.assert_array_equal(read_sound(tmp_path / "one.wav"), tone(4800, 2))
    write_sound(tmp_path / "two.wav", np.concatenate([tone(4800, 1), 0 * tone(4800, 1)]))
    np.testing.assert_allclose(read_sound(tmp_path / "two.wav", channels=1), tone(4800, 1) / 2, atol=1e-6)


def test_any_of_three_tracks_is_read_and_a_fourth_is_named(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "clip.mkv"), "w", "matroska") as container:
        tracks = [container.add_stream("pcm_f32le", rate=48_000, layout="mono") for _ in range(3)]
        for index, track in enumerate(tracks, start=1):
            container.mux(track.encode(block(tone(4800, 1) * np.float32(index / 4))))
    for index in range(3):
        heard = read_sound(tmp_path / "clip.mkv", track=index, channels=1)
        np.testing.assert_allclose(heard, tone(4800, 1) * (index + 1) / 4, atol=1e-6)
    for index in (-1, 3):
        with pytest.raises(ValueError, match=f"track is {index}, must be from 0 to 2"):
            read_sound(tmp_path / "clip.mkv", track=index)


@pytest.mark.parametrize(("begins_ms", "silence"), [(0, 0), (500, 24_000), (-500, -24_000)])
def test_sound_is_laid_along_the_time_of_the_pictures(tmp_path: Path, begins_ms: int, silence: int) -> None:
    """The film starts at one second of the file's clock; its sound begins then, later, or before."""
    with av.open(str(tmp_path / "clip.mkv"), "w", "matroska") as container:
        film = container.add_stream("ffv1", rate=25)
        film.width, film.height, film.pix_fmt = 32, 16, "yuv420p"
        track = container.add_stream("pcm_f32le", rate=48_000, layout="mono")
        for index, shown in enumerate(greys(5)):
            shown.pts, shown.time_base = 25 + index, Fraction(1, 25)
            container.mux(film.encode(shown))
        container.mux(film.encode(None))
        sound = block(tone(48_000, 1))
        sound.pts = 48_000 + begins_ms * 48
        container.mux(track.encode(sound))
    expected = np.pad(tone(48_000, 1), ((0, 0), (max(silence, 0), 0)))[:, max(-silence, 0) :]
    np.testing.assert_allclose(read_sound(tmp_path / "clip.mkv", channels=1), expected, atol=1e-6)


def test_a_gap_in_a_track_is_silent_and_what_comes_twice_is_heard_once(tmp_path: Path) -> None:
    given = tone(48_000, 1)
    with av.open(str(tmp_path / "clip.mkv"), "w", "matroska") as container:
        track = container.add_stream("pcm_f32le", rate=48_000, layout="mono")
        for start in (0, 48_000 * 2, 48_000 * 2 + 24_000):
            sound = block(given)
            sound.pts = start
            container.mux(track.encode(sound))
    expected = np.concatenate([given, 0 * given, given, given[:, 24_000:]], axis=1)
    np.testing.assert_allclose(read_sound(tmp_path / "clip.mkv", channels=1), expected, atol=1e-6)


def test_sound_is_cut_or_filled_to_a_length() -> None:
    given = hiss(1000)
    for count, parts in ((1000, [300]), (400, [300]), (300, [300]), (100_000, [300]), (0, [300]), (5, [])):
        whole = np.concatenate(list(fitted(in_parts(given, *parts), count)), axis=1)
        np.testing.assert_array_equal(whole, np.pad(given, ((0, 0), (0, max(count - 1000, 0))))[:, :count])


def test_a_file_without_sound_or_over_a_limit_is_named(tmp_path: Path, film: Path) -> None:
    with pytest.raises(ValueError, match="sound is a file without sound, must have a track of it"):
        read_sound(film)
    with pytest.raises(ValueError, match=r"sound is unreadable .*, must be a whole file of a common kind"):
        read_sound(b"not a sound")
    with pytest.raises(ValueError, match="channels is 3, must be 1 or 2"):
        read_sound(film, channels=3)
    write_sound(tmp_path / "sound.wav", tone(96_001))
    with pytest.raises(ValueError, match="sound is longer than 2 s, must be at most that"):
        read_sound(tmp_path / "sound.wav", limits=Limits(max_seconds=2))


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100])
def test_sound_of_another_rate_is_the_same_at_48_kilohertz(rate: int) -> None:
    def waves(rate: int) -> Samples:
        wave = np.sin(2 * np.pi * 440 * np.arange(rate // 2) / rate)
        return np.stack([wave, -wave]).astype(np.float32)

    made = at_sample_rate(waves(rate), rate)
    assert made.shape == (2, 24_000)
    np.testing.assert_allclose(made[:, 100:-100], waves(48_000)[:, 100:-100], atol=5e-3)
    given = hiss(1000)
    np.testing.assert_array_equal(at_sample_rate(given, 48_000), given)
