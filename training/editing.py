"""How often edits are done, and what else they change: python -m training.editing --of edits|pictures|....

Held-out edits (scenes and combinations never trained on, the kinds in turn) are read by a judge without learned parts.
Beside the editor: doing nothing, the true target, the target through the TAE, and the target generated anew from text.
Edits are told as the editor makes them, and composed: with the sources' own pixels where nothing is meant to change, as
they are given out. `--of pictures` measures image to video: the first frame's PSNR, and what films show as given out.
"""

import argparse
import json
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import repeat
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from kino import conditions
from kino.compositing import EVERYWHERE, GOING, STILL_SECONDS, blend, changes, composite, faded
from kino.instructions import understand
from kino.limits import EDITS
from kino.models.dit import DiT
from kino.models.tae import TAE
from kino.presets import EDITOR_TASKS, PRESETS
from kino.prompts import with_frame_rate
from kino.registry import Registry
from kino.shapes import latent_frames
from training import checkpoint
from training.adherence import BATCH, Clip, films, score
from training.data import to_pixels, to_signed
from training.edit_sampling import EditSampling, sample_edits
from training.published import MODELS, PromptEncoder, open_dit, open_tae
from training.world.captions import canonical
from training.world.edit_judge import ROUNDED, Frames, tally, true_pairs
from training.world.edits import Edit, Kind, sample_edit
from training.world.instructions import instruction, reworded
from training.world.render import render
from training.world.scene import Scene, sample
from training.world.words import PLACE_PHRASES

CLIP = Clip()
SIDE = CLIP.size.height
SERVED = EDITS["mini"]
"""How the editor service samples when it is not told otherwise."""


def sources(edits: list[Edit]) -> Iterator[Frames]:
    """True renders before each edit."""
    for edit in edits:
        yield edit.before.render(CLIP.frames, SIDE, SIDE, CLIP.fps)


@torch.inference_mode()
def reconstructed(edits: list[Edit], tae: TAE) -> Iterator[Frames]:
    """True targets through the TAE and back."""
    for edit in edits:
        target = edit.after.render(CLIP.frames, SIDE, SIDE, CLIP.fps)
        yield to_pixels(tae.decode(tae.encode(to_signed(target[None])), CLIP.frames))[0]


@torch.inference_mode()
def edited(
    edits: list[Edit], texts: list[str], editor: DiT, prompts: PromptEncoder, tae: TAE, how: EditSampling, seed: int
) -> Iterator[Frames]:
    """Sources as the editor changes them by instruction."""
    for start in range(0, len(edits), BATCH):
        among = edits[start : start + BATCH]
        condition = conditions.from_video(tae.encode(to_signed(np.stack(list(sources(among))))))
        told = [with_frame_rate(text, CLIP.fps) for text in texts[start : start + BATCH]]
        task = torch.tensor([EDITOR_TASKS.index(edit.kind) for edit in among])
        made = sample_edits(editor, prompts, told, task, condition, how, seed + start)
        yield from to_pixels(tae.decode(made, CLIP.frames))


@torch.inference_mode()
def composed(clips: Iterable[Frames], shown: Iterable[Frames], kinds: Iterable[Kind], tae: TAE) -> Iterator[Frames]:
    """Edited clips with the pixels of their sources where nothing is meant to change, as the graph's export does it."""
    for clip, film, kind in zip(clips, shown, kinds, strict=True):
        unchanged = to_pixels(tae.decode(tae.encode(to_signed(clip[None])), len(clip)))[0]
        made = changes(iter(film), iter(unchanged), everywhere=kind in EVERYWHERE)
        yield np.stack([blend(frame, change, kind in GOING) for frame, change in zip(clip, made, strict=True)])


@torch.inference_mode()
def animated(
    scenes: list[Scene], texts: list[str], editor: DiT, prompts: PromptEncoder, tae: TAE, how: EditSampling, seed: int
) -> Iterator[Frames]:
    """Films of held-out scenes from sentences and first frames."""
    task = EDITOR_TASKS.index("image")
    for start in range(0, len(scenes), BATCH):
        among = scenes[start : start + BATCH]
        pictures = np.stack([render(scene, 1, SIDE, SIDE, CLIP.fps) for scene in among])
        condition = conditions.from_picture(tae.encode(to_signed(pictures)), latent_frames(CLIP.frames))
        told = [with_frame_rate(text, CLIP.fps) for text in texts[start : start + BATCH]]
        made = sample_edits(editor, prompts, told, torch.full((len(among),), task), condition, how, seed + start)
        yield from to_pixels(tae.decode(made, CLIP.frames))


@torch.inference_mode()
def kept_still(pictures: Iterable[Frames], films_: Iterable[Frames], tae: TAE) -> Iterator[Frames]:
    """Films as the graph gives them: with the pixels of the pictures [1 h w 3] they begin with, at first."""
    for picture, film in zip(pictures, films_, strict=True):
        still = to_pixels(tae.decode(tae.encode(to_signed(picture[None])), 1))[0, 0]
        made = faded(changes(iter(film), repeat(still, len(film))), STILL_SECONDS * CLIP.fps)
        yield np.stack(list(composite(repeat(picture[0], len(film)), Fraction(CLIP.fps), made, Fraction(CLIP.fps))))


def target_caption(edit: Edit) -> str:
    """What the target of an edit shows, for a generator that never sees the source."""
    scene = edit.after.scene
    if edit.after.shown:
        return canonical(scene)
    camera = f", the camera {scene.camera}" if scene.camera != "still" else ""
    return f"an empty place {PLACE_PHRASES[scene.place]}{camera}"


def psnr(clean: NDArray[np.uint8], shown: NDArray[np.uint8]) -> float:
    """PSNR in dB, at most 58.9: frames that are equal differ by their rounding."""
    return float(10 * np.log10(255**2 / max(((clean.astype(np.float32) - shown) ** 2).mean(), ROUNDED)))


def measure_pictures(scenes: list[Scene], made: list[Frames], tae: TAE) -> dict[str, object]:
    """First frames against the given pictures, beside what the TAE keeps of the same frame, and what films show.

    Films are measured as they are given out; of what the network made of them, the first frames are, too.
    """
    true = [render(scene, CLIP.frames, SIDE, SIDE, CLIP.fps) for scene in scenes]
    with torch.inference_mode():
        kept = [to_pixels(tae.decode(tae.encode(to_signed(clip[None])), CLIP.frames))[0] for clip in true]
    shown = list(kept_still((clip[:1] for clip in true), made, tae))

    def first(films_: list[Frames]) -> float:
        return float(np.mean([psnr(a[0], b[0]) for a, b in zip(true, films_, strict=True)]))

    return {
        "first_frame_decibels": first(shown),
        "first_frame_raw_decibels": first(made),
        "first_frame_tae_decibels": first(kept),
        "shown": score(scenes, iter(shown), CLIP).as_dict(),
    }


def open_editor(run: Path | None, registry: Registry) -> DiT:
    """The published editor, or that of a run that is not published, with its averaged weights."""
    if run is None:
        return open_dit("mini", registry, "editor")
    editor = DiT(PRESETS["mini"].editor)
    editor.load_state_dict(checkpoint.load(run)["average"])
    return editor.eval()


_MOVES: dict[str, Callable[[Scene], str]] = {
    "it": lambda scene: f"it {_moves(scene)}",
    "thing": lambda scene: f"the {scene.object} {_moves(scene)}",
}
"""Sentences that leave to the picture what it shows."""


def _moves(scene: Scene) -> str:
    return scene.motion if scene.camera == "still" else f"{scene.motion}, the camera {scene.camera}"


def measure_edits(given: argparse.Namespace, registry: Registry) -> dict[str, object]:
    """Figures of what was asked for on the command line."""
    edits = [sample_edit(given.scenes, index, "held_out") for index in range(given.count)]
    if given.of in ("nothing", "targets"):
        return dict(tally(edits, true_pairs(edits, SIDE, given.of == "nothing")).as_dict())
    tae = open_tae("mini", registry)[0]
    if given.of == "reconstructions":
        shown = reconstructed(edits, tae)
    elif given.of == "anew":
        sampler = PRESETS["mini"].sampler
        texts = [with_frame_rate(target_caption(edit), CLIP.fps) for edit in edits]
        how = sampler.steps, sampler.linear_steps, sampler.guidance, given.seed
        shown = films(texts, CLIP, tae, open_dit("mini", registry), PromptEncoder("mini", registry), *how)
    else:
        rng = np.random.default_rng(given.seed)
        texts = [understand(reworded(edit, rng)).text if given.free else instruction(edit) for edit in edits]
        editor, prompts = open_editor(given.run, registry), PromptEncoder("mini", registry)
        shown = edited(edits, texts, editor, prompts, tae, sampling(given), given.seed)
        films_made = list(shown)
        kinds = (edit.kind for edit in edits)
        both = {"composed": composed(sources(edits), films_made, kinds, tae), "raw": iter(films_made)}
        return {
            name: tally(edits, zip(sources(edits), made, strict=True), CLIP.fps).as_dict()
            for name, made in both.items()
        }
    return dict(tally(edits, zip(sources(edits), shown, strict=True), CLIP.fps).as_dict())


def sampling(given: argparse.Namespace) -> EditSampling:
    """The sampling asked for on the command line."""
    own = SERVED.picture_guidance if given.of == "pictures" else SERVED.source_guidance
    source_guidance = own if given.source_guidance is None else given.source_guidance
    return EditSampling(given.steps, given.linear_steps, given.guidance, source_guidance)


def main() -> None:
    """Command line of the measurement; prints JSON."""
    parser = argparse.ArgumentParser(description="Measure how often edits are done, and what else they change.")
    choices = ("edits", "nothing", "targets", "reconstructions", "anew", "pictures")
    parser.add_argument("--of", choices=choices, default="edits")
    parser.add_argument("--count", type=int, default=204, help="multiples of 6 hold as many of each kind")
    parser.add_argument("--run", type=Path, help="folder of an editor's run; default: the published editor")
    parser.add_argument("--free", action="store_true", help="free instructions, as the service reads them")
    parser.add_argument("--told", choices=("all", *_MOVES), default="all", help="of pictures: how much sentences say")
    parser.add_argument("--steps", type=int, default=SERVED.sampler.steps)
    parser.add_argument("--linear-steps", type=int, default=SERVED.sampler.linear_steps)
    parser.add_argument("--guidance", type=float, default=SERVED.sampler.guidance)
    parser.add_argument("--source-guidance", type=float, help="default: the service's own")
    parser.add_argument("--seed", type=int, default=0, help="of the noise (%(default)s)")
    parser.add_argument("--scenes", type=int, default=1, help="seed of the held-out edits; tune on others")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    registry = Registry(MODELS)
    if given.of == "pictures":
        tae, scenes = open_tae("mini", registry)[0], [sample(given.scenes, i, "held_out") for i in range(given.count)]
        editor, prompts = open_editor(given.run, registry), PromptEncoder("mini", registry)
        texts = [_MOVES.get(given.told, canonical)(scene) for scene in scenes]
        shown = list(animated(scenes, texts, editor, prompts, tae, sampling(given), given.seed))
        figures = measure_pictures(scenes, shown, tae)
    else:
        figures = measure_edits(given, registry)
    text = json.dumps(figures, indent=2)
    print(text)
    if given.out:
        given.out.write_text(text + "\n")


if __name__ == "__main__":
    main()
