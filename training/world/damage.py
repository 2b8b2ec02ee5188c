"""Films made worse on purpose, as a lossy model might, to see what the judge can bear."""

import numpy as np
import skia
from numpy.typing import NDArray

from training.world.paint import RGBA


def damage(
    frames: NDArray[np.uint8], rng: np.random.Generator, blur: float = 0.0, noise: float = 0.0, jpeg: int | None = None
) -> NDArray[np.uint8]:
    """Frames [t h w 3] blurred, then noisy, then compressed one by one.

    Args:
        blur: standard deviation of a Gaussian in pixels at a short side of 96; it grows with the frame.
        noise: standard deviation of white noise, in grey levels.
        jpeg: quality from 1 to 100; nothing is compressed without it.
    """
    sigma = blur * min(frames.shape[1:3]) / 96.0
    out = np.empty_like(frames)
    for index, frame in enumerate(frames):
        pixels = _blurred(frame, sigma) if sigma > 0 else frame
        if noise > 0:
            pixels = np.clip(pixels + rng.normal(0.0, noise, pixels.shape), 0, 255).round().astype(np.uint8)
        out[index] = _compressed(pixels, jpeg) if jpeg is not None else pixels
    return out


def _image(frame: NDArray[np.uint8]) -> skia.Image:
    opaque = np.concatenate([frame, np.full_like(frame[..., :1], 255)], axis=-1)
    return skia.Image.fromarray(np.ascontiguousarray(opaque), colorType=RGBA)


def _blurred(frame: NDArray[np.uint8], sigma: float) -> NDArray[np.uint8]:
    pixels = np.zeros((*frame.shape[:2], 4), np.uint8)
    soft = skia.Paint(ImageFilter=skia.ImageFilters.Blur(sigma, sigma, skia.TileMode.kClamp))
    skia.Canvas(pixels, colorType=RGBA).drawImage(_image(frame), 0, 0, skia.SamplingOptions(), soft)
    return np.ascontiguousarray(pixels[..., :3])


def _compressed(frame: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    data = _image(frame).encodeToData(skia.kJPEG, quality)
    return np.ascontiguousarray(skia.Image.MakeFromEncoded(data).toarray(colorType=RGBA)[..., :3])
