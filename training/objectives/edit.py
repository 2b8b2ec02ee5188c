"""Editor training: one network for edits by instruction, marking, image to video and text to video.

Every item is a target and a condition on extra channels (`kino.conditions`), with a sentence and a task. A batch is of
single frames or of clips. The start is a generator whose input columns for the condition are zero.
Source: Movie Gen (arXiv 2410.13720), sections 5.1 and 5.2; its stages are rows of `training.recipes`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from PIL import Image
from torch import Tensor, nn

from kino import flow
from kino.models.dit import DiT
from kino.presets import EDITOR_TASKS, PRESETS
from kino.registry import Registry
from kino.shapes import PATCH_SIZE, latent_frames
from training.data import to_pixels
from training.edit_pairs import PairSet
from training.edit_sampling import EditSampling, sample_edits
from training.edit_streams import Examples, Opener, Stream
from training.objective import Batch
from training.published import MODELS, PromptEncoder, averaged, open_tae


@dataclass(frozen=True)
class EditSettings:
    """Data and loss weights of an editor recipe.

    Args:
        clips, stills: what batches of clips and of single frames are drawn from.
        still_share: share of steps that take single frames, in batches of `still_batch`.
        canonical_share: share of sentences in the plain wording.
        text_drop: share of sentences replaced by the empty prompt.
        both_drop: share of items that lose sentence and condition, for guidance by the source.
        touched_weight: extra weight of a position that changes wholly.
        start: recipe whose averaged weights this stage starts from; none starts anew.
        judged: keep of the "back" stream only sources in which the judge finds the reversed edit done.
    """

    preset: str
    clips: tuple[Stream, ...]
    stills: tuple[Stream, ...]
    held_out: PairSet
    clip_batch: int = 48
    still_batch: int = 144
    still_share: float = 0.2
    canonical_share: float = 0.6
    text_drop: float = 0.1
    both_drop: float = 0.05
    touched_weight: float = 2.0
    start: str | None = None
    judged: bool = True

    def build(self, runs: Path) -> "EditObjective":
        """Open or encode the latents, load the towers, make the model and, where asked, the sources it makes."""
        return EditObjective(self, runs)


class EditObjective:
    """Flow matching of one stage of the editor."""

    def __init__(self, settings: EditSettings, runs: Path) -> None:
        self.settings = settings
        registry = Registry(MODELS)
        self.tae, manifest = open_tae(settings.preset, registry)
        space = manifest.latent_space
        self.prompts = PromptEncoder(settings.preset, registry)
        editor = DiT(PRESETS[settings.preset].editor)
        if settings.start is not None:
            start_from(editor, averaged(settings.start, runs, registry))
        self.model: nn.Module = editor
        opener = Opener(self.tae, space, self.prompts, editor, runs / "latents")
        self.held_out = opener.open(Stream("edit", settings.held_out))
        self.clips = [opener.open(stream, settings.judged) for stream in settings.clips]
        self.stills = [opener.open(stream) for stream in settings.stills]

    def batch(self, generator: torch.Generator) -> Batch:
        """Targets, conditions, sentences and tasks of random items; single frames or clips, never both in one batch."""
        settings = self.settings
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        if settings.stills and rng.random() < settings.still_share:
            return self._drawn(self.stills, settings.stills, settings.still_batch, rng)
        return self._drawn(self.clips, settings.clips, settings.clip_batch, rng)

    def _drawn(
        self, opened: list[Examples], streams: tuple[Stream, ...], count: int, rng: np.random.Generator
    ) -> Batch:
        shares = np.array([stream.share for stream in streams])
        chosen = [opened[int(which)] for which in rng.choice(len(opened), size=count, p=shares / shares.sum())]
        items = [(examples, int(rng.choice(examples.indices))) for examples in chosen]
        batch = self._tensors(items, [None if rng.random() < self.settings.canonical_share else rng for _ in items])
        dropped = rng.random(count)
        for index in np.flatnonzero(dropped < self.settings.text_drop + self.settings.both_drop):
            batch["prompts"][index] = ""
            if dropped[index] < self.settings.both_drop:
                batch["condition"][index] = 0.0
        if batch["x_1"].shape[2] == 1:
            batch["first"] = int(rng.integers(latent_frames(self.settings.held_out.frames)))
        return batch

    @staticmethod
    def _tensors(items: list[tuple[Examples, int]], rngs: list[np.random.Generator | None]) -> Batch:
        taken = [examples.take(index) for examples, index in items]
        told = [examples.sentence(index, rng) for (examples, index), rng in zip(items, rngs, strict=True)]
        return {
            "x_1": torch.stack([target for target, _, _ in taken]),
            "condition": torch.stack([condition for _, condition, _ in taken]),
            "touched": torch.from_numpy(np.stack([touched for _, _, touched in taken])).float() / 255,
            "task": torch.tensor([EDITOR_TASKS.index(task) for task, _ in told]),
            "prompts": [sentence for _, sentence in told],
            "first": 0,
        }

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Mean squared error of the velocity, weighted by how much of each position an edit touches."""
        t = flow.logit_normal_times(len(batch["x_1"]), generator)
        assert isinstance(self.model, DiT)
        error = self._error(self.model, batch, t, generator)
        weights = 1 + self.settings.touched_weight * batch["touched"].to(error.device)[:, None]
        velocity = (error * weights).mean() / weights.mean()
        return {"loss": velocity, "velocity": error.mean().detach()}

    def _error(self, editor: DiT, batch: Batch, t: Tensor, generator: torch.Generator) -> Tensor:
        """Squared error of the velocity [b c t h w]."""
        device = editor.patch_in.weight.device
        x_1, condition, t = batch["x_1"].to(device), batch["condition"].to(device), t.to(device)
        x_0 = torch.randn(x_1.shape, generator=generator).to(device)
        x_t = torch.cat([flow.path(x_0, x_1, t), condition], dim=1)
        made = editor(x_t, t, self.prompts(batch["prompts"]), batch["task"].to(device), batch["first"])
        return (made.float() - flow.velocity(x_0, x_1)) ** 2

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Velocity error on held-out edits, at fixed noise and times: of all, of each task, and of what they touch."""
        assert isinstance(model, DiT)
        count = min(72, len(self.held_out.indices))
        batch = self._tensors([(self.held_out, index) for index in range(count)], [None] * count)
        t = torch.from_numpy(np.random.default_rng(0).permutation(count) + 0.5).float() / count
        error = self._error(model, batch, t, torch.Generator().manual_seed(0)).cpu()
        touched = batch["touched"][:, None].expand_as(error)
        figures = {
            "held_out_velocity": float(error.mean()),
            "held_out_touched": float((error * touched).sum() / touched.sum()),
        }
        for number in sorted(set(batch["task"].tolist())):
            figures[f"held_out_{EDITOR_TASKS[number]}"] = float(error[batch["task"] == number].mean())
        return figures

    def sample(self, model: nn.Module, path: Path) -> None:
        """Twelve held-out edits in 16 steps: four frames of each source beside four of what was made of it."""
        assert isinstance(model, DiT)
        items, count = self.settings.held_out, min(12, len(self.held_out.indices))
        batch = self._tensors([(self.held_out, index) for index in range(count)], [None] * count)
        told = batch["prompts"], batch["task"], batch["condition"]
        made = sample_edits(model, self.prompts, *told, EditSampling(16, 100))
        sources = batch["condition"][:, : made.shape[1]].to(made.device)
        shown = np.linspace(0, items.frames - 1, 4).round().astype(int)
        sides = [to_pixels(self.tae.decode(latents, items.frames))[:, shown] for latents in (sources, made)]
        sheet = rearrange(np.stack(sides), "s (r a) f y x c -> (r y) (a s f x) c", a=2)
        Image.fromarray(sheet).save(path)


def start_from(editor: DiT, state: dict[str, Tensor]) -> None:
    """Fill an editor with the averaged weights of an earlier stage: an editor's, or a generator's beside its read-out.

    What a generator lacks stays as it is, but for the columns of the patch projection that read the condition: zero.
    """
    if any(name.startswith("task_in.") for name in state):
        editor.load_state_dict(state)
        return
    kept = {name.removeprefix("dit."): part for name, part in state.items() if name.startswith("dit.")}
    columns = torch.zeros_like(editor.patch_in.weight).unflatten(1, (PATCH_SIZE**2, -1))
    known = kept["patch_in.weight"].unflatten(1, (PATCH_SIZE**2, -1))
    columns[:, :, : known.shape[2]] = known
    tasks = {name: part for name, part in editor.state_dict().items() if name.startswith("task_in.")}
    editor.load_state_dict(kept | tasks | {"patch_in.weight": columns.flatten(1)})
