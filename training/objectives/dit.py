"""DiT training: flow matching on cached latents of stills and clips, conditioned on freshly worded captions.

Source: Movie Gen (arXiv 2410.13720), sections 3.2.1 and 3.2.3. Ours, with the reason: positions that the object covers
weigh more, and a linear read-out of inner tokens is trained to tell the facts of the scene and how much of its object
lies in each patch. Both make a small model learn from fewer clips (the idea of REPA, arXiv 2410.06940, with known facts
in place of a vision model's features); the read-out is dropped when the model is published.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
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
from training.data import to_pixels
from training.latents import Latents, LatentSet, open_latents
from training.objective import Batch
from training.published import MODELS, PromptEncoder, open_tae
from training.world.captions import canonical, caption
from training.world.scene import CAMERAS, COLOURS, MOTIONS, OBJECTS, PLACES, Scene, facts

PATCHES = PATCH_SIZE**2
OBJECT_FACTS = {"object": len(OBJECTS), "colour": len(COLOURS), "motion": len(MOTIONS)}
"""Number of classes of what is read out where the object is."""
SCENE_FACTS = {"place": len(PLACES), "camera": len(CAMERAS)}
"""The same for what is read out everywhere."""


@dataclass(frozen=True)
class DitSettings:
    """Data and loss weights of a DiT recipe.

    Args:
        videos, stills: cached training sets; `stills` alone is the image stage.
        still_share: share of steps that take stills, in batches of `still_batch`.
        canonical_share: share of captions in the canonical wording that the rewriter writes.
        chosen: most clips of `videos` for each pair of motion and camera, so that none is rare; None takes all.
        caption_drop: share of captions replaced by the empty prompt, for guidance.
        object_weight: extra weight of a position wholly covered by the object.
        align_layer, align_weight: block whose tokens are read out, and the weight of that loss.
        start: recipe whose averaged weights this stage starts from.
    """

    preset: str
    videos: LatentSet | None
    stills: LatentSet
    held_out: LatentSet
    video_batch: int = 64
    still_batch: int = 192
    still_share: float = 0.2
    canonical_share: float = 0.5
    caption_drop: float = 0.1
    object_weight: float = 2.0
    align_layer: int = 3
    align_weight: float = 0.2
    start: str | None = None
    chosen: int | None = None

    def build(self, runs: Path) -> "DitObjective":
        """Open or encode the latents, load the towers and make the model."""
        return DitObjective(self, runs)


class AlignedDit(nn.Module):
    """The DiT and the read-out of scene facts from its inner tokens."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.dit = DiT(config)
        self.readout = nn.Linear(config.width, sum(OBJECT_FACTS.values()) + sum(SCENE_FACTS.values()) + PATCHES)


class DitObjective:
    """Flow matching of one stage."""

    def __init__(self, settings: DitSettings, runs: Path) -> None:
        self.settings = settings
        registry = Registry(MODELS)
        self.tae, space = open_tae(settings.preset, registry)
        cache = runs / "latents"
        self.stills = open_latents(settings.stills, self.tae, space, cache)
        self.videos = open_latents(settings.videos, self.tae, space, cache) if settings.videos else None
        self.clips = chosen_clips(settings.videos, settings.chosen) if settings.videos else []
        self.held_out = open_latents(settings.held_out, self.tae, space, cache)
        self.prompts = PromptEncoder(settings.preset, registry)
        self.model: nn.Module = AlignedDit(PRESETS[settings.preset].dit)
        if settings.start is not None:
            state = torch.load(runs / settings.start / "checkpoint.pt", map_location="cpu", weights_only=True)
            self.model.load_state_dict(state["average"])

    def batch(self, generator: torch.Generator) -> Batch:
        """Latents, captions and facts of random items; stills or clips, never both in one batch."""
        settings = self.settings
        if settings.videos is None or self.videos is None or torch.rand((), generator=generator) < settings.still_share:
            items, latents, among = settings.stills, self.stills, range(settings.stills.count)
            count = settings.still_batch
        else:
            items, latents, among = settings.videos, self.videos, self.clips
            count = settings.video_batch
        indices = [among[drawn] for drawn in torch.randint(len(among), (count,), generator=generator).tolist()]
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        scenes = [items.scene(index) for index in indices]
        prompts = [self._prompt(scene, items, rng) for scene in scenes]
        return self._tensors(latents, indices, scenes) | {"prompts": prompts}

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
        } | {name: torch.tensor([fact[name] for fact in named]) for name in (*OBJECT_FACTS, *SCENE_FACTS)}

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
        """Scene facts at every patch, those of the object where it fills a quarter or more, and its share of each."""
        parts = logits.split([*OBJECT_FACTS.values(), *SCENE_FACTS.values(), PATCHES], dim=-1)
        named = dict(zip((*OBJECT_FACTS, *SCENE_FACTS), parts, strict=False))
        everywhere = torch.ones_like(cover[..., 0], dtype=torch.bool)
        filled = cover.mean(dim=-1) >= 0.25
        loss = F.binary_cross_entropy_with_logits(parts[-1], cover)
        for where, facts_there in ((everywhere, SCENE_FACTS), (filled, OBJECT_FACTS)):
            item = where.nonzero()[:, 0]
            for name in facts_there if len(item) else ():
                loss = loss + F.cross_entropy(named[name][where], batch[name].to(item.device)[item])
        return loss

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
) -> Tensor:
    """Latents [b, *shape] for prompts, by guided Euler steps on the schedule of the paper."""
    device = dit.patch_in.weight.device
    x_0 = torch.randn((len(texts), *shape), generator=torch.Generator().manual_seed(seed)).to(device)
    conditional, unconditional = prompts(texts), prompts([""] * len(texts))

    def predict(x_t: Tensor, t: Tensor) -> Tensor:
        return flow.guide(dit(x_t, t, unconditional).float(), dit(x_t, t, conditional).float(), guidance)

    x_t = x_0
    for step in flow.sample(predict, x_0, flow.linear_quadratic(steps, linear_steps)):
        x_t = step.x_t
    return x_t
