"""How near full HD an upsampler comes: python -m training.upscaling [--count 8] [--steps 1,4] [--video FILE]...

Held-out clips of the world, drawn in full HD, are made small: by averaging areas, and as films are, by the first stage.
What the upsampler makes of them again is measured beside interpolation, and so are the borders of its windows. A video
of any origin is made four times smaller and brought back to its own size.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from kino.footage import iter_frames
from kino.limits import UPSAMPLER_STEPS
from kino.models.tae import TAE
from kino.models.upsampler import Upsampler, enlarged
from kino.multidiffusion import Axis
from kino.registry import Registry
from kino.shapes import SPATIAL_COMPRESSION, Size
from kino.upsampling import Plan, upsample
from training.data import to_pixels, to_signed
from training.published import MODELS, open_tae, open_upsampler
from training.world.render import render
from training.world.scene import sample

Pixels = NDArray[np.uint8]
FULL, LOW, CLIP_FRAMES, FPS = 1080, 96, 32, 16
REAL_FACTOR = 4
LUMA = np.array([0.2126, 0.7152, 0.0722])


class Pair(NamedTuple):
    """A clip [t y x 3] that was made small, and what it was."""

    name: str
    small: Pixels
    true: Pixels


def world_pairs(count: int, frames: int, tae: TAE) -> Iterator[Pair]:
    """Held-out clips, from half a second on: made small by averaging, and by the first stage."""
    first = FPS // 2
    for index in range(count):
        scene = sample(2, index, "held_out")
        true = render(scene, frames, FULL, FULL, FPS, first / FPS)
        yield Pair("averaged", resized(true, LOW, LOW), true)
        clip = to_signed(render(scene, CLIP_FRAMES, LOW, LOW, FPS)[None])
        with torch.inference_mode():
            film = to_pixels(tae.decode(tae.encode(clip), CLIP_FRAMES))[0]
        yield Pair("films", film[first : first + frames], true)


def real_pair(path: Path, frames: int) -> Pair:
    """The beginning of a video, its sides cut to multiples of 8, and the same four times smaller."""
    true = np.concatenate(list(islice(iter_frames(path, 1), frames)))
    height, width = (side // 8 * 8 for side in true.shape[1:3])
    true = true[:, :height, :width]
    return Pair(path.name, resized(true, height // REAL_FACTOR, width // REAL_FACTOR), true)


def resized(clip: Pixels, height: int, width: int) -> Pixels:
    """A clip at another size by bicubic interpolation, area-averaged where it shrinks."""
    return to_pixels(enlarged(to_signed(clip[None]), height, width))[0]


def upsampled(network: Upsampler, small: Pixels, plan: Plan) -> Pixels:
    """A clip as the service brings it to a size, in windows."""
    pieces = upsample(network, iter(small), plan, seed=0)
    return np.stack([piece.frame for piece in pieces if piece.frame is not None])


def likeness(made: Pixels, true: Pixels) -> dict[str, float]:
    """PSNR in dB, SSIM and sharpness of a clip, means over its frames.

    Sharpness is the part of the true luma gradients that is there, sum(g g*) / sum(g* g*): 1 where they are the same;
    blur lowers it, and noise adds nothing to it.
    """
    rows = []
    for one, other in zip(made, true, strict=True):
        gradients, wanted = (np.stack(np.gradient(frame @ LUMA)) for frame in (one, other))
        rows.append(
            (
                float(peak_signal_noise_ratio(other, one)),
                float(structural_similarity(other, one, channel_axis=-1)),
                float((gradients * wanted).sum() / (wanted**2).sum()),
            )
        )
    return dict(zip(("psnr", "ssim", "sharpness"), np.mean(rows, axis=0).tolist(), strict=True))


def seams(added: NDArray[np.floating], whole: NDArray[np.floating], plan: Plan) -> dict[str, float]:
    """How much what was added changes across the borders of windows, for what it changes across any line.

    Both are taken relative to a clip made in one window, so that what the pictures show at those lines does not count:
    1 is no seam at all. A plan of one window has none.

    Args:
        added: what the network added to the enlarged clip [t y x 3].
        whole: the same made in one window of space.
    """
    if all(len(windows.spans) == 1 for windows in plan.space):
        return {}
    return {"seam": _at_borders(added, plan) / _at_borders(whole, plan)}


def _at_borders(added: NDArray[np.floating], plan: Plan) -> float:
    """Mean change across the borders of windows over that across all other lines."""
    at_borders, elsewhere = [], []
    for axis, windows in ((1, plan.space[0]), (2, plan.space[1])):
        steps = np.abs(np.diff(added, axis=axis)).mean(axis=tuple(n for n in range(4) if n != axis))
        is_border = np.isin(np.arange(1, len(steps) + 1), _borders(windows))
        at_borders.append(steps[is_border])
        elsewhere.append(steps[~is_border])
    return float(np.concatenate(at_borders).mean() / np.concatenate(elsewhere).mean())


def _borders(windows: Axis) -> list[int]:
    """Pixels at which windows begin or end."""
    return [SPATIAL_COMPRESSION * edge for span in windows.spans for edge in span]


def measure(network: Upsampler, pair: Pair, steps: list[int]) -> dict[str, dict[str, float]]:
    """The figures of a pair by method: interpolation, and the upsampler in so many steps."""
    size = Size(*pair.true.shape[1:3])
    bicubic = resized(pair.small, size.height, size.width)
    table = {"bicubic": likeness(bicubic, pair.true)}
    for count in steps:
        plan = Plan.of(network.config, len(pair.small), size, count)
        made = upsampled(network, pair.small, plan)
        one_window = replace(network.config, window_tokens=max(size.height, size.width))
        whole = upsampled(network, pair.small, Plan.of(one_window, len(pair.small), size, count))
        before = bicubic.astype(float)
        table[f"{count} steps"] = likeness(made, pair.true) | seams(made - before, whole - before, plan)
    return table


def main() -> None:
    """Command line of the measurement."""
    parser = argparse.ArgumentParser(description="Measure how near full HD an upsampler comes.")
    parser.add_argument("--version", default="mini", help="version or alias (%(default)s)")
    parser.add_argument("--count", type=int, default=8, help="held-out clips of the world (%(default)s)")
    parser.add_argument("--frames", type=int, default=7, help="of each clip (%(default)s)")
    parser.add_argument("--steps", default=str(UPSAMPLER_STEPS["mini"]), help="numbers, with commas (%(default)s)")
    parser.add_argument("--video", type=Path, action="append", default=[], help="a video file")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    registry = Registry(MODELS)
    network, (tae, _) = open_upsampler(arguments.version, registry), open_tae("mini", registry)
    steps = [int(text) for text in arguments.steps.split(",")]
    pairs = world_pairs(arguments.count, arguments.frames, tae)
    rows: dict[str, dict[str, list[dict[str, float]]]] = defaultdict(lambda: defaultdict(list))
    for pair in chain(pairs, (real_pair(path, arguments.frames) for path in arguments.video)):
        for method, figures in measure(network, pair, steps).items():
            rows[pair.name][method].append(figures)
    table = {
        f"{name}, {method}": {key: float(np.mean([row[key] for row in found])) for key in found[0]}
        for name, methods in rows.items()
        for method, found in methods.items()
    }
    for name, row in table.items():
        print(f"{name:24s} " + "  ".join(f"{key} {value:.4f}" for key, value in row.items()))
    if arguments.out:
        arguments.out.write_text(json.dumps(table, indent=2) + "\n")


if __name__ == "__main__":
    main()
