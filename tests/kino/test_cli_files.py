from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kino.cli_files import check_picture, check_video, media_type
from kino.errors import InvalidArgumentError
from kino.media import EDITED_VIDEOS, write_video
from tests.kino.clips import greys, noise, write_pictures


def test_the_type_of_a_file_is_guessed_from_its_name() -> None:
    names = ("a.webm", "a.MOV", "a.txt", "a.png", "a")
    assert [media_type(Path(name), "video", "video/mp4") for name in names] == [
        *("video/webm", "video/quicktime", "video/mp4", "video/mp4", "video/mp4")
    ]
    assert [media_type(Path(name), "image", "image/png") for name in ("a.jpg", "a.webp", "a.mp4")] == [
        *("image/jpeg", "image/webp", "image/png")
    ]


def test_a_video_is_told_what_it_holds(tmp_path: Path) -> None:
    write_video(tmp_path / "clip", noise(5, 17, 22), 16, "ffv1")
    info = check_video(tmp_path / "clip", "VIDEO", EDITED_VIDEOS, 16, 2)
    assert (info.num_frames, info.height, info.width) == (5, 17, 22)


@pytest.mark.parametrize(
    "what", ["missing", "a folder", "text", "half", "empty", "too slow", "too fast", "too long", "a still"]
)
def test_what_no_service_takes_is_refused_by_its_name(tmp_path: Path, what: str) -> None:
    path = tmp_path / "clip.mp4"
    if what == "a folder":
        path.mkdir()
    elif what == "text":
        path.write_text("no video at all")
    elif what == "empty":
        path.touch()
    elif what == "half":
        write_video(path, noise(20, 32, 32), 16, "h264")
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    elif what in ("too slow", "too fast"):
        write_pictures(path, "mp4", "libx264", greys(4), fps=1000 if what == "too fast" else Fraction(1, 10))
    elif what == "too long":
        write_video(path, noise(17, 16, 16), 1, "ffv1")
    elif what == "a still":
        write_video(path, noise(1, 16, 16), 16, "h264")
    with pytest.raises(InvalidArgumentError, match=r"VIDEO is .*must") as refused:
        check_video(path, "VIDEO", EDITED_VIDEOS, 16, 2)
    assert refused.value.field == "VIDEO"


def test_a_picture_is_looked_at(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((3, 4), np.uint8)).convert("CMYK").save(tmp_path / "a.jpg")
    check_picture(tmp_path / "a.jpg", "--image")
    (tmp_path / "b.png").write_text("no picture")
    with pytest.raises(InvalidArgumentError, match=r"--image is '.*b.png': image is unreadable"):
        check_picture(tmp_path / "b.png", "--image")
    with pytest.raises(InvalidArgumentError, match="must be a file that exists"):
        check_picture(tmp_path / "c.png", "--image")
    with pytest.raises(
        InvalidArgumentError, match=r"--image is 'https://a\.org/b\.png', must be a file on this machine"
    ):
        check_picture(Path("https://a.org/b.png"), "--image")
