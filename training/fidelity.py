"""How much of a video the TAE keeps: python -m training.fidelity [--count 40] [--video FILE]...

PSNR and SSIM of what comes back, for held-out clips of the world and for videos of any origin, and how far decoding in
tiles departs from decoding whole.
"""

import argparse
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch.nn import functional as F

from kino.footage import iter_frames, probe
from kino.models.tae import TAE
from kino.presets import PRESETS
from kino.registry import Registry
from kino.shapes import PATCH_SIZE, SPATIAL_COMPRESSION, Size
from training.data import to_pixels, to_signed
from training.published import MODELS, open_tae
from training.world.render import render
from training.world.scene import sample

Pixels = NDArray[np.uint8]
MULTIPLE = SPATIAL_COMPRESSION * PATCH_SIZE


def world_clips(count: int) -> Iterator[Pixels]:
    """Held-out clips of two seconds at 96 px, uint8 [32, 96, 96, 3]."""
    for index in range(count):
        yield render(sample(1, index, "held_out"), 32, 96, 96, 16)


def real_clip(path: Path, pixels: int, fps: int, frames: int) -> Pixels:
    """The beginning of a video file at about `fps` frames per second, its area scaled to `pixels` squared."""
    info = probe(path)
    step = max(1, round(info.fps / Fraction(fps)))
    size = size_of_area(info.height, info.width, pixels)
    chosen = []
    for number, frame in enumerate(frame for chunk in iter_frames(path) for frame in chunk):
        if number % step == 0:
            chosen.append(resized(frame, size))
        if len(chosen) == frames:
            break
    return np.stack(chosen)


def size_of_area(height: int, width: int, pixels: int) -> Size:
    """The size whose sides keep the ratio and the area `pixels` squared as well as multiples of 16 can."""
    scale = pixels / (height * width) ** 0.5
    return Size(*(max(MULTIPLE, round(side * scale / MULTIPLE) * MULTIPLE) for side in (height, width)))


def resized(frame: Pixels, size: Size) -> Pixels:
    """A frame [h w 3] at another size, area-averaged where it shrinks."""
    planes = rearrange(torch.from_numpy(np.ascontiguousarray(frame)).float(), "h w c -> 1 c h w")
    scaled = F.interpolate(planes, (size.height, size.width), mode="bicubic", antialias=True, align_corners=False)
    return np.asarray(rearrange(scaled[0].round().clamp(0, 255), "c h w -> h w c").byte().numpy())


@torch.inference_mode()
def fidelity(tae: TAE, pixels: Pixels) -> dict[str, float]:
    """PSNR in dB and SSIM of a clip that went through the TAE, and the largest step of 255 between tiled and whole."""
    frames = len(pixels)
    latents = tae.encode(to_signed(pixels[None]))
    whole = to_pixels(tae.decode(latents, frames))[0]
    tiled = to_pixels(torch.cat(list(tae.decode_tiled(latents, frames)), dim=2))[0]
    similar = [structural_similarity(a, b, channel_axis=-1) for a, b in zip(pixels, whole, strict=True)]
    return {
        "psnr": float(peak_signal_noise_ratio(pixels, whole)),
        "ssim": float(np.mean(similar)),
        "tiled_difference": float(np.abs(tiled.astype(int) - whole.astype(int)).max()),
    }


def main() -> None:
    """Command line of the measurement."""
    parser = argparse.ArgumentParser(description="Measure how much of a video the TAE keeps.")
    parser.add_argument("--version", default="mini", help="version or alias of the TAE (%(default)s)")
    parser.add_argument("--count", type=int, default=40, help="held-out clips of the world (%(default)s)")
    parser.add_argument("--video", type=Path, action="append", default=[], help="a video file, two seconds of it")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    tae, _ = open_tae(arguments.version, Registry(MODELS))
    video = PRESETS["mini"].video
    table = {}
    rows = [fidelity(tae, clip) for clip in world_clips(arguments.count)]
    if rows:
        table[f"{len(rows)} world clips"] = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
    for path in arguments.video:
        table[path.name] = fidelity(tae, real_clip(path, video.pixels, video.fps, video.frames))
    for name, row in table.items():
        print(f"{name:24s} " + "  ".join(f"{key} {value:.3f}" for key, value in row.items()))
    if arguments.out:
        arguments.out.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
