"""What editors are trained on: edits, clips from text or from their first frame, backtranslated clips."""

import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kino import conditions
from kino.models.dit import DiT
from kino.models.tae import TAE
from kino.prompts import with_frame_rate
from training.edit_pairs import PairSet, open_pairs
from training.edit_sampling import open_sources
from training.latents import LatentSet, open_latents
from training.published import PromptEncoder
from training.world.captions import canonical, caption, moving

logger = logging.getLogger("training")


@dataclass(frozen=True)
class Stream:
    """Items of one kind, and their share among those that a batch is drawn from.

    Args:
        task: "edit" for pairs; "text" or "image" for clips of a `LatentSet`, "moving" for those with their first
            frames, whose sentences need not say what these show; "back" for targets whose sources the
            network makes before it is trained, by the instruction that undoes the edit.
    """

    task: Literal["edit", "text", "image", "moving", "back"]
    items: PairSet | LatentSet
    share: float = 1.0


class Examples(Protocol):
    """Items of a stream, opened."""

    indices: NDArray[np.intp]

    def take(self, index: int) -> tuple[Tensor, Tensor, NDArray[np.uint8]]:
        """Target [c t h w], condition [e t h w], share of each position that matters more [t h w], of 255."""
        ...

    def sentence(self, index: int, rng: np.random.Generator | None) -> tuple[str, str]:
        """Task, and the plain sentence or one that the generator draws."""
        ...


class PairExamples:
    """Sources and targets."""

    def __init__(self, items: PairSet, sources: NDArray[np.float16], targets: NDArray[np.float16],
                 touched: NDArray[np.uint8], indices: NDArray[np.intp]) -> None:  # fmt: skip
        self.items, self.sources, self.targets, self.touched, self.indices = items, sources, targets, touched, indices

    def take(self, index: int) -> tuple[Tensor, Tensor, NDArray[np.uint8]]:
        """As `Examples.take`; the condition is the source video."""
        source, target = (torch.from_numpy(side[index]).float() for side in (self.sources, self.targets))
        return target, conditions.from_video(source[None])[0], self.touched[index]

    def sentence(self, index: int, rng: np.random.Generator | None) -> tuple[str, str]:
        """The instruction, with the frame rate where the pair is of clips."""
        told = self.items.sentence(index, rng)
        return self.items.task(index), with_frame_rate(told, self.items.fps) if self.items.frames > 1 else told


class ClipExamples:
    """Clips to be made from their captions, with their first frames given or not."""

    def __init__(self, items: LatentSet, targets: NDArray[np.float16], coverage: NDArray[np.uint8],
                 pictures: NDArray[np.float16] | None, tells_all: bool = True) -> None:  # fmt: skip
        self.items, self.targets, self.coverage, self.pictures = items, targets, coverage, pictures
        self.tells_all = tells_all
        self.indices = np.arange(items.count)

    def take(self, index: int) -> tuple[Tensor, Tensor, NDArray[np.uint8]]:
        """As `Examples.take`; the condition is the first frame, or nothing."""
        target = torch.from_numpy(self.targets[index]).float()
        if self.pictures is None:
            condition = conditions.nothing(target[None])
        else:
            picture = torch.from_numpy(self.pictures[index]).float()
            condition = conditions.from_picture(picture[None], target.shape[1])
        return target, condition[0], self.coverage[index]

    def sentence(self, index: int, rng: np.random.Generator | None) -> tuple[str, str]:
        """The caption with its frame rate."""
        scene = self.items.scene(index)
        if not self.tells_all:
            told = moving(scene, rng if rng is not None else np.random.default_rng(index))
        else:
            told = canonical(scene) if rng is None else caption(scene, rng)
        return "text" if self.pictures is None else "image", with_frame_rate(told, self.items.fps)


@dataclass(frozen=True)
class Opener:
    """Opens streams with the networks that they are made by: the TAE, and the editor as it is before this stage."""

    tae: TAE
    space: str
    prompts: PromptEncoder
    editor: DiT
    folder: Path

    def open(self, stream: Stream, judged: bool = True) -> Examples:
        """The items of a stream, encoded or made on first use.

        Args:
            judged: leave out backtranslated items whose source does not show what was asked for.

        Raises:
            ValueError: nothing is left.
        """
        items = stream.items
        if isinstance(items, LatentSet):
            clips = open_latents(items, self.tae, self.space, self.folder)
            pictures = self._pictures(items) if stream.task in ("image", "moving") else None
            return ClipExamples(items, clips.values, clips.coverage, pictures, stream.task != "moving")
        pairs = open_pairs(items, self.tae, self.space, self.folder)
        targets = pairs.values[:, -1]
        if stream.task == "edit":
            return PairExamples(items, pairs.values[:, 0], targets, pairs.touched, np.arange(items.count))
        stem = self.folder / f"made_{items.key(self.space)}"
        made = open_sources(items, targets, self.editor, self.prompts, self.tae, stem)
        kept = np.flatnonzero(made.done) if judged else np.arange(items.count)
        if not len(kept):
            raise ValueError(f"edits done by the start are 0 of {items.count}, must be at least 1: train it longer")

        logger.info("kept %d of %d made sources", len(kept), items.count)
        return PairExamples(items, made.values, targets, pairs.touched, balanced(kept, items))

    def _pictures(self, items: LatentSet) -> NDArray[np.float16]:
        first = replace(items, frames=1, still_seconds=0.0)
        return open_latents(first, self.tae, self.space, self.folder).values


def balanced(indices: NDArray[np.intp], items: PairSet) -> NDArray[np.intp]:
    """Indices repeated so that every task among them is as frequent as the most frequent one."""
    tasks = np.array([items.task(int(index)) for index in indices])
    groups = [indices[tasks == task] for task in sorted(set(tasks))]
    most = max(len(group) for group in groups)
    return np.concatenate([np.resize(group, most) for group in groups])
