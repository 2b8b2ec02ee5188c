import io

import numpy as np
import pytest
from PIL import Image

from kino.images import PNG, contact_sheet, decode_image, encode_png, spread
from kino.media import Frames, Limits


def noise(height: int, width: int) -> Frames:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("size", [(1, 1), (17, 23), (96, 128)])
def test_png_gives_back_the_same_picture(size: tuple[int, int]) -> None:
    frame = noise(*size)
    data = encode_png(frame)
    assert PNG == "image/png"
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    assert encode_png(frame) == data
    np.testing.assert_array_equal(decode_image(data), frame)


@pytest.mark.parametrize(
    "frame", [noise(4, 4)[..., :1], noise(4, 4)[None], noise(4, 4).astype(np.float32)], ids=["grey", "video", "float"]
)
def test_what_is_no_picture_is_not_encoded(frame: Frames) -> None:
    with pytest.raises(ValueError, match=r"frame is .*, must be uint8 \[h w 3\]"):
        encode_png(frame)


def test_jpeg_grey_palette_and_transparency_are_read_as_rgb() -> None:
    grey = Image.new("L", (4, 2), 100)
    half = Image.new("RGBA", (4, 2), (200, 100, 50, 128))
    assert decode_image(encoded(grey, "PNG")).tolist() == [[[100] * 3] * 4] * 2
    assert decode_image(encoded(grey.convert("P"), "PNG")).tolist() == [[[100] * 3] * 4] * 2
    np.testing.assert_allclose(decode_image(encoded(grey, "JPEG")).astype(int), 100, atol=1)
    np.testing.assert_allclose(decode_image(encoded(half, "PNG"))[0, 0].astype(int), [100, 50, 25], atol=1)


def test_a_picture_is_turned_as_its_orientation_says() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the first row of the file is the right side of the picture
    image = Image.new("RGB", (4, 2), (0, 0, 0))
    image.putpixel((0, 0), (255, 255, 255))
    turned = decode_image(encoded(image, "PNG", exif=exif))
    assert turned.shape == (4, 2, 3)
    assert turned[0, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"not a picture",
        encode_png(noise(32, 32))[:500],
        encode_png(noise(32, 32))[:40],
        encoded(Image.fromarray(noise(32, 32)), "JPEG")[:300],
        encoded(Image.fromarray(noise(4, 4)), "GIF"),
        encoded(Image.fromarray(noise(4, 4)), "TIFF"),
        b"\x89PNG\r\n\x1a\n" + bytes(64),
    ],
    ids=["empty", "text", "half a png", "head of a png", "half a jpeg", "gif", "tiff", "zeros"],
)
def test_what_is_no_picture_is_named(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"image is unreadable .*, must be a whole PNG or JPEG"):
        decode_image(data)


def test_a_picture_over_a_limit_is_named() -> None:
    data = encode_png(noise(10, 20))
    assert decode_image(data, Limits(max_bytes=len(data), max_pixels=200)).shape == (10, 20, 3)
    with pytest.raises(ValueError, match="image is 20x10, must be at most 199 pixels"):
        decode_image(data, Limits(max_pixels=199))
    with pytest.raises(ValueError, match=f"image is {len(data)} bytes, must be at most {len(data) - 1}"):
        decode_image(data, Limits(max_bytes=len(data) - 1))


def test_spread_takes_frames_evenly_with_both_ends() -> None:
    assert spread(33, 5) == [0, 8, 16, 24, 32]
    assert spread(3, 8) == [0, 1, 2]
    assert spread(1, 8) == [0]
    assert spread(10, 1) == [0]
    assert spread(0, 4) == []


def test_a_contact_sheet_shows_its_frames_in_reading_order() -> None:
    frames = np.stack([np.full((2, 3, 3), value, np.uint8) for value in (10, 20, 30, 40, 50)])
    sheet = contact_sheet(frames, columns=3, gap=1)
    assert sheet[:, :, 0].tolist() == [
        [10, 10, 10, 0, 20, 20, 20, 0, 30, 30, 30],
        [10, 10, 10, 0, 20, 20, 20, 0, 30, 30, 30],
        [0] * 11,
        [40, 40, 40, 0, 50, 50, 50, 0, 0, 0, 0],
        [40, 40, 40, 0, 50, 50, 50, 0, 0, 0, 0],
    ]
    assert contact_sheet(frames[:1]).shape == (2, 3, 3)


def test_a_contact_sheet_needs_a_frame() -> None:
    with pytest.raises(
        ValueError, match=r"frames is uint8 \[0, 2, 3, 3\], must be uint8 \[t h w 3\] of at least 1 frame"
    ):
        contact_sheet(np.zeros((0, 2, 3, 3), np.uint8))
