"""Pictures as files: PNG, pictures from outside, contact sheets. A picture is uint8 [h w c=3], sRGB."""

import io

import numpy as np
from PIL import Image, ImageOps

from kino.media import Frames, Limits

PNG = "image/png"


def encode_png(frame: Frames) -> bytes:
    """Return a frame [h w c=3] as PNG."""
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
        raise ValueError(f"frame is {frame.dtype} {list(frame.shape)}, must be uint8 [h w 3]")
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "png")
    return file.getvalue()


def decode_image(data: bytes, limits: Limits | None = None) -> Frames:
    """Return a PNG or JPEG, turned as its EXIF orientation says, as [h w c=3]; transparency shows black.

    Raises:
        ValueError: it is neither, is broken or truncated, or breaks a limit.
    """
    limits = limits or Limits()
    if len(data) > limits.max_bytes:
        raise ValueError(f"image is {len(data)} bytes, must be at most {limits.max_bytes}")
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > limits.max_pixels:
                raise ValueError(f"image is {image.width}x{image.height}, must be at most {limits.max_pixels} pixels")
            upright = ImageOps.exif_transpose(image).convert("RGBA")
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"image is unreadable ({error}), must be a whole PNG or JPEG") from error
    black = Image.new("RGBA", upright.size, (0, 0, 0, 255))
    return np.asarray(Image.alpha_composite(black, upright).convert("RGB"))


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
