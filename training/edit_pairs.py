"""What an editor learns from: pairs of clips before and after, and their sentences, encoded once.

No pair of two moving clips is rendered for training: pictures are edited, animated alike, objects are marked by their
masks; clips themselves are targets alone (Movie Gen, arXiv 2410.13720, section 5.2: no supervised video editing).
"""

from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from kino.models.tae import TAE
from kino.shapes import Size, latent_grid
from training.data import Split
from training.latents import MASK_SCALE, Columns, encode, open_cache, share_of_positions
from training.world.animation import WIDER, animate, paint, random_window
from training.world.edits import Edit, sample_edit, untouched
from training.world.instructions import instruction, reworded
from training.world.render import masks, render
from training.world.scene import COLOURS, Scene, sample

Form = Literal["stills", "animated", "marked", "targets", "clips"]


@dataclass(frozen=True)
class PairSet:
    """Which pairs: edited stills, stills animated alike, marked objects, targets without sources, or whole clips.

    Args:
        form: "stills" are single frames; "targets" hold the later side alone; "clips" hold both sides of real edits,
            which only measurements may use.
    """

    form: Form
    split: Split
    count: int
    size: int = 96
    frames: int = 32
    fps: int = 16
    seed: int = 0

    @property
    def sides(self) -> int:
        """How many clips an item has."""
        return 1 if self.form == "targets" else 2

    def edit(self, index: int) -> Edit:
        """The edit of an item; every other one is reversed in training, so that both directions are learned."""
        edit = sample_edit(self.seed, index // 2 if self.split == "train" else index, self.split)
        return edit.reversed() if self.split == "train" and index % 2 else edit

    def task(self, index: int) -> str:
        """What the editor is asked to do, one of kino.presets.EDITOR_TASKS."""
        return "mark" if self.form == "marked" else self.edit(index).kind

    def sentence(self, index: int, rng: np.random.Generator | None = None) -> str:
        """The instruction of an item: the plain one, or a natural one where a generator draws it."""
        if self.form == "marked":
            scene, colour = self._marked(index)
            return f"mark the {scene.object} in {colour}"
        edit = self.edit(index)
        return instruction(edit) if rng is None else reworded(edit, rng)

    def key(self, space: str) -> str:
        """File name stem that differs whenever the set or the latent space does."""
        return f"{self.form}_" + sha256((repr(asdict(self)) + space).encode()).hexdigest()[:16]

    def pixels(self, index: int) -> list[NDArray[np.uint8]]:
        """Clips [t h w 3] of an item, the target last."""
        if self.form == "marked":
            scene, colour = self._marked(index)
            clip = self.frames, self.size, self.size, self.fps
            before = render(scene, *clip)
            return [before, paint(before, masks(scene, *clip) == 1, colour)]
        edit = self.edit(index)
        if self.form == "animated":
            return self._animated(edit, index)
        takes = (edit.before, edit.after)[-self.sides :]
        return [take.render(self.frames, self.size, self.size, self.fps, self._start(index)) for take in takes]

    def touched(self, index: int) -> NDArray[np.bool_]:
        """Pixels [t h/2 w/2] that an edit changes; for a form that has no mask of its own, all."""
        side = self.size // MASK_SCALE
        clip = self.frames, side, side, self.fps
        if self.form == "marked":
            return masks(self._marked(index)[0], *clip) == 1
        if self.form == "animated":
            before, after = (frames[:, ::MASK_SCALE, ::MASK_SCALE].astype(np.int16) for frames in self.pixels(index))
            return np.asarray(np.abs(before - after).max(axis=-1) > 8)
        return ~untouched(self.edit(index), *clip, self._start(index))

    def _marked(self, index: int) -> tuple[Scene, str]:
        scene = sample(self.seed, index, self.split)
        others = [colour for colour in COLOURS if colour != scene.colour]
        return scene, others[int(self._rng(index).integers(len(others)))]

    def _animated(self, edit: Edit, index: int) -> list[NDArray[np.uint8]]:
        rng = self._rng(index)
        start, end, seconds = random_window(rng), random_window(rng), float(rng.uniform(0, 2))
        side = round(WIDER * self.size)
        pictures = [take.render(1, side, side, self.fps, seconds)[0] for take in (edit.before, edit.after)]
        return [animate(picture, start, end, self.frames, self.size) for picture in pictures]

    def _start(self, index: int) -> float:
        """Time of the first frame; single frames are seen at times of their own."""
        return float(self._rng(index).uniform(0, 2)) if self.frames == 1 else 0.0

    def _rng(self, index: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, index, 11))


class Pairs(NamedTuple):
    """Normalised latents [n, side, c, t, h, w], the target last; share of each position that changes, of 255."""

    values: NDArray[np.float16]
    touched: NDArray[np.uint8]


def open_pairs(items: PairSet, tae: TAE, space: str, folder: Path) -> Pairs:
    """Latents of pairs, encoded on first use; an interrupted encoding goes on where it stopped."""
    grid = latent_grid(items.frames, Size(items.size, items.size))
    columns: Columns = {
        "values": (np.float16, (items.sides, tae.config.latent_channels, grid.t, grid.h, grid.w)),
        "touched": (np.uint8, (grid.t, grid.h, grid.w)),
    }

    def compute(start: int, stop: int) -> tuple[NDArray[Any], ...]:
        clips = [clip for index in range(start, stop) for clip in items.pixels(index)]
        latents = encode(tae, np.stack(clips))
        shares = [share_of_positions(items.touched(index)) for index in range(start, stop)]
        return latents.reshape(stop - start, items.sides, *latents.shape[1:]), np.stack(shares)

    arrays = open_cache(folder / items.key(space), items.count, columns, compute)
    return Pairs(arrays["values"], arrays["touched"])
