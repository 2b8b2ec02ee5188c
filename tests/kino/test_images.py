import io
import struct
import zlib
from typing import Literal

import numpy as np
import pytest
from PIL import Image, ImageCms

from kino.images import PNG, contact_sheet, decode_image, encode_png, fit_to, spread
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
        encoded(Image.fromarray(noise(32, 32)), "WEBP")[:300],
        encoded(Image.fromarray(noise(4, 4)), "GIF"),
        encoded(Image.fromarray(noise(4, 4)), "TIFF"),
        b"\x89PNG\r\n\x1a\n" + bytes(64),
    ],
    ids=["empty", "text", "half a png", "head of a png", "half a jpeg", "half a webp", "gif", "tiff", "zeros"],
)
def test_what_is_no_picture_is_named(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"image is unreadable .*, must be a whole PNG, JPEG or WebP"):
        decode_image(data)


def test_a_picture_over_a_limit_is_named() -> None:
    data = encode_png(noise(10, 20))
    assert decode_image(data, Limits(max_bytes=len(data), max_pixels=200)).shape == (10, 20, 3)
    with pytest.raises(ValueError, match="image is 20x10, must be at most 199 pixels"):
        decode_image(data, Limits(max_pixels=199))
    with pytest.raises(ValueError, match=f"image is {len(data)} bytes, must be at most {len(data) - 1}"):
        decode_image(data, Limits(max_bytes=len(data) - 1))


def png(width: int, height: int, depth: int, kind: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG written by hand: `kind` is 0 for grey, 2 for colours, 6 for colours with alpha; a row begins with 0."""
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    named = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    parts = [chunk(name, data) for name, data in named]
    return b"\x89PNG\r\n\x1a\n" + parts[0] + extra + parts[1] + parts[2]


def chunk(name: bytes, data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("kind", "values", "colour"),
    [
        (0, [51_400], [200, 200, 200]),
        (2, [51_400, 25_700, 12_850], [200, 100, 50]),
        (6, [51_400, 25_700, 12_850, 32_896], [100, 50, 25]),
    ],
    ids=["grey", "colours", "alpha"],
)
def test_sixteen_bits_become_eight(kind: int, values: list[int], colour: list[int]) -> None:
    rows = b"\0" + struct.pack(f">{len(values)}H", *values)
    np.testing.assert_allclose(decode_image(png(1, 1, 16, kind, rows))[0, 0].astype(int), colour, atol=1)


def test_a_palette_with_alpha_and_one_transparent_colour_show_black() -> None:
    palette = Image.new("P", (4, 2))
    palette.putpalette([200, 100, 50, 10, 20, 30])
    palette.putpixel((0, 0), 1)
    picture = decode_image(encoded(palette, "PNG", transparency=bytes([128, 255])))
    assert picture[0, :2].tolist() == [[10, 20, 30], [100, 50, 25]]
    assert decode_image(encoded(palette, "PNG", transparency=0))[0, :2].tolist() == [[10, 20, 30], [0, 0, 0]]


def test_cmyk_comes_out_in_rgb() -> None:
    picture = decode_image(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"))
    np.testing.assert_allclose(picture.astype(int), np.broadcast_to([255, 0, 0], (16, 16, 3)), atol=2)


def test_a_colour_profile_is_heeded() -> None:
    """The same numbers in a space that is linear in light are far lighter in sRGB: 0.5 becomes 188 of 255."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    curve = profile.index(b"para")
    exponent, slope = struct.pack(">i", 1 << 16), struct.pack(">5i", 1 << 16, 0, 1 << 16, 0, 0)
    profile[curve + 12 : curve + 12 + 24] = exponent + slope[:20]
    grey = Image.new("RGB", (4, 4), (128, 128, 128))
    np.testing.assert_allclose(decode_image(encoded(grey, "PNG", icc_profile=bytes(profile))).astype(int), 188, atol=2)
    plain = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_allclose(decode_image(encoded(grey, "PNG", icc_profile=plain)).astype(int), 128, atol=1)
    with pytest.raises(ValueError, match=r"image is unreadable \(.*profile.*\), must be a whole"):
        decode_image(encoded(grey, "PNG", icc_profile=b"no profile at all"))


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_an_animation_the_first_picture_is_read(kind: str) -> None:
    pictures = [Image.new("RGB", (8, 8), (value, 0, 0)) for value in (200, 100, 0)]
    data = encoded(pictures[0], kind, save_all=True, append_images=pictures[1:], lossless=True)
    assert decode_image(data).tolist() == [[[200, 0, 0]] * 8] * 8


def test_webp_is_read() -> None:
    np.testing.assert_array_equal(
        decode_image(encoded(Image.fromarray(noise(9, 7)), "WEBP", lossless=True)), noise(9, 7)
    )


@pytest.mark.parametrize("limit", [1920 * 1088, 300_000_000])
def test_a_bomb_is_refused_from_its_head_alone(limit: int) -> None:
    """20,000 x 20,000 pixels would take 1.2 GB; only the head of this file is there."""
    message = rf"image is too large \(Image size \(400000000 pixels\).*\), must be at most {limit} pixels"
    with pytest.raises(ValueError, match=message):
        decode_image(png(20_000, 20_000, 8, 2, b""), Limits(max_pixels=limit))
    with pytest.raises(ValueError, match=f"image is 8000x8000, must be at most {1920 * 1088} pixels"):
        decode_image(png(8000, 8000, 8, 2, b""))


def test_a_text_that_unfolds_to_a_hundred_megabytes_is_refused() -> None:
    text = chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100 << 20)))
    with pytest.raises(ValueError, match=r"image is unreadable \(.*too large.*\), must be a whole PNG, JPEG or WebP"):
        decode_image(png(1, 1, 8, 2, bytes(4), extra=text))


def test_damage_ends_in_a_picture_or_in_a_value_error() -> None:
    generator, refusals = np.random.default_rng(0), []
    for kind in ("PNG", "JPEG", "WEBP"):
        content = encoded(Image.fromarray(noise(16, 16)), kind)
        for _ in range(60):
            damaged = bytearray(content)
            for position in generator.integers(0, len(content), 6):
                damaged[position] ^= int(generator.integers(1, 256))
            try:
                decode_image(bytes(damaged), Limits(max_pixels=4096))
            except ValueError as error:
                refusals.append(str(error))
    assert refusals
    assert [refusal for refusal in refusals if not refusal.startswith("image is ")] == []


@pytest.mark.parametrize("how", ["cover", "letterbox"])
@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (33, 57), (96, 96)])
def test_any_picture_fits_any_size(size: tuple[int, int], how: Literal["cover", "letterbox"]) -> None:
    for height, width in ((1, 1), (96, 96), (54, 96), (128, 72)):
        assert fit_to(noise(*size), height, width, how).shape == (height, width, 3)


def test_a_picture_of_the_right_size_stays_as_it_is() -> None:
    np.testing.assert_array_equal(fit_to(noise(40, 60), 40, 60), noise(40, 60))
    np.testing.assert_array_equal(fit_to(noise(40, 60), 40, 60, "letterbox"), noise(40, 60))


def test_cover_crops_evenly_and_letterbox_keeps_everything() -> None:
    """Three bands side by side: 20 columns of red, 60 of green, 20 of blue, 60 rows high."""
    bands = np.repeat(np.array([[[200, 0, 0]], [[0, 200, 0]], [[0, 0, 200]]], np.uint8), [20, 60, 20], axis=0)
    picture = np.tile(bands.transpose(1, 0, 2), (60, 1, 1))
    covered = fit_to(picture, 30, 30)
    np.testing.assert_allclose(covered.astype(int), np.broadcast_to([0, 200, 0], (30, 30, 3)), atol=15)
    boxed = fit_to(picture, 50, 50, "letterbox")
    assert boxed[:10].max() == boxed[-10:].max() == 0
    assert [boxed[25, column].tolist() for column in (2, 25, 47)] == [[200, 0, 0], [0, 200, 0], [0, 0, 200]]
    with pytest.raises(ValueError, match="size is 0x50, must be at least 1x1"):
        fit_to(picture, 0, 50)


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


def test_what_is_no_picture_is_told_without_our_own_objects() -> None:
    with pytest.raises(
        ValueError, match=r"^image is unreadable \(no format we know\), must be a whole PNG, JPEG or WebP$"
    ):
        decode_image(b"a text, not a picture")
