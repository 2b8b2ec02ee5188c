"""How often a film shows what its prompt said: python -m training.adherence --of films|reconstructions|renders.

The judge reads held-out scenes (combinations never trained on, balanced) from true renders, from their TAE
reconstructions and from generated films; the first two are the ceiling of the third.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from kino.models.dit import DiT
from kino.models.tae import TAE
from kino.presets import PRESETS
from kino.prompts import with_frame_rate
from kino.registry import Registry
from kino.shapes import ASPECTS, Size, frames_for_seconds, latent_frames, latent_grid, size_for_aspect
from training import checkpoint
from training.data import to_pixels, to_signed
from training.objectives.dit import sample_latents
from training.published import MODELS, PromptEncoder, open_dit, open_tae
from training.world.captions import canonical, caption
from training.world.judge import judge
from training.world.render import render
from training.world.scene import Scene, sample
from training.world.verdict import Tally

BATCH = 8


@dataclass(frozen=True)
class Clip:
    """Extent of every film judged."""

    frames: int = 32
    size: Size = Size(96, 96)
    fps: int = 16


def renders(scenes: list[Scene], clip: Clip) -> Iterator[NDArray[np.uint8]]:
    """True renders."""
    for scene in scenes:
        yield render(scene, clip.frames, clip.size.height, clip.size.width, clip.fps)


@torch.inference_mode()
def reconstructions(scenes: list[Scene], clip: Clip, tae: TAE) -> Iterator[NDArray[np.uint8]]:
    """True renders through the TAE and back."""
    for pixels in renders(scenes, clip):
        video = to_signed(pixels[None])
        yield to_pixels(tae.decode(tae.encode(video), clip.frames))[0]


@torch.inference_mode()
def films(
    prompts: list[str],
    clip: Clip,
    tae: TAE,
    dit: DiT,
    encoder: PromptEncoder,
    steps: int,
    linear: int,
    guidance: float,
    seed: int,
) -> Iterator[NDArray[np.uint8]]:
    """Generated films of prompts; film i depends on its prompt and on seed + i alone up to rounding.

    Longer clips than the network was trained on are made one by one in windows, as the generator makes them.
    """
    grid = latent_grid(clip.frames, clip.size)
    shape = (tae.config.latent_channels, grid.t, grid.h, grid.w)
    window = latent_frames(PRESETS["mini"].video.frames)
    long = window if grid.t > window else None
    for start in range(0, len(prompts), 1 if long else BATCH):
        texts = prompts[start : start + (1 if long else BATCH)]
        latents = sample_latents(dit, encoder, texts, shape, steps, linear, guidance, seed + start, long)
        yield from to_pixels(tae.decode(latents, clip.frames))


def dit_of_run(run: Path) -> DiT:
    """The generator of a run that is not published, with its averaged weights."""
    dit = DiT(PRESETS["mini"].dit)
    state = checkpoint.load(run)["average"]
    dit.load_state_dict({name.removeprefix("dit."): part for name, part in state.items() if name.startswith("dit.")})
    return dit.eval()


def score(scenes: list[Scene], shown: Iterator[NDArray[np.uint8]], clip: Clip) -> Tally:
    """The judge's verdicts on films, counted against their scenes."""
    tally = Tally()
    for scene, pixels in zip(scenes, shown, strict=True):
        tally.add(scene, judge(pixels, clip.fps))
    return tally


def main() -> None:
    """Command line of the measurement."""
    parser = argparse.ArgumentParser(description="Measure how often films show what their prompts said.")
    parser.add_argument("--of", choices=("films", "reconstructions", "renders"), default="films")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--run", type=Path, help="folder of a DiT run; default: the published generator")
    parser.add_argument("--free", action="store_true", help="free captions in place of the canonical wording")
    parser.add_argument("--aspect", choices=ASPECTS, default="1:1")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--steps", type=int, default=PRESETS["mini"].sampler.steps)
    parser.add_argument("--linear-steps", type=int, default=PRESETS["mini"].sampler.linear_steps)
    parser.add_argument("--guidance", type=float, default=PRESETS["mini"].sampler.guidance)
    parser.add_argument("--seed", type=int, default=0, help="of the noise (%(default)s)")
    parser.add_argument(
        "--scenes", type=int, default=1, help="seed of the held-out scenes; settings are tuned on others"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="write the table as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    size = size_for_aspect(arguments.aspect, PRESETS["mini"].video.pixels)
    clip, registry = Clip(frames_for_seconds(arguments.seconds, Clip.fps), size), Registry(MODELS)
    scenes = [sample(arguments.scenes, index, "held_out") for index in range(arguments.count)]
    if arguments.of == "renders":
        shown = renders(scenes, clip)
    elif arguments.of == "reconstructions":
        shown = reconstructions(scenes, clip, open_tae("mini", registry)[0])
    else:
        dit = dit_of_run(arguments.run) if arguments.run else open_dit("mini", registry)
        rng = np.random.default_rng(arguments.seed)
        texts = [caption(scene, rng, "sentence") if arguments.free else canonical(scene) for scene in scenes]
        prompts = [with_frame_rate(text, clip.fps) for text in texts]
        sampling = (arguments.steps, arguments.linear_steps, arguments.guidance, arguments.seed)
        shown = films(prompts, clip, open_tae("mini", registry)[0], dit, PromptEncoder("mini", registry), *sampling)
    tally = score(scenes, shown, clip)
    print(tally)
    if arguments.out:
        arguments.out.write_text(json.dumps(tally.as_dict(), indent=2) + "\n")


if __name__ == "__main__":
    main()
