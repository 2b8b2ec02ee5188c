import io
import os
import resource
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import get_args

import av
import numpy as np
import pytest

from kino.files import FullError
from kino.media import (
    MEDIA_TYPES,
    Codec,
    Frames,
    Limits,
    VideoInfo,
    VideoWriter,
    iter_frames,
    probe,
    read_video,
    transcode,
    write_video,
)

RATES = [16, 24, 25, 30, Fraction(24000, 1001), Fraction(30000, 1001), Fraction(25, 2)]


def noise(num_frames: int, height: int, width: int) -> Frames:
    return np.random.default_rng(0).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)


def plain(num_frames: int, height: int, width: int, colour: tuple[int, int, int]) -> Frames:
    return np.broadcast_to(np.array(colour, np.uint8), (num_frames, height, width, 3)).copy()


@pytest.fixture
def lossless(tmp_path: Path) -> Path:
    write_video(tmp_path / "clip.mkv", noise(33, 18, 22), 16, "ffv1")
    return tmp_path / "clip.mkv"


@pytest.fixture
def film(tmp_path: Path) -> Path:
    write_video(tmp_path / "film.mp4", noise(33, 18, 22), 16, "h264")
    return tmp_path / "film.mp4"


@pytest.mark.parametrize("size", [(1, 1, 1), (1, 17, 23), (5, 2, 400), (33, 96, 96)])
def test_lossless_video_gives_back_the_same_frames(tmp_path: Path, size: tuple[int, int, int]) -> None:
    frames = noise(*size)
    write_video(tmp_path / "clip.mkv", frames, 16, "ffv1")
    back, fps = read_video(tmp_path / "clip.mkv")
    assert fps == 16
    np.testing.assert_array_equal(back, frames)


@pytest.mark.parametrize("fps", RATES)
@pytest.mark.parametrize("codec", get_args(Codec))
@pytest.mark.parametrize("num_frames", [1, 2, 33])
def test_probe_tells_the_exact_rate_length_and_size(
    tmp_path: Path, fps: int | Fraction, codec: Codec, num_frames: int
) -> None:
    write_video(tmp_path / "clip", noise(num_frames, 16, 32), fps, codec)
    info = probe(tmp_path / "clip")
    assert info == VideoInfo(num_frames, Fraction(fps), 16, 32, codec)
    assert info.duration_seconds == Fraction(num_frames) / Fraction(fps)
    assert len(read_video(tmp_path / "clip")[0]) == num_frames


@pytest.mark.parametrize("codec", get_args(Codec))
def test_equal_frames_give_equal_bytes(tmp_path: Path, codec: Codec) -> None:
    for name in ("a", "b"):
        write_video(tmp_path / name, noise(12, 40, 48), 16, codec)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("codec", get_args(Codec))
def test_frames_written_as_they_come_give_the_file_written_at_once(tmp_path: Path, codec: Codec) -> None:
    frames = noise(12, 40, 48)
    write_video(tmp_path / "whole", frames, 16, codec)
    with VideoWriter(tmp_path / "parts", 16, 40, 48, codec) as writer:
        for start, stop in ((0, 1), (1, 1), (1, 8), (8, 12)):
            writer.write(frames[start:stop])
    assert writer.num_frames == 12
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()


def test_a_film_is_h264_yuv420p_tagged_bt709(film: Path) -> None:
    with av.open(str(film)) as container:
        codec_context = container.streams.video[0].codec_context
        assert (codec_context.name, codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (codec_context.colorspace, codec_context.color_trc, codec_context.color_primaries) == (1, 1, 1)
        assert codec_context.color_range == 1


def test_a_film_has_its_index_before_its_frames(film: Path) -> None:
    content = film.read_bytes()
    assert content[4:8] == b"ftyp"
    assert 0 < content.index(b"moov") < content.index(b"mdat")


@pytest.mark.parametrize("colour", [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255), (0, 0, 0), (200, 120, 40)])
def test_a_film_keeps_its_colours(tmp_path: Path, colour: tuple[int, int, int]) -> None:
    write_video(tmp_path / "film.mp4", plain(3, 32, 32, colour), 16, "h264")
    back, _ = read_video(tmp_path / "film.mp4")
    np.testing.assert_allclose(back.astype(int), plain(3, 32, 32, colour).astype(int), atol=3)


def test_a_film_is_converted_by_the_matrix_of_bt709(tmp_path: Path) -> None:
    write_video(tmp_path / "film.mp4", plain(1, 32, 32, (0, 255, 0)), 16, "h264")
    with av.open(str(tmp_path / "film.mp4")) as container:
        luma = next(container.decode(video=0)).to_ndarray()[:32]
    assert np.abs(luma.astype(int) - round(16 + 219 * 0.7152)).max() <= 1


@pytest.mark.parametrize(
    ("size", "even"), [((1, 1), (2, 2)), ((17, 32), (18, 32)), ((32, 17), (32, 18)), ((9, 9), (10, 10))]
)
def test_a_film_of_odd_size_repeats_its_last_row_or_column(
    tmp_path: Path, size: tuple[int, int], even: tuple[int, int]
) -> None:
    frames = plain(4, *size, (40, 160, 90))
    write_video(tmp_path / "film.mp4", frames, 16, "h264")
    back, _ = read_video(tmp_path / "film.mp4")
    assert back.shape == (4, *even, 3)
    np.testing.assert_allclose(back.astype(int), plain(4, *even, (40, 160, 90)).astype(int), atol=3)


def test_transcoding_equals_writing_the_frames(tmp_path: Path, lossless: Path) -> None:
    info = transcode(lossless, tmp_path / "made.mp4", "h264")
    write_video(tmp_path / "direct.mp4", noise(33, 18, 22), 16, "h264")
    assert info == VideoInfo(33, Fraction(16), 18, 22, "h264")
    assert (tmp_path / "made.mp4").read_bytes() == (tmp_path / "direct.mp4").read_bytes()


def test_paths_bytes_and_streams_read_alike_in_chunks(lossless: Path) -> None:
    frames = noise(33, 18, 22)
    for source in (lossless, lossless.read_bytes(), io.BytesIO(lossless.read_bytes())):
        chunks = list(iter_frames(source, chunk=10))
        assert [len(chunk) for chunk in chunks] == [10, 10, 10, 3]
        np.testing.assert_array_equal(np.concatenate(chunks), frames)


def test_media_types_name_the_containers() -> None:
    assert MEDIA_TYPES == {"ffv1": "video/matroska", "h264": "video/mp4"}


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
    with pytest.raises(ValueError, match=r"video is unreadable .*, must be a whole MP4, Matroska or WebM"):
        reader(content)


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


@pytest.mark.parametrize("codec", get_args(Codec))
def test_a_video_of_no_frames_is_not_written(tmp_path: Path, codec: Codec) -> None:
    with pytest.raises(ValueError, match="frames is empty, must be at least 1 frame"):
        write_video(tmp_path / "clip", noise(0, 16, 16), 16, codec)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (noise(1, 16, 17), r"frames is uint8 \[1, 16, 17, 3\], must be uint8 \[t 16 16 3\]"),
        (noise(1, 16, 16)[0], r"frames is uint8 \[16, 16, 3\]"),
        (noise(1, 16, 16)[..., :1], r"frames is uint8 \[1, 16, 16, 1\]"),
        (noise(1, 16, 16).astype(np.float32), r"frames is float32 \[1, 16, 16, 3\]"),
    ],
)
def test_frames_of_another_kind_are_refused_and_leave_no_file(tmp_path: Path, frames: Frames, message: str) -> None:
    def write() -> None:
        with VideoWriter(tmp_path / "clip", 16, 16, 16, "h264") as writer:
            writer.write(noise(1, 16, 16))
            writer.write(frames)

    with pytest.raises(ValueError, match=message):
        write()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("fps", [0, -1, Fraction(-1, 2)])
def test_a_rate_that_is_not_positive_is_refused(tmp_path: Path, fps: int | Fraction) -> None:
    with pytest.raises(ValueError, match=f"fps is {fps}, must be greater than 0"):
        VideoWriter(tmp_path / "clip", fps, 16, 16, "ffv1")


@pytest.fixture
def small_files_only() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.usefixtures("small_files_only")
@pytest.mark.parametrize("codec", get_args(Codec))
def test_a_full_disk_is_a_typed_error_and_leaves_no_file(tmp_path: Path, codec: Codec) -> None:
    with pytest.raises(FullError, match="no room left"):
        write_video(tmp_path / "clip", noise(20, 128, 128), 16, codec)
    assert list(tmp_path.iterdir()) == []
    write_video(tmp_path / "clip", noise(2, 16, 16), 16, codec)
    assert probe(tmp_path / "clip").num_frames == 2
