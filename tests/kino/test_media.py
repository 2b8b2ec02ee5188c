import resource
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import get_args

import av
import numpy as np
import pytest

from kino.files import FullError
from kino.footage import probe, read_video
from kino.media import (
    MEDIA_TYPES,
    Codec,
    Frames,
    VideoInfo,
    VideoWriter,
    write_video,
)
from tests.kino.clips import noise, plain

RATES = [16, 24, 25, 30, Fraction(24000, 1001), Fraction(30000, 1001), Fraction(25, 2)]


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


def test_media_types_name_the_containers() -> None:
    assert MEDIA_TYPES == {"ffv1": "video/matroska", "h264": "video/mp4"}


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
