"""DiT training: flow matching on cached latents of stills and clips, conditioned on freshly worded captions.

Source: Movie Gen (arXiv 2410.13720), sections 3.2.1 and 3.2.3. Ours, with the reason: positions that the object covers
weigh more, and a linear read-out of inner tokens is trained to tell which object, which colour and how much of it lies
in each patch. Both make a small model learn shapes from fewer clips (the idea of REPA, arXiv 2410.06940, with known
facts in place of a vision model's features); the read-out is dropped when the model is published.
"""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from PIL import Image
from torch import Tensor, nn

from kino import flow
from kino.models.dit import DiT, DitConfig
from kino.presets import PRESETS
from kino.prompts import with_frame_rate
from kino.registry import Registry
from kino.shapes import PATCH_SIZE
from kino.windows import merged
from training.data import to_pixels
from training.latents import Latents, LatentSet, open_latents
from training.objective import Batch
from training.published import MODELS, PromptEncoder, averaged, fill, open_tae
from training.world.captions import canonical, caption
from training.world.scene import COLOURS, OBJECTS, Scene, facts

PATCHES = PATCH_SIZE**2


@dataclass(frozen=True)
class DitSettings:
    """Data and loss weights of a DiT recipe.

    Args:
        videos, stills: cached training sets; `stills` alone is the image stage.
        others, others_share: sets of clips of other aspects and lengths, and the share of batches of clips that one of
            them gives, each as often as the next.
        still_share: share of steps that take stills, in batches of `still_batch`.
        canonical_share: share of captions in the canonical wording that the rewriter writes.
        chosen: most clips of `videos` for each pair of motion and camera, so that none is rare; None takes all.
        caption_drop: share of captions replaced by the empty prompt, for guidance.
        object_weight: extra weight of a position wholly covered by the object.
        align_layer, align_weight: block whose tokens are read out, and the weight of that loss.
        layers: blocks of the network, where not those of the preset.
        start: recipe whose averaged weights this stage starts from.
        pruned: block of the start that is left out, which makes the network one block shallower.
    """

    preset: str
    videos: LatentSet | None
    stills: LatentSet
    held_out: LatentSet
    video_batch: int = 64
    still_batch: int = 192
    still_share: float = 0.2
    others: tuple[LatentSet, ...] = ()
    others_share: float = 0.0
    canonical_share: float = 0.5
    caption_drop: float = 0.1
    object_weight: float = 2.0
    align_layer: int = 3
    align_weight: float = 0.2
    chosen: int | None = None
    layers: int | None = None
    start: str | None = None
    pruned: int | None = None

    def build(self, runs: Path) -> "DitObjective":
        """Open or encode the latents, load the towers and make the model."""
        return DitObjective(self, runs)


class AlignedDit(nn.Module):
    """The DiT and the read-out of scene facts from its inner tokens."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.dit = DiT(config)
        self.readout = nn.Linear(config.width, len(OBJECTS) + len(COLOURS) + PATCHES)


class DitObjective:
    """Flow matching of one stage."""

    def __init__(self, settings: DitSettings, runs: Path) -> None:
        self.settings = settings
        registry = Registry(MODELS)
        self.tae, manifest = open_tae(settings.preset, registry)
        space = manifest.latent_space
        cache = runs / "latents"
        self.stills = open_latents(settings.stills, self.tae, space, cache)
        self.videos = open_latents(settings.videos, self.tae, space, cache) if settings.videos else None
        self.others = [open_latents(other, self.tae, space, cache) for other in settings.others]
        self.clips = chosen_clips(settings.videos, settings.chosen) if settings.videos else []
        self.held_out = open_latents(settings.held_out, self.tae, space, cache)
        self.prompts = PromptEncoder(settings.preset, registry)
        config = PRESETS[settings.preset].dit
        self.model: nn.Module = AlignedDit(replace(config, layers=settings.layers or config.layers))
        if settings.start is not None:
            state = averaged(settings.start, runs, registry)
            fill(self.model, state if settings.pruned is None else without_block(state, settings.pruned))

    def batch(self, generator: torch.Generator) -> Batch:
        """Latents, captions and facts of random items; stills or clips, never both in one batch."""
        items, latents, among, count = self._drawn(generator)
        indices = [among[drawn] for drawn in torch.randint(len(among), (count,), generator=generator).tolist()]
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        scenes = [items.scene(index) for index in indices]
        prompts = [self._prompt(scene, items, rng) for scene in scenes]
        return self._tensors(latents, indices, scenes) | {"prompts": prompts}

    def _drawn(self, generator: torch.Generator) -> tuple[LatentSet, Latents, Sequence[int], int]:
        """The set that a batch is of, what it may take of it, and how much it takes."""
        settings = self.settings
        if settings.videos is None or self.videos is None or torch.rand((), generator=generator) < settings.still_share:
            return settings.stills, self.stills, range(settings.stills.count), settings.still_batch
        if settings.others and torch.rand((), generator=generator) < settings.others_share:
            which = int(torch.randint(len(self.others), (), generator=generator))
            return settings.others[which], self.others[which], range(settings.others[which].count), settings.video_batch
        return settings.videos, self.videos, self.clips, settings.video_batch

    def _prompt(self, scene: Scene, items: LatentSet, rng: np.random.Generator) -> str:
        if rng.random() < self.settings.caption_drop:
            return ""
        text = canonical(scene) if rng.random() < self.settings.canonical_share else caption(scene, rng)
        return text if items.frames == 1 else with_frame_rate(text, items.fps)

    @staticmethod
    def _tensors(latents: Latents, indices: list[int], scenes: list[Scene]) -> Batch:
        named = [facts(scene) for scene in scenes]
        return {
            "x_1": torch.from_numpy(latents.values[indices]).float(),
            "coverage": torch.from_numpy(latents.coverage[indices]).float() / 255,
            "object": torch.tensor([fact["object"] for fact in named]),
            "colour": torch.tensor([fact["colour"] for fact in named]),
        }

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Weighted mean squared error of the velocity, and the read-out's cross-entropies."""
        settings, model = self.settings, self.model
        assert isinstance(model, AlignedDit)
        device = model.readout.weight.device
        x_1, coverage = batch["x_1"].to(device), batch["coverage"].to(device)
        t = flow.logit_normal_times(len(x_1), generator).to(device)
        x_0 = torch.randn(x_1.shape, generator=generator).to(device)
        x_t, target = flow.path(x_0, x_1, t), flow.velocity(x_0, x_1)
        tokens, hidden = model.dit.features(x_t, t, self.prompts(batch["prompts"]), settings.align_layer)
        wanted = rearrange(target, "b c t (h y) (w x) -> b (t h w) (y x c)", y=PATCH_SIZE, x=PATCH_SIZE)
        weights = 1 + settings.object_weight * patches(coverage).repeat_interleave(x_1.shape[1], dim=-1)
        error = (tokens.float() - wanted) ** 2
        velocity = (error * weights).mean() / weights.mean()
        align = self._align(model.readout(hidden).float(), batch, patches(coverage))
        return {"loss": velocity + settings.align_weight * align, "velocity": velocity, "align": align}

    @staticmethod
    def _align(logits: Tensor, batch: Batch, cover: Tensor) -> Tensor:
        """Object and colour of the patches that it fills by a quarter or more, and its share of each position."""
        named, coloured, covered = logits.split([len(OBJECTS), len(COLOURS), PATCHES], dim=-1)
        filled = cover.mean(dim=-1) >= 0.25
        share = F.binary_cross_entropy_with_logits(covered, cover)
        item = filled.nonzero()[:, 0]
        if not len(item):
            return share
        object_, colour = batch["object"].to(item.device)[item], batch["colour"].to(item.device)[item]
        return share + F.cross_entropy(named[filled], object_) + F.cross_entropy(coloured[filled], colour)

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Velocity error on held-out items at fixed noise and times."""
        assert isinstance(model, AlignedDit)
        generator = torch.Generator().manual_seed(0)
        indices = list(range(min(64, self.settings.held_out.count)))
        scenes = [self.settings.held_out.scene(index) for index in indices]
        batch = self._tensors(self.held_out, indices, scenes)
        x_1 = batch["x_1"].to(model.readout.weight.device)
        t = ((torch.arange(len(x_1)) + 0.5) / len(x_1)).to(x_1.device)
        x_0 = torch.randn(x_1.shape, generator=generator).to(x_1.device)
        texts = self.prompts([self._held_out_prompt(scene) for scene in scenes])
        error = (model.dit(flow.path(x_0, x_1, t), t, texts).float() - flow.velocity(x_0, x_1)) ** 2
        covered = batch["coverage"].to(x_1.device)[:, None]
        return {
            "held_out_velocity": float(error.mean()),
            "held_out_object": float((error * covered).sum() / (covered.sum() * x_1.shape[1])),
        }

    def _held_out_prompt(self, scene: Scene) -> str:
        items = self.settings.held_out
        return canonical(scene) if items.frames == 1 else with_frame_rate(canonical(scene), items.fps)

    def sample(self, model: nn.Module, path: Path) -> None:
        """Sixteen held-out prompts sampled with 20 steps: one still each, or four frames of a clip each."""
        assert isinstance(model, AlignedDit)
        items = self.settings.held_out
        scenes = [items.scene(index) for index in range(16)]
        texts = [self._held_out_prompt(scene) for scene in scenes]
        latents = sample_latents(model.dit, self.prompts, texts, self.held_out.values.shape[1:], 20, 100, 3.0)
        video = to_pixels(self.tae.decode(latents, items.frames))
        shown = video[:, np.linspace(0, items.frames - 1, min(4, items.frames)).round().astype(int)]
        sheet = rearrange(shown, "(r a) f y x c -> (r y) (a f x) c", a=2 if items.frames > 1 else 4)
        Image.fromarray(sheet).save(path)


def without_block(state: dict[str, Tensor], block: int) -> dict[str, Tensor]:
    """The weights of an aligned DiT without one of its blocks; those behind it move up."""
    kept = {}
    for name, part in state.items():
        found = re.fullmatch(r"dit\.blocks\.(\d+)\.(.+)", name)
        number = int(found[1]) if found else -1
        if found and number > block:
            kept[f"dit.blocks.{number - 1}.{found[2]}"] = part
        elif number != block:
            kept[name] = part
    return kept


def chosen_clips(items: LatentSet, most: int | None) -> Sequence[int]:
    """Indices of the clips to learn from: all, or the first `most` of each pair of motion and camera."""
    if most is None:
        return range(items.count)
    taken: Counter[tuple[str, str]] = Counter()
    chosen = []
    for index in range(items.count):
        scene = items.scene(index)
        pair = scene.motion, scene.camera
        taken[pair] += 1
        if taken[pair] <= most:
            chosen.append(index)
    return chosen


def patches(coverage: Tensor) -> Tensor:
    """Coverage [b, t, h, w] by patch: [b, n, 4]."""
    return rearrange(coverage, "b t (h y) (w x) -> b (t h w) (y x)", y=PATCH_SIZE, x=PATCH_SIZE)


def sample_latents(
    dit: DiT,
    prompts: PromptEncoder,
    texts: list[str],
    shape: tuple[int, ...],
    steps: int,
    linear_steps: int,
    guidance: float,
    seed: int = 0,
    window: int | None = None,
) -> Tensor:
    """Latents [b, *shape] for prompts, by guided Euler steps on the schedule of the paper.

    One prompt's latents may be denoised in windows of so many in time, as the generator denoises what is longer.
    """
    device = dit.patch_in.weight.device
    x_0 = torch.randn((len(texts), *shape), generator=torch.Generator().manual_seed(seed)).to(device)
    conditional, unconditional = dit.read(prompts(texts)), dit.read(prompts([""] * len(texts)))

    def predict(x_t: Tensor, t: Tensor) -> Tensor:
        return flow.guide(dit(x_t, t, unconditional).float(), dit(x_t, t, conditional).float(), guidance)

    def by_windows(x_t: Tensor, t: Tensor) -> Tensor:
        return merged(lambda state, _: predict(state, t), x_t, window or shape[1], 1)

    x_t = x_0
    for step in flow.sample(by_windows if window else predict, x_0, flow.linear_quadratic(steps, linear_steps)):
        x_t = step.x_t
    return x_t
