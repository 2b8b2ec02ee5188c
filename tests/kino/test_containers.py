import os
from pathlib import Path
from typing import cast

import av
import numpy as np
import pytest
from av.stream import Disposition
from av.video.stream import VideoStream

from kino.footage import iter_frames, probe, read_video
from kino.media import Limits, write_video
from kino.sound import read_sound, write_sound
from kino.soundtrack import mux
from tests.kino.clips import block, greys, noise, tone, write_pictures


@pytest.fixture
def lossless(tmp_path: Path) -> Path:
    write_video(tmp_path / "clip.mkv", noise(33, 18, 22), 16, "ffv1")
    return tmp_path / "clip.mkv"


@pytest.fixture
def film(tmp_path: Path) -> Path:
    write_video(tmp_path / "film.mp4", noise(33, 18, 22), 16, "h264")
    return tmp_path / "film.mp4"


@pytest.mark.parametrize("reader", [read_video, probe])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"not a video",
        bytes(5000),
        os.urandom(5000),
        b"\x1aE\xdf\xa3" + bytes(5000),
        b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        b"\x89PNG\r\n\x1a\n" + bytes(100),
    ],
    ids=["empty", "text", "zeros", "noise", "ebml", "playlist", "concat", "png"],
)
def test_what_is_no_video_is_named(reader: object, content: bytes) -> None:
    assert callable(reader)
    with pytest.raises(ValueError, match=r"video is unreadable .*, must be a whole MP4, Matroska, WebM, AVI or"):
        reader(content)


@pytest.mark.parametrize("name", ["a.mp4", "a.mov", "a.mp3", "a.flac", "a"])
def test_a_file_is_what_its_bytes_say_whatever_its_name(
    tmp_path: Path, lossless: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    (tmp_path / name).write_bytes(lossless.read_bytes())
    assert probe(tmp_path / name) == probe(lossless)
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(ValueError, match="video is unreadable"):
        probe(tmp_path / name)
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("reader", [read_video, probe])
@pytest.mark.parametrize("kept", [0.01, 0.1, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("name", ["lossless", "film"])
def test_a_truncated_video_is_named(request: pytest.FixtureRequest, reader: object, kept: float, name: str) -> None:
    assert callable(reader)
    content = request.getfixturevalue(name).read_bytes()
    with pytest.raises(ValueError, match=r"^video is (unreadable|truncated|without|a file without)"):
        reader(content[: int(len(content) * kept)])
    assert len(read_video(content)[0]) == 33


@pytest.mark.parametrize("name", ["lossless", "film"])
def test_damage_ends_in_frames_or_in_a_value_error(request: pytest.FixtureRequest, name: str) -> None:
    content = request.getfixturevalue(name).read_bytes()
    generator = np.random.default_rng(0)
    refusals = []
    for _ in range(60):
        damaged = bytearray(content)
        for position in generator.integers(0, len(content), 20):
            damaged[position] ^= int(generator.integers(1, 256))
        try:
            read_video(bytes(damaged), Limits(max_pixels=4096))
        except ValueError as error:
            refusals.append(str(error))
    assert refusals
    assert [refusal for refusal in refusals if not refusal.startswith("video is ")] == []


def test_sound_alone_is_no_film(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=48000, layout="mono")
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        sound.rate = 48000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(ValueError, match="video is a file without pictures, must be a film"):
        probe(tmp_path / "sound.mp4")


@pytest.mark.parametrize("reader", [read_video, probe])
def test_a_video_over_a_limit_is_named(lossless: Path, reader: object) -> None:
    assert callable(reader)
    size_bytes = lossless.stat().st_size
    with pytest.raises(ValueError, match=f"video is {size_bytes} bytes, must be at most {size_bytes - 1}"):
        reader(lossless, Limits(max_bytes=size_bytes - 1))
    with pytest.raises(ValueError, match="too large or of no size, must be at most 395 pixels a frame"):
        reader(lossless, Limits(max_pixels=395))
    with pytest.raises(ValueError, match="video is longer than 32 frames, must be at most that"):
        reader(lossless, Limits(max_frames=32))
    reader(lossless, Limits(size_bytes, 396, 33))


@pytest.mark.parametrize(
    ("container", "codec"), [("mp4", "libx264"), ("matroska", "libx264"), ("webm", "libvpx-vp9"), ("avi", "mjpeg")]
)
def test_a_foreign_video_that_was_cut_off_is_not_read_as_a_shorter_one(
    tmp_path: Path, container: str, codec: str
) -> None:
    form = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    pictures = [av.VideoFrame.from_ndarray(frame, "rgb24").reformat(format=form) for frame in noise(25, 16, 32)]
    write_pictures(tmp_path / "clip", container, codec, pictures, options={"g": "1"})
    content = (tmp_path / "clip").read_bytes()
    assert len(read_video(content)[0]) == 25
    for kept in (0.3, 0.6, 0.85):
        with pytest.raises(ValueError, match=r"^video is (unreadable|truncated|a file without pictures)"):
            read_video(content[: int(len(content) * kept)])


def test_frames_before_a_break_come_and_then_an_error(lossless: Path) -> None:
    content = lossless.read_bytes()
    chunks = iter_frames(content[: len(content) // 2], 4)
    np.testing.assert_array_equal(next(chunks), noise(33, 18, 22)[:4])
    with pytest.raises(ValueError, match=r"^video is truncated"):
        list(chunks)


def test_damaged_pictures_of_a_film_are_named_rather_than_shown(film: Path) -> None:
    content = bytearray(film.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 200] = bytes(value ^ 255 for value in content[middle : middle + 200])
    with pytest.raises(ValueError, match=r"^video is (broken|unreadable)"):
        read_video(bytes(content))


def test_a_huge_picture_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    """Each picture of this film claims 20,000 x 20,000 pixels in its own head, and at last in the file's too."""
    write_pictures(tmp_path / "clip.avi", "avi", "mjpeg", greys(2, "yuvj420p"))
    jpeg, huge = b"\xff\xc0\x00\x11\x08", (20_000).to_bytes(2, "big") * 2
    content = (tmp_path / "clip.avi").read_bytes()
    assert content.count(jpeg + b"\x00\x10\x00\x20") == 2
    content = content.replace(jpeg + b"\x00\x10\x00\x20", jpeg + huge)
    for reader in (read_video, probe):
        with pytest.raises(ValueError, match=r"^video is unreadable \(Invalid data"):
            reader(content)
    content = content.replace(
        (32).to_bytes(4, "little") + (16).to_bytes(4, "little"), (20_000).to_bytes(4, "little") * 2
    )
    for reader in (read_video, probe):
        with pytest.raises(ValueError, match=r"^video is too large or of no size, must be at most 2088960 pixels"):
            reader(content)


def test_a_codec_that_is_not_listed_is_named(tmp_path: Path) -> None:
    write_pictures(tmp_path / "clip.avi", "avi", "cinepak", greys(2, "rgb24"))
    for reader in (read_video, probe):
        with pytest.raises(ValueError, match=r"^video is in codec cinepak, must be in a common one"):
            reader(tmp_path / "clip.avi")


@pytest.mark.parametrize(
    ("container", "codec", "message"),
    [("mp4", "libx264", "a file without pictures"), ("matroska", "ffv1", r"unreadable \(End of file\)")],
)
def test_a_video_without_a_single_frame_is_named(tmp_path: Path, container: str, codec: str, message: str) -> None:
    with av.open(str(tmp_path / "clip"), "w", container) as made:
        stream = cast(VideoStream, made.add_stream(codec, rate=16))
        stream.width, stream.height, stream.pix_fmt = 32, 16, "yuv420p"
        made.start_encoding()
    for reader in (read_video, probe):
        with pytest.raises(ValueError, match=f"^video is {message}"):
            reader(tmp_path / "clip")


def test_the_cover_of_a_record_is_no_film(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "song.mp4"), "w", "mp4") as container:
        cover = container.add_stream("png", rate=1)
        cover.width, cover.height, cover.pix_fmt, cover.disposition = 32, 16, "rgb24", Disposition.attached_pic
        track = container.add_stream("aac", rate=48000, layout="mono")
        container.mux(cover.encode(greys(1, "rgb24")[0]))
        container.mux(cover.encode(None))
        container.mux(track.encode(block(tone(48_000, 1))))
        container.mux(track.encode(None))
    with pytest.raises(ValueError, match="video is a file without pictures, must be a film"):
        probe(tmp_path / "song.mp4")
    assert read_sound(tmp_path / "song.mp4", channels=1).shape == (1, 48000)


def test_a_sound_track_counts_when_a_file_is_checked_for_its_whole_length(tmp_path: Path, film: Path) -> None:
    mux(film, tone(99_000), tmp_path / "sound.mp4")
    assert len(read_video(tmp_path / "sound.mp4")[0]) == 33
    write_sound(tmp_path / "sound.wav", tone(99_000))
    content = (tmp_path / "sound.wav").read_bytes()
    with pytest.raises(ValueError, match=r"^sound is truncated"):
        read_sound(content[: len(content) // 2])
