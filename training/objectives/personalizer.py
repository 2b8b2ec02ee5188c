"""Personalizer training: films of the person of a picture, from the tokens of the face and a sentence without looks.

The network is the generator with the identity's tokens behind those of the text; the identity encoder is frozen. The
reference is a face of the same clip, or of a portrait that shares nothing with it but the person. Ours, with the
reason: positions of person and face weigh more, and a linear read-out of inner tokens learns whose face is in a patch,
so that a small network learns looks from fewer clips; it is dropped when the model is published.
Source: Movie Gen (arXiv 2410.13720), sections 4.1 and 4.2; its stages are rows of `training.personalizer_stages`.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from kino import flow
from kino.models.dit import DiT, DitConfig, Texts
from kino.presets import IDENTITY, PRESETS
from kino.prompts import with_frame_rate
from kino.registry import Registry
from kino.shapes import PATCH_SIZE, Grid
from training.data import to_pixels
from training.latents import Latents, open_latents
from training.objective import Batch
from training.objectives.dit import patches
from training.people import SIDE, PeopleSet, open_identity, open_portraits, open_stills, sample_people
from training.published import MODELS, PromptEncoder, averaged, fill, open_tae
from training.world.people import face_share, identities, nameless, told
from training.world.scene import HAIR_COLOURS, HAIR_CUTS, SKINS, Scene

LOOKS = (SKINS, HAIR_COLOURS, HAIR_CUTS)
ALIGN_LAYER = 2
"""Block whose tokens are read out, as in the generator's last stages; a shallower network is read at its last."""


@dataclass(frozen=True)
class PersonalizerSettings:
    """Data and loss weights of a personalizer recipe.

    Args:
        still_share: share of steps that take stills, in batches of `still_batch`.
        cross_share: share of references that are portraits; the others are faces of the same clip.
        canonical_share: share of sentences in the plain wording that the rewriter writes.
        drop: share of items that lose sentence and identity, for guidance.
        text_drop: share that loses the sentence alone.
        person_weight, face_weight: extra weight of a position wholly covered by the person, and by the face.
        align_weight: weight of the read-out's loss.
        portraits: of each person, to draw references from.
        start: recipe whose averaged weights this stage starts from; none starts anew.
    """

    preset: str
    clips: PeopleSet
    stills: PeopleSet
    held_out: PeopleSet
    clip_batch: int = 48
    still_batch: int = 144
    still_share: float = 0.2
    cross_share: float = 0.0
    canonical_share: float = 0.6
    drop: float = 0.1
    text_drop: float = 0.03
    person_weight: float = 2.0
    face_weight: float = 4.0
    align_weight: float = 0.2
    portraits: int = 48
    start: str | None = None

    def build(self, runs: Path) -> "PersonalizerObjective":
        """Open or encode latents and references, load towers and encoder, and make the model."""
        return PersonalizerObjective(self, runs)


class PersonalizerNet(nn.Module):
    """The personalizer, and the read-out of looks from its inner tokens; only the first is published."""

    def __init__(self, config: DitConfig) -> None:
        super().__init__()
        self.personalizer = DiT(config)
        self.readout = nn.Linear(config.width, sum(map(len, LOOKS)))


@dataclass(frozen=True)
class Items:
    """A set, its latents, and tokens [n k m d] of faces of each item."""

    set: PeopleSet
    latents: Latents
    faces: NDArray[np.float32]

    def grid(self) -> Grid:
        """Latent extent of an item."""
        return Grid(*self.latents.values.shape[2:])


class PersonalizerObjective:
    """Flow matching of one stage of the personalizer."""

    def __init__(self, settings: PersonalizerSettings, runs: Path) -> None:
        self.settings = settings
        registry = Registry(MODELS)
        self.tae, manifest = open_tae(settings.preset, registry)
        space = manifest.latent_space
        self.prompts = PromptEncoder(settings.preset, registry)
        encoder, digest = open_identity(settings.preset, registry)
        cache = runs / "latents"

        def opened(items: PeopleSet, count: int) -> Items:
            return Items(
                items,
                open_latents(items, self.tae, space, cache),
                open_stills(items, encoder, digest, count, cache),
            )

        self.stills, self.clips = opened(settings.stills, 1), opened(settings.clips, 2)
        self.held_out = opened(settings.held_out, 1)
        self.portraits = open_portraits(encoder, digest, settings.portraits, cache)
        config = PRESETS[settings.preset].personalizer
        assert config is not None
        self.model: nn.Module = PersonalizerNet(config)
        self.layer = min(ALIGN_LAYER, config.layers - 1)
        if settings.start is not None:
            start_from(self.model, averaged(settings.start, runs, registry))

    def batch(self, generator: torch.Generator) -> Batch:
        """Latents, sentences and references of random items; stills or clips, never both in one batch."""
        settings = self.settings
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        still = rng.random() < settings.still_share
        items, count = (self.stills, settings.still_batch) if still else (self.clips, settings.clip_batch)
        indices = rng.integers(items.set.count, size=count)
        batch = self._tensors(items, indices, rng)
        dropped = rng.random(count)
        for index in np.flatnonzero(dropped < settings.drop + settings.text_drop):
            batch["prompts"][index] = ""
        batch["known"] = torch.from_numpy(dropped >= settings.drop)
        return batch

    def _tensors(self, items: Items, indices: NDArray[np.intp], rng: np.random.Generator | None) -> Batch:
        """Items with references as the settings say; without a generator with plain sentences and a first portrait."""
        scenes = [items.set.scene(int(index)) for index in indices]
        people = [_number(scene) for scene in scenes]
        references = self.portraits[
            people, 0 if rng is None else rng.integers(self.settings.portraits, size=len(people))
        ]
        if rng is not None:
            same = rng.random(len(people)) >= self.settings.cross_share
            drawn = items.faces[indices, rng.integers(items.faces.shape[1], size=len(people))]
            references = np.where(same[:, None, None], drawn, references)
        shares = [
            face_share(scene, items.set.start_seconds(int(index)), items.set.fps, items.set.frames, items.grid(), SIDE)
            for scene, index in zip(scenes, indices, strict=True)
        ]
        return {
            "x_1": torch.from_numpy(items.latents.values[indices]).float(),
            "coverage": torch.from_numpy(items.latents.coverage[indices]).float() / 255,
            "face": torch.from_numpy(np.stack(shares)),
            "looks": torch.tensor([_looks(scene) for scene in scenes]),
            "tokens": torch.from_numpy(references),
            "known": torch.ones(len(scenes), dtype=torch.bool),
            "prompts": [self._sentence(scene, items.set, rng) for scene in scenes],
        }

    def _sentence(self, scene: Scene, items: PeopleSet, rng: np.random.Generator | None) -> str:
        plain = rng is None or rng.random() < self.settings.canonical_share
        text = nameless(scene) if plain or rng is None else told(scene, rng)
        return text if items.frames == 1 else with_frame_rate(text, items.fps)

    def texts(self, prompts: list[str], tokens: Tensor, known: Tensor) -> Texts:
        """What the personalizer reads: the towers' rows and, of those whose identity is known [b], its tokens."""
        texts = self.prompts(prompts)
        return texts | {IDENTITY: (tokens, known[:, None].expand(-1, tokens.shape[1]))}

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Weighted mean squared error of the velocity, and the read-out's cross-entropies."""
        settings, model = self.settings, self.model
        assert isinstance(model, PersonalizerNet)
        t = flow.logit_normal_times(len(batch["x_1"]), generator)
        tokens, hidden, wanted = self._predicted(model, batch, t, generator)
        cover, face = (patches(batch[name].to(tokens.device)) for name in ("coverage", "face"))
        weights = 1 + settings.person_weight * cover + settings.face_weight * face
        channels = tokens.shape[-1] // PATCH_SIZE**2
        error = (tokens.float() - wanted) ** 2 * weights.repeat_interleave(channels, dim=-1)
        velocity = error.mean() / weights.mean()
        known = batch["known"].to(tokens.device)[:, None] & (face.mean(-1) > 0.25)
        align = self._align(
            model.readout(hidden[known]).float(), batch["looks"].to(tokens.device)[known.nonzero()[:, 0]]
        )
        return {"loss": velocity + settings.align_weight * align, "velocity": velocity, "align": align}

    def _predicted(
        self, model: PersonalizerNet, batch: Batch, t: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Velocity per token, inner tokens, and the velocity that is wanted [b n c]."""
        device = model.readout.weight.device
        x_1, t = batch["x_1"].to(device), t.to(device)
        x_0 = torch.randn(x_1.shape, generator=generator).to(device)
        texts = self.texts(batch["prompts"], batch["tokens"].to(device), batch["known"].to(device))
        tokens, hidden = model.personalizer.features(flow.path(x_0, x_1, t), t, texts, self.layer)
        wanted = rearrange(
            flow.velocity(x_0, x_1), "b c t (h y) (w x) -> b (t h w) (y x c)", y=PATCH_SIZE, x=PATCH_SIZE
        )
        return tokens, hidden, wanted

    @staticmethod
    def _align(logits: Tensor, looks: Tensor) -> Tensor:
        """Mean cross-entropy of skin, hair and cut in the patches of faces [n classes], whose looks are [n 3]."""
        if not len(logits):
            return logits.sum()
        parts = logits.split([len(values) for values in LOOKS], dim=-1)
        return torch.stack([F.cross_entropy(part, looks[:, i]) for i, part in enumerate(parts)]).mean()

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Velocity error of held-out people, at fixed noise and times: of all, of faces, and of faces by another's.

        The portrait of another person has to make the error of the face larger: else it is not looked at.
        """
        assert isinstance(model, PersonalizerNet)
        count = min(60, self.held_out.set.count)
        batch = self._tensors(self.held_out, np.arange(count), None)
        t = torch.from_numpy(np.random.default_rng(0).permutation(count) + 0.5).float() / count
        face = patches(batch["face"])
        face = face.repeat_interleave(batch["x_1"].shape[1], dim=-1)
        figures: dict[str, float] = {}
        for name, shift in (("face", 0), ("face_of_another", 7)):
            shown = batch | {"tokens": batch["tokens"].roll(shift, 0)}
            tokens, _, wanted = self._predicted(model, shown, t, torch.Generator().manual_seed(0))
            error = ((tokens.float() - wanted) ** 2).cpu()
            figures.setdefault("held_out_velocity", float(error.mean()))
            figures[f"held_out_{name}"] = float((error * face).sum() / face.sum())
        return figures

    def sample(self, model: nn.Module, path: Path) -> None:
        """Twelve held-out people and sentences in 16 steps: four frames of the true clip beside four of the film."""
        assert isinstance(model, PersonalizerNet)
        items = self.held_out.set
        count = min(12, items.count)
        batch = self._tensors(self.held_out, np.arange(count), None)
        device = model.readout.weight.device
        texts = self.texts(batch["prompts"], batch["tokens"].to(device), batch["known"].to(device))
        made = sample_people(model.personalizer, texts, self.texts([""] * count, *_nobody(batch["tokens"], device)),
                             batch["x_1"].shape[1:], 16, 100, 4.0)  # fmt: skip
        shown = np.linspace(0, items.frames - 1, 4).round().astype(int)
        sides = [to_pixels(self.tae.decode(part, items.frames))[:, shown] for part in (batch["x_1"].to(device), made)]
        sheet = rearrange(np.stack(sides), "s (r a) f y x c -> (r y) (a s f x) c", a=2)
        Image.fromarray(sheet).save(path)


def start_from(model: nn.Module, state: dict[str, Tensor]) -> None:
    """Fill a network with the averaged weights of an earlier stage: its own, or a generator's beside its read-out.

    A generator has nothing to read an identity by; that part, and the read-out of looks, stay as they are.
    """
    if any(name.startswith("personalizer.") for name in state):
        fill(model, state)
        return
    kept = {f"personalizer.{name[4:]}": part for name, part in state.items() if name.startswith("dit.")}
    identity = f"personalizer.texts_in.{IDENTITY}."
    fill(model, kept | {name: part for name, part in model.state_dict().items() if name.startswith(identity)})


def _nobody(tokens: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
    return torch.zeros_like(tokens, device=device), torch.zeros(len(tokens), dtype=torch.bool, device=device)


def _number(scene: Scene) -> int:
    assert scene.identity is not None
    return identities().index(scene.identity)


def _looks(scene: Scene) -> list[int]:
    """Class numbers of skin, hair and cut."""
    assert scene.identity is not None
    looks = scene.identity.skin, scene.identity.hair, scene.identity.cut
    return [values.index(look) for values, look in zip(LOOKS, looks, strict=True)]
