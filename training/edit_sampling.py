"""What an editor makes: edits sampled with guidance by source and text, and sources for backtranslation.

Source: Movie Gen (arXiv 2410.13720), section 5.2.3: clips are edited by the network itself, the edits are filtered, and
the next stage learns to get from the made clip back to the real one.
"""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kino import conditions, flow
from kino.models.dit import DiT
from kino.models.tae import TAE
from kino.presets import EDITOR_TASKS
from kino.prompts import with_frame_rate
from training.data import to_pixels
from training.edit_pairs import PairSet
from training.latents import Columns, open_cache
from training.published import PromptEncoder
from training.world.edit_judge import judge_edit
from training.world.instructions import instruction


@dataclass(frozen=True)
class EditSampling:
    """How edits are sampled; a source guidance of 1 saves one evaluation of three."""

    steps: int = 24
    linear_steps: int = 200
    guidance: float = 3.0
    source_guidance: float = 1.0


def sample_edits(
    editor: DiT,
    prompts: PromptEncoder,
    texts: list[str],
    task: Tensor,
    condition: Tensor,
    how: EditSampling,
    seed: int = 0,
) -> Tensor:
    """Latents [b c t h w] for sentences, tasks [b] and conditions [b e t h w], by guided Euler steps."""
    device = editor.patch_in.weight.device
    condition, task = condition.to(device), task.to(device)
    shape = (len(texts), editor.config.latent_channels, *condition.shape[2:])
    x_0 = torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(device)
    told, untold = (editor.read(prompts(words), task) for words in (texts, [""] * len(texts)))

    def predict(x_t: Tensor, t: Tensor) -> Tensor:
        given = torch.cat([x_t, condition], dim=1)
        source, both = (editor(given, t, words).float() for words in (untold, told))
        if how.source_guidance == 1.0:
            return flow.guide(source, both, how.guidance)
        nothing = editor(torch.cat([x_t, torch.zeros_like(condition)], dim=1), t, untold).float()
        return flow.guide_by_source(nothing, source, both, how.source_guidance, how.guidance)

    x_t = x_0
    for step in flow.sample(predict, x_0, flow.linear_quadratic(how.steps, how.linear_steps)):
        x_t = step.x_t
    return x_t


class Sources(NamedTuple):
    """Made latents [n c t h w], and whether each shows what was asked for [n]."""

    values: NDArray[np.float16]
    done: NDArray[np.bool_]


def open_sources(
    items: PairSet, targets: NDArray[np.float16], editor: DiT, prompts: PromptEncoder, tae: TAE, stem: Path
) -> Sources:
    """The targets of a set as the editor undoes their edits, made on first use; an interrupted making goes on.

    Args:
        targets: latents [n c t h w].
        stem: path of the cache without its ends; the editor's weights are part of its name.
    """
    columns: Columns = {"values": (np.float16, targets.shape[1:]), "done": (np.bool_, ())}
    how = EditSampling(10, 100)

    @torch.inference_mode()
    def compute(start: int, stop: int) -> tuple[NDArray[Any], ...]:
        undone = [items.edit(index).reversed() for index in range(start, stop)]
        texts = [with_frame_rate(instruction(edit), items.fps) for edit in undone]
        task = torch.tensor([EDITOR_TASKS.index(edit.kind) for edit in undone])
        condition = conditions.from_video(torch.from_numpy(targets[start:stop]).float())
        with torch.autocast(editor.patch_in.weight.device.type, torch.bfloat16):
            made = sample_edits(editor, prompts, texts, task, condition, how, start)
            shown = to_pixels(tae.decode(made, items.frames))
        real = [items.pixels(index)[-1] for index in range(start, stop)]
        done = [
            min(clip.shape[1:3]) >= 64 and judge_edit(edit, clip, film, items.fps).done
            for edit, clip, film in zip(undone, real, shown, strict=True)
        ]
        return made.float().cpu().numpy().astype(np.float16), np.array(done)

    weights = b"".join(part.detach().cpu().numpy().tobytes() for part in editor.state_dict().values())
    arrays = open_cache(stem.with_name(f"{stem.name}_{sha256(weights).hexdigest()[:8]}"), items.count, columns, compute)
    return Sources(arrays["values"], arrays["done"])
