"""Clips of people as latents, and the tokens of the pictures that say who is in them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kino import flow, weights
from kino.models.dit import DiT, Texts
from kino.models.identity import Identity, IdentityConfig, cut
from kino.registry import Registry
from training.data import ClipSet, to_signed
from training.latents import Columns, LatentSet, open_cache
from training.published import part
from training.world.people import Face, face, identities, sample_person
from training.world.portraits import portrait
from training.world.render import render
from training.world.scene import Identity as Looks
from training.world.scene import Scene

SIDE = 96
_SHIFT, _SCALE = 0.12, 0.12


@dataclass(frozen=True)
class PeopleSet(LatentSet):
    """Clips or stills of one person each."""

    def scene(self, index: int) -> Scene:
        """Scene of one item."""
        return sample_person(self.seed, index, self.split)

    def key(self, space: str) -> str:
        """File name stem that differs whenever the set or the latent space does."""
        return f"people_{super().key(space)}"


@dataclass(frozen=True)
class PeopleClips(ClipSet):
    """Clips of one person each, as pixels."""

    def scene(self, index: int) -> Scene:
        """Scene of one clip of the set."""
        return sample_person(self.seed, self.first + index, self.split)

    @property
    def key(self) -> str:
        """File name stem that differs whenever the set does."""
        return f"people_{super().key}"


def open_identity(version: str, registry: Registry) -> tuple[Identity, str]:
    """A published identity encoder, frozen, and its digest."""
    manifest = part("identity", version, registry)
    encoder = Identity(weights.config(IdentityConfig, manifest))
    weights.load_into(encoder, manifest, registry)
    return encoder.eval().requires_grad_(False), manifest.digest


def shown_face(pixels: NDArray[np.uint8], where: Face, rng: np.random.Generator, size: int) -> Tensor:
    """The face of a picture uint8 [h w 3], cut out about as well as a finder would, in [-1, 1] [3 s s]."""
    picture = to_signed(pixels[None, None])[0, :, 0]
    dx, dy, larger = rng.uniform(-1, 1, 3)
    reach = where.reach * (1 + _SCALE * float(larger))
    return cut(picture, where.x + _SHIFT * where.reach * dx, where.y + _SHIFT * where.reach * dy, reach, size)


def portrait_faces(who: Looks, count: int, rng: np.random.Generator, size: int) -> Tensor:
    """Faces of a person cut from portraits, [n 3 s s]."""
    drawn = [portrait((who,), rng, SIDE, SIDE) for _ in range(count)]
    return torch.stack([shown_face(pixels, faces[0], rng, size) for pixels, faces in drawn])


def open_portraits(encoder: Identity, digest: str, count: int, folder: Path) -> NDArray[np.float32]:
    """Tokens [64 n m d] of `count` portraits of each of `identities()`."""
    config = encoder.config

    @torch.inference_mode()
    def compute(start: int, stop: int) -> tuple[NDArray[np.float32]]:
        rng = np.random.default_rng([3, start])
        rows = [encoder.tokens(portrait_faces(who, count, rng, config.size)) for who in identities()[start:stop]]
        return (torch.stack(rows).numpy(),)

    columns: Columns = {"tokens": (np.float32, (count, config.tokens, config.token_width))}
    return open_cache(folder / f"portraits_{digest[:12]}_{count}", len(identities()), columns, compute)["tokens"]


def open_stills(items: LatentSet, encoder: Identity, digest: str, count: int, folder: Path) -> NDArray[np.float32]:
    """Tokens [n k m d] of the face in `count` frames of each clip of a set, at instants of their own."""
    config = encoder.config

    @torch.inference_mode()
    def compute(start: int, stop: int) -> tuple[NDArray[np.float32]]:
        rng = np.random.default_rng([4, start])
        faces = []
        for index in range(start, stop):
            scene = items.scene(index)
            for seconds in rng.uniform(0, items.still_seconds, count).tolist():
                pixels = render(scene, 1, SIDE, SIDE, items.fps, seconds)[0]
                faces.append(shown_face(pixels, face(scene, seconds, SIDE, SIDE), rng, config.size))
        return (encoder.tokens(torch.stack(faces)).unflatten(0, (-1, count)).numpy(),)

    columns: Columns = {"tokens": (np.float32, (count, config.tokens, config.token_width))}
    stem = folder / f"{items.key('')}_{digest[:12]}_{count}"
    return open_cache(stem, items.count, columns, compute)["tokens"]


def sample_people(
    personalizer: DiT,
    texts: Texts,
    nothing: Texts,
    shape: tuple[int, ...],
    steps: int,
    linear_steps: int,
    guidance: float,
    seed: int = 0,
) -> Tensor:
    """Latents [b, *shape] of what texts say, by Euler steps guided away from what is made of nothing."""
    count = len(next(iter(texts.values()))[0])
    x_t = torch.randn((count, *shape), generator=torch.Generator().manual_seed(seed))
    x_t = x_t.to(personalizer.patch_in.weight.device)
    conditional, unconditional = personalizer.read(texts), personalizer.read(nothing)

    def predict(x: Tensor, t: Tensor) -> Tensor:
        without, given = (personalizer(x, t, reading).float() for reading in (unconditional, conditional))
        return flow.guide(without, given, guidance)

    for step in flow.sample(predict, x_t, flow.linear_quadratic(steps, linear_steps)):
        x_t = step.x_t
    return x_t
