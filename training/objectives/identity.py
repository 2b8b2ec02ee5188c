"""Identity encoder training: where the faces of pictures are, and whose they are.

Faces of one person from portraits, frames of films and frames that the TAE has been through are drawn together, those
of others apart (supervised contrast, arXiv 2004.11362), and linear read-outs name skin, hair and cut, so that people
whom training never shows are told apart by looks that it does show.
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

from kino.models.identity import Identity, IdentityConfig, cut
from kino.models.tae import TAE
from kino.presets import PRESETS
from kino.registry import Registry
from training.data import Split, to_pixels, to_signed
from training.latents import open_cache
from training.objective import Batch
from training.objectives.facts import device_of
from training.published import MODELS, open_tae
from training.world.people import Face, face, held_out_identities, sample_person, train_identities
from training.world.portraits import portrait
from training.world.render import render
from training.world.scene import HAIR_COLOURS, HAIR_CUTS, PLAIN, SKINS, Scene, sample
from training.world.scene import Identity as Looks

LOOKS = {"skin": SKINS, "hair": HAIR_COLOURS, "cut": HAIR_CUTS}
FPS = 16
TEMPERATURE = 0.1
_CUT_SHIFT, _CUT_SCALE = 0.15, 0.15


@dataclass(frozen=True)
class IdentitySettings:
    """Pictures of the world's people, drawn anew for every batch.

    Args:
        portraits, frames, reconstructed: pictures of each kind in a batch.
        clips: films that the TAE encodes and decodes once; four frames of each are kept.
        blur_share: share of the batches that are seen blurred.
        noise: largest deviation of the noise added to a batch.
    """

    preset: str
    portraits: int = 36
    frames: int = 16
    reconstructed: int = 40
    clips: int = 240
    length: int = 32
    held_out: int = 160
    blur_share: float = 0.3
    noise: float = 0.06

    def build(self, runs: Path) -> "IdentityObjective":
        """Open or make the reconstructed films, and make the encoder and its read-outs."""
        return IdentityObjective(self, runs)


class IdentityNet(nn.Module):
    """The encoder and the read-outs of looks; only the encoder is published."""

    def __init__(self, config: IdentityConfig) -> None:
        super().__init__()
        self.identity = Identity(config)
        self.looks = nn.ModuleDict({name: nn.Linear(config.features, len(values)) for name, values in LOOKS.items()})


@dataclass(frozen=True)
class Sight:
    """A picture, and who is where in it."""

    pixels: NDArray[np.uint8]
    people: tuple[Looks, ...]
    faces: list[Face]


class IdentityObjective:
    """Finding and telling apart."""

    def __init__(self, settings: IdentitySettings, runs: Path) -> None:
        self.settings = settings
        config = PRESETS[settings.preset].identity
        assert config is not None
        self.config = config
        self.model: nn.Module = IdentityNet(config)
        tae, manifest = open_tae(settings.preset, Registry(MODELS))
        stem = runs / "faces" / f"{manifest.digest[:12]}_{settings.clips}_{settings.length}_{config.view}"
        shape = (len(self._instants), config.view, config.view, 3)
        arrays = open_cache(
            stem, settings.clips, {"pixels": (np.uint8, shape)}, lambda a, b: self._reconstruct(tae, a, b)
        )
        self.reconstructed = arrays["pixels"]

    @property
    def _instants(self) -> NDArray[np.intp]:
        return np.linspace(0, self.settings.length - 1, 4).round().astype(np.intp)

    @torch.inference_mode()
    def _reconstruct(self, tae: TAE, start: int, stop: int) -> tuple[NDArray[np.uint8]]:
        side, length = self.config.view, self.settings.length
        clips = [render(sample_person(1, index), length, side, side, FPS) for index in range(start, stop)]
        return (to_pixels(tae.decode(tae.encode(to_signed(np.stack(clips))), length))[:, self._instants],)

    def batch(self, generator: torch.Generator) -> Batch:
        """Pictures of nobody, one or two people, some blurred, with their faces and whose they are."""
        settings, side = self.settings, self.config.view
        rng = np.random.default_rng(int(torch.randint(2**62, (), generator=generator)))
        sights = [portrait_of(train_identities(), rng, side) for _ in range(settings.portraits)]
        sights += [frame_of(rng, side) for _ in range(settings.frames)]
        for index in rng.integers(settings.clips, size=settings.reconstructed).tolist():
            which = int(rng.integers(len(self._instants)))
            scene, seconds = sample_person(1, index), self._instants[which] / FPS
            sights.append(seen(self.reconstructed[index, which], scene, seconds))
        blurred = rng.random() < settings.blur_share
        return self._tensors(sights, rng, blurred, float(rng.uniform(0, settings.noise)))

    def _tensors(
        self, sights: list[Sight], rng: np.random.Generator, blurred: bool = False, noise: float = 0.0
    ) -> Batch:
        """Pictures [n 3 h w], what the finder should say, the cut faces and the class numbers of their looks."""
        pictures = still_pictures(np.stack([sight.pixels for sight in sights]))
        if blurred:
            pictures = F.interpolate(F.avg_pool2d(pictures, 2), scale_factor=2.0, mode="bilinear")
        pictures = pictures + torch.from_numpy(rng.normal(0, noise, pictures.shape)).float()
        cuts, looks = [], []
        for picture, sight in zip(pictures, sights, strict=True):
            for who, (x, y, reach) in zip(sight.people, sight.faces, strict=True):
                dx, dy, larger = rng.uniform(-1, 1, 3)
                jittered = x + _CUT_SHIFT * reach * dx, y + _CUT_SHIFT * reach * dy, reach * (1 + _CUT_SCALE * larger)
                cuts.append(cut(picture, *jittered, self.config.size))
                looks.append([values.index(getattr(who, name)) for name, values in LOOKS.items()])
        return {
            "pictures": pictures.clamp(-1, 1),
            "grid": torch.stack([grid_of(sight.faces, self.config) for sight in sights]),
            "cuts": torch.stack(cuts).clamp(-1, 1),
            "looks": torch.tensor(looks),
        }

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Terms of the finder (presence, place), of the looks, and of the contrast between people."""
        model = self.model
        assert isinstance(model, IdentityNet)
        device = device_of(model)
        made, wanted = model.identity.grid(batch["pictures"].to(device)).float(), batch["grid"].to(device)
        presence = F.binary_cross_entropy_with_logits(made[:, 0], wanted[:, 0])
        there = wanted[:, 0] > 0
        place = F.smooth_l1_loss(made[:, 1:].transpose(0, 1)[:, there], wanted[:, 1:].transpose(0, 1)[:, there])
        rows, looks = model.identity.vision(batch["cuts"].to(device)), batch["looks"].to(device)
        named = torch.stack(
            [F.cross_entropy(head(rows).float(), looks[:, i]) for i, head in enumerate(model.looks.values())]
        ).sum()
        contrast = supervised_contrast(F.normalize(rows.float(), dim=-1), looks @ looks.new_tensor([16, 4, 1]))
        loss = 10 * presence + 2 * place + named + contrast
        return {"loss": loss, "presence": presence, "place": place, "named": named, "contrast": contrast}

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Of held-out people: top-1 among the 20, by one portrait or one film frame against another portrait.

        And the share of portraits and of film frames in which the finder counts the faces right.
        """
        assert isinstance(model, IdentityNet)
        rng, side = np.random.default_rng(1), self.config.view
        known = self._rows(model, [portrait_of((who,), rng, side, 1) for who in held_out_identities()], rng)
        figures = {}
        shown = {
            "portrait": [portrait_of((who,), rng, side, 1) for who in held_out_identities() * 4],
            "frame": [frame_of(rng, side, "held_out", index) for index in range(80)],
        }
        for name, sights in shown.items():
            likeness = self._rows(model, sights, rng) @ known.T
            truth = torch.tensor([held_out_identities().index(sight.people[0]) for sight in sights])
            figures[f"held_out_{name}_top1"] = float((likeness.argmax(-1) == truth).float().mean())
        sights = [portrait_of(held_out_identities(), rng, side) for _ in range(self.settings.held_out)]
        sights += [frame_of(rng, side, "held_out", index) for index in range(self.settings.held_out)]
        right = []
        for sight in sights:
            picture = still_pictures(sight.pixels[None])[0].to(device_of(model))
            right.append(len(model.identity.find(picture)) == len(sight.faces))
        half = self.settings.held_out
        counted, found = float(np.mean(right[:half])), float(np.mean(right[half:]))
        return figures | {"held_out_counted": counted, "held_out_found": found}

    def _rows(self, model: IdentityNet, sights: list[Sight], rng: np.random.Generator) -> Tensor:
        batch = self._tensors(sights, rng)
        return model.identity(batch["cuts"].to(device_of(model))).float().cpu()

    def sample(self, model: nn.Module, path: Path) -> None:
        """Forty held-out pictures with the faces that the finder sees framed in red."""
        assert isinstance(model, IdentityNet)
        rng, side = np.random.default_rng(2), self.config.view
        sights = [portrait_of(held_out_identities(), rng, side) for _ in range(20)]
        sights += [frame_of(rng, side, "held_out", index) for index in range(20)]
        shown = np.stack([sight.pixels for sight in sights])
        for pixels in shown:
            for found in model.identity.find(still_pictures(pixels[None])[0].to(device_of(model))):
                frame(pixels, found.x, found.y, found.reach)
        Image.fromarray(rearrange(shown, "(r a) y x c -> (r y) (a x) c", a=10)).save(path)


def still_pictures(pixels: NDArray[np.uint8]) -> Tensor:
    """Pictures uint8 [n h w 3] as float [n 3 h w] in [-1, 1]."""
    return to_signed(pixels[:, None])[:, :, 0]


def portrait_of(among: tuple[Looks, ...], rng: np.random.Generator, side: int, people: int | None = None) -> Sight:
    """A portrait of some of these people: of `people`, or of nobody, one or two."""
    count = people if people is not None else int(rng.choice(3, p=(0.15, 0.6, 0.25)))
    shown = tuple(among[int(index)] for index in rng.integers(len(among), size=count))
    pixels, faces = portrait(shown, rng, side, side)
    return Sight(pixels, shown, faces)


def frame_of(rng: np.random.Generator, side: int, split: Split = "train", index: int | None = None) -> Sight:
    """A frame of a film of a person, or, where no index is given, one time of four of a thing."""
    seconds = float(rng.uniform(0, 2))
    if index is None:
        index = int(rng.integers(2**31))
        if rng.random() < 0.25:
            thing = sample(2, index, split, PLAIN)
            return Sight(render(thing, 1, side, side, FPS, seconds)[0], (), [])
    scene = sample_person(2, index, split)
    return seen(render(scene, 1, side, side, FPS, seconds)[0], scene, seconds)


def seen(pixels: NDArray[np.uint8], scene: Scene, seconds: float) -> Sight:
    """A frame of a film of a person."""
    assert scene.identity is not None
    return Sight(pixels, (scene.identity,), [face(scene, seconds, *pixels.shape[:2])])


def grid_of(faces: list[Face], config: IdentityConfig) -> Tensor:
    """What `Identity.grid` should say [4 gh gw]; faces whose middle is outside the picture are not looked for."""
    cells = config.view // config.cell
    grid = torch.zeros(4, cells, cells)
    for x, y, reach in faces:
        column, row = x / config.cell, y / config.cell
        if 0 <= column < cells and 0 <= row < cells:
            place = (column % 1 - 0.5, row % 1 - 0.5, float(np.log(reach / config.cell)))
            grid[:, int(row), int(column)] = torch.tensor((1.0, *place))
    return grid


def supervised_contrast(rows: Tensor, people: Tensor) -> Tensor:
    """Mean cross-entropy of finding, among all other rows of unit length [n d], those of the same person [n]."""
    count = len(rows)
    logits = rows @ rows.T / TEMPERATURE
    logits = logits.masked_fill(torch.eye(count, dtype=torch.bool, device=rows.device), float("-inf"))
    same = (people[:, None] == people) & ~torch.eye(count, dtype=torch.bool, device=rows.device)
    chances = F.log_softmax(logits, dim=-1).masked_fill(~same, 0.0)
    alone = same.sum(-1) == 0
    return -(chances.sum(-1) / same.sum(-1).clamp_min(1))[~alone].sum() / (~alone).sum().clamp_min(1)


def frame(pixels: NDArray[np.uint8], x: float, y: float, reach: float) -> None:
    """Draw a red square of one pixel about a face, in place."""
    height, width, _ = pixels.shape
    left, right = (int(np.clip(round(x + sign * reach), 0, width - 1)) for sign in (-1, 1))
    top, bottom = (int(np.clip(round(y + sign * reach), 0, height - 1)) for sign in (-1, 1))
    pixels[top, left : right + 1] = pixels[bottom, left : right + 1] = (255, 0, 0)
    pixels[top : bottom + 1, left] = pixels[top : bottom + 1, right] = (255, 0, 0)
