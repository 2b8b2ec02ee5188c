"""Pictures as files: PNG, pictures from outside at any size, contact sheets. A picture is uint8 [h w c=3], sRGB."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from kino.media import Frames, Limits

PNG = "image/png"

_FORMATS = ("PNG", "JPEG", "WEBP")


def encode_png(frame: Frames) -> bytes:
    """Return a frame [h w c=3] as PNG."""
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"frame is {frame.dtype} {list(frame.shape)}, must be uint8 [h w 3]")
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "png")
    return file.getvalue()


def decode_image(data: bytes, limits: Limits | None = None) -> Frames:
    """Return a PNG, JPEG or WebP as it is seen, [h w c=3]: turned as its EXIF says, in sRGB, over black.

    Of an animation it is the first picture. 16 bits become 8, and a colour profile is heeded. The size is checked
    before anything is decoded.

    Raises:
        ValueError: it is none of these, is broken or truncated, or breaks a limit.
    """
    limits = limits or Limits()
    if len(data) > limits.max_bytes:
        raise ValueError(f"image is {len(data)} bytes, must be at most {limits.max_bytes}")
    with _named_errors(limits):
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
    if image.width * image.height > limits.max_pixels:
        raise ValueError(f"image is {image.width}x{image.height}, must be at most {limits.max_pixels} pixels")
    with _named_errors(limits), image:
        image.load()
        seen = _srgb(ImageOps.exif_transpose(image))
    black = Image.new("RGBA", seen.size, (0, 0, 0, 255))
    return np.asarray(Image.alpha_composite(black, seen).convert("RGB"))


@contextmanager
def _named_errors(limits: Limits) -> Iterator[None]:
    """Turn what Pillow says against a picture into a `ValueError` of field, value and bound."""
    try:
        yield
    except Image.DecompressionBombError as error:
        raise ValueError(f"image is too large ({error}), must be at most {limits.max_pixels} pixels") from error
    except UnidentifiedImageError as error:
        raise ValueError("image is unreadable (no format we know), must be a whole PNG, JPEG or WebP") from error
    except (OSError, SyntaxError, ValueError, ImageCms.PyCMSError) as error:
        raise ValueError(f"image is unreadable ({error}), must be a whole PNG, JPEG or WebP") from error


def _srgb(image: Image.Image) -> Image.Image:
    """Return a decoded picture in sRGB with transparency, 8 bits each."""
    if image.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut off rather than scale
        return Image.fromarray((np.asarray(image, np.uint32) * 255 // 65535).astype(np.uint8)).convert("RGBA")
    profile = image.info.get("icc_profile")
    if not profile:
        return image.convert("RGBA")
    colours = image if image.mode in ("RGB", "CMYK", "L") else image.convert("RGB")
    seen = ImageCms.profileToProfile(colours, io.BytesIO(profile), ImageCms.createProfile("sRGB"), outputMode="RGB")
    assert seen is not None  # it would be None if the picture were changed in place
    if image.has_transparency_data:
        seen.putalpha(image.convert("RGBA").getchannel("A"))
    return seen.convert("RGBA")


def fit_to(frame: Frames, height: int, width: int, how: Literal["cover", "letterbox"] = "cover") -> Frames:
    """Return a picture [h w c=3] at another size without distorting it, resampled after Lanczos.

    Args:
        how: "cover" fills the size and crops what is over, evenly on both sides; "letterbox" keeps the whole picture,
            with black beside it.
    """
    if height < 1 or width < 1:
        raise ValueError(f"size is {height}x{width}, must be at least 1x1")
    image = Image.fromarray(frame)
    if how == "cover":
        return np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS))
    scale = min(height / image.height, width / image.width)
    inner = max(round(image.width * scale), 1), max(round(image.height * scale), 1)
    boxed = Image.new("RGB", (width, height))
    boxed.paste(image.resize(inner, Image.Resampling.LANCZOS), ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return np.asarray(boxed)


def spread(num_frames: int, count: int) -> list[int]:
    """Return the indices of up to `count` frames, evenly from the first to the last."""
    count = min(num_frames, count)
    return [round(index * (num_frames - 1) / max(count - 1, 1)) for index in range(count)]


def contact_sheet(frames: Frames, columns: int = 4, gap: int = 2) -> Frames:
    """Return frames [t h w c=3] in reading order as one picture [h w c=3], `gap` black pixels between them."""
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or not len(frames):
        raise ValueError(f"frames is {frames.dtype} {list(frames.shape)}, must be uint8 [t h w 3] of at least 1 frame")
    num_frames, height, width, _ = frames.shape
    columns = min(columns, num_frames)
    rows = -(-num_frames // columns)
    sheet = np.zeros((rows * (height + gap) - gap, columns * (width + gap) - gap, 3), np.uint8)
    for index, frame in enumerate(frames):
        top, left = index // columns * (height + gap), index % columns * (width + gap)
        sheet[top : top + height, left : left + width] = frame
    return sheet
