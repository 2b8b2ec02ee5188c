import io
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Colorspace

from kino.footage import iter_frames, probe, read_video, transcode
from kino.media import Limits, VideoInfo, write_video
from tests.kino.clips import greys, noise, picture, turned, write_pictures, write_three_tracks


@pytest.fixture
def lossless(tmp_path: Path) -> Path:
    write_video(tmp_path / "clip.mkv", noise(33, 18, 22), 16, "ffv1")
    return tmp_path / "clip.mkv"


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


def values(source: Path) -> list[int]:
    """The numbers of the pictures of `greys` that a file shows, frame by frame."""
    return [round(frame.mean() / 10) for frame in read_video(source)[0]]


@pytest.mark.parametrize(
    ("container", "codec"),
    [("avi", "mpeg4"), ("mpegts", "libx264"), ("mpegts", "mpeg2video"), ("webm", "libvpx-vp9"), ("mov", "libx264")],
)
def test_common_containers_and_codecs_are_read(tmp_path: Path, container: str, codec: str) -> None:
    write_pictures(tmp_path / "clip", container, codec, greys(10), fps=Fraction(30000, 1001))
    assert (probe(tmp_path / "clip").num_frames, probe(tmp_path / "clip").fps) == (10, Fraction(30000, 1001))
    assert values(tmp_path / "clip") == list(range(10))


@pytest.mark.parametrize(("container", "codec"), [("matroska", "ffv1"), ("mp4", "libx264"), ("matroska", "libx264")])
def test_a_variable_rate_becomes_constant_and_each_picture_stays_until_the_next(
    tmp_path: Path, container: str, codec: str
) -> None:
    ticks = [0, 40, 75, 200, 240, 245, 250, 400]  # milliseconds; at 25 frames per second a frame is 40 long
    write_pictures(tmp_path / "clip", container, codec, greys(8), ticks=ticks, time_base=Fraction(1, 1000))
    if container == "matroska":  # it names its nominal rate
        assert probe(tmp_path / "clip") == VideoInfo(
            11, Fraction(25), 16, 32, codec.removeprefix("lib").replace("x264", "h264")
        )
        assert values(tmp_path / "clip") == [0, 1, 2, 2, 2, 3, 6, 6, 6, 6, 7]
    else:  # it has only the average of its pictures
        info = probe(tmp_path / "clip")
        assert abs(info.duration_seconds - Fraction(440, 1000)) < Fraction(1, 20)
        assert len(values(tmp_path / "clip")) == info.num_frames


def test_timestamps_below_zero_and_edit_lists_are_heeded(tmp_path: Path) -> None:
    """The edit list of this file begins 13 frames after its first one, which players do not show."""
    ticks = range(-500, 500, 40)
    write_pictures(tmp_path / "clip.mp4", "mp4", "libx264", greys(25), ticks=ticks, time_base=Fraction(1, 1000))
    assert probe(tmp_path / "clip.mp4").num_frames == 12
    assert values(tmp_path / "clip.mp4") == list(range(13, 25))


def test_a_film_that_starts_late_starts_at_its_first_picture(tmp_path: Path) -> None:
    write_pictures(tmp_path / "clip.mkv", "matroska", "ffv1", greys(4), ticks=range(100, 104))
    assert probe(tmp_path / "clip.mkv").num_frames == 4
    assert values(tmp_path / "clip.mkv") == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("matrix", "corner", "size"),
    [
        ((1, 0, 0, 1), (0, 0), (16, 32)),
        ((0, 1, -1, 0), (0, 1), (32, 16)),
        ((-1, 0, 0, -1), (1, 1), (16, 32)),
        ((0, -1, 1, 0), (1, 0), (32, 16)),
    ],
    ids=["upright", "a quarter right", "upside down", "a quarter left"],
)
def test_pictures_are_turned_as_the_file_says(
    tmp_path: Path, matrix: tuple[int, int, int, int], corner: tuple[int, int], size: tuple[int, int]
) -> None:
    frames = np.zeros((3, 16, 32, 3), np.uint8)
    frames[:, :8, :8] = 255
    write_video(tmp_path / "clip.mp4", frames, 16, "h264")
    content = turned((tmp_path / "clip.mp4").read_bytes(), matrix)
    back, _ = read_video(content)
    assert back.shape == (3, *size, 3)
    assert (probe(content).height, probe(content).width) == size
    row, column = (0 if side == 0 else length - 8 for side, length in zip(corner, size, strict=True))
    assert back[:, row + 2 : row + 6, column + 2 : column + 6].min() > 240
    assert back.mean() == pytest.approx(255 * 64 / 512, abs=4)


@pytest.mark.parametrize(
    ("planes", "form", "matrix", "span", "height", "colour"),
    [
        ((126, 128, 128), "yuv420p", None, ColorRange.MPEG, 16, (128, 128, 128)),
        ((128, 128, 128), "yuv420p", None, ColorRange.JPEG, 16, (128, 128, 128)),
        ((502, 512, 512), "yuv420p10le", None, ColorRange.MPEG, 16, (127, 127, 127)),
        ((145, 54, 34), "yuv444p", None, ColorRange.MPEG, 16, (0, 255, 0)),
        ((173, 42, 26), "yuv444p", Colorspace.ITU709, ColorRange.MPEG, 16, (0, 255, 0)),
        ((173, 42, 26), "yuv444p", None, ColorRange.MPEG, 720, (0, 255, 0)),
    ],
    ids=["limited", "full", "10 bits", "601 where small", "709 where said", "709 where large"],
)
def test_ranges_matrices_and_depths_come_out_as_the_same_colour(
    tmp_path: Path,
    planes: tuple[int, ...],
    form: str,
    matrix: Colorspace | None,
    span: ColorRange,
    height: int,
    colour: tuple[int, int, int],
) -> None:
    shown = picture(planes, form, height)
    shown.color_range = span
    if matrix is not None:
        shown.colorspace = matrix
    write_pictures(tmp_path / "clip.mkv", "matroska", "ffv1", [shown])
    frame = read_video(tmp_path / "clip.mkv")[0][0]
    np.testing.assert_allclose(frame.reshape(-1, 3).astype(int), [colour] * (height * 32), atol=2)


def test_transparency_shows_black(tmp_path: Path) -> None:
    half = np.full((16, 32, 4), (200, 100, 50, 128), np.uint8)
    half[:, :8, 3], half[:, -8:, 3] = 0, 255
    shown = av.VideoFrame.from_ndarray(half, format="rgba").reformat(format="bgra")
    write_pictures(tmp_path / "clip.mkv", "matroska", "ffv1", [shown])
    frame = read_video(tmp_path / "clip.mkv")[0][0]
    assert [frame[0, column].tolist() for column in (0, 16, 31)] == [[0, 0, 0], [100, 50, 25], [200, 100, 50]]


@pytest.mark.parametrize("size", [(17, 23), (1, 1), (15, 32)])
def test_odd_sizes_are_kept(tmp_path: Path, size: tuple[int, int]) -> None:
    write_pictures(tmp_path / "clip.webm", "webm", "libvpx-vp9", greys(3, "yuv420p", *size))
    assert read_video(tmp_path / "clip.webm")[0].shape == (3, *size, 3)
    assert (probe(tmp_path / "clip.webm").height, probe(tmp_path / "clip.webm").width) == size


def test_interlaced_pictures_are_read_as_they_are(tmp_path: Path) -> None:
    woven = np.zeros((4, 32, 32, 3), np.uint8)
    woven[:, ::2] = 255
    pictures = [av.VideoFrame.from_ndarray(frame, format="rgb24").reformat(format="yuv444p") for frame in woven]
    options = {"x264-params": "tff=1", "crf": "1"}
    write_pictures(tmp_path / "clip.mp4", "mp4", "libx264", pictures, options=options)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert next(container.decode(video=0)).interlaced_frame
    np.testing.assert_allclose(read_video(tmp_path / "clip.mp4")[0].astype(int), woven.astype(int), atol=8)


def test_three_tracks_of_sound_are_counted_and_leave_the_pictures_alone(tmp_path: Path) -> None:
    write_three_tracks(tmp_path / "clip.mkv")
    assert probe(tmp_path / "clip.mkv") == VideoInfo(5, Fraction(25), 16, 32, "ffv1", 3)
    assert values(tmp_path / "clip.mkv") == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    ("fps", "shown"), [(Fraction(1, 10), "0.1"), (1000, "1000"), (Fraction(121), "121")], ids=["slow", "fast", "over"]
)
def test_a_rate_that_no_film_has_is_named(tmp_path: Path, fps: Fraction | int, shown: str) -> None:
    write_pictures(tmp_path / "clip.mp4", "mp4", "libx264", greys(4), fps=fps)
    for reader in (read_video, probe):
        with pytest.raises(ValueError, match=f"video is at {shown} frames per second, must be from 1 to 120"):
            reader(tmp_path / "clip.mp4")
    assert probe(tmp_path / "clip.mp4", Limits(min_fps=0, max_fps=1000)).num_frames == 4


def test_a_gap_of_days_between_two_pictures_ends_at_the_limit(tmp_path: Path) -> None:
    ticks = [0, 40, 80, 10**9]
    write_pictures(tmp_path / "clip.mkv", "matroska", "ffv1", greys(4), ticks=ticks, time_base=Fraction(1, 1000))
    for reader in (read_video, probe):
        with pytest.raises(ValueError, match="video is longer than 1024 frames, must be at most that"):
            reader(tmp_path / "clip.mkv")


def test_a_film_whose_size_changes_is_named(tmp_path: Path) -> None:
    write_pictures(tmp_path / "clip.avi", "avi", "mjpeg", greys(2, "yuvj420p"))
    head, first, second = (tmp_path / "clip.avi").read_bytes().split(b"\xff\xc0\x00\x11\x08\x00\x10")
    content = b"\xff\xc0\x00\x11\x08".join((head, b"\x00\x10" + first, b"\x00\x08" + second))
    with pytest.raises(ValueError, match=r"video is 16x32 and then 8x32, must be of one size"):
        read_video(content)
