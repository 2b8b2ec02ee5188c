"""Finds who is in a picture, and generates latents of that person under the guidance of text. Arrays in, arrays out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from kino.denoising import (
    Rows,
    Schedule,
    State,
    batch,
    beginning,
    check_floats,
    checked_rows,
    needed_bytes,
    schedule,
    states,
)
from kino.devices import reserve
from kino.limits import PEOPLE_SAMPLERS
from kino.media import Frames
from kino.models.dit import DiT, DitConfig
from kino.models.identity import FoundFace, Identity, IdentityConfig, cut
from kino.presets import IDENTITY, Preset
from kino.registry import Registry
from kino.shapes import latent_frames
from kino.weights import open_network, open_part
from kino.windows import guided


@dataclass(frozen=True)
class Task:
    """What to generate, and of whom. The size is in pixels; what is None is the preset's own value.

    Args:
        embeddings: the prompt's, one entry for each text tower of the model.
        unconditional: what guidance moves away from, as it does from nobody in particular; not read where it is 1.
        identity: tokens [m d] of the person, as `PersonalizerEngine.identify` gives them.
        seed: of the noise, 0 to 2^63 - 1.
        linear_steps: of the schedule to follow, at least `steps`; the preset's own is raised to that.
        start: the state to go on from; None to begin at noise.
    """

    embeddings: Rows
    unconditional: Rows
    identity: NDArray[np.float32]
    frames: int
    height: int
    width: int
    seed: int
    steps: int | None = None
    linear_steps: int | None = None
    guidance: float | None = None
    start: State | None = None


@dataclass(frozen=True)
class Person:
    """The one person of a picture: tokens float32 [m d], and where the face is."""

    tokens: NDArray[np.float32]
    face: FoundFace


class PersonalizerEngine:
    """An identity encoder and a DiT that reads its tokens, on one device.

    A long clip is denoised in windows, as the generator does. Guidance takes both readings through the network in one
    batch of two. No two tasks share a batch, so a result depends on its task alone, bit for bit, and no identity can
    reach another's film.

    Args:
        preset: name of a row that has an identity encoder; one of random weights needs no registry.
        version: model version or alias in the registry, which names its identity encoder.
        device: as torch names it.

    Raises:
        ValueError: as `open_network`, or the registry has not the identity encoder that is named.
    """

    def __init__(self, preset: str, version: str, registry: Registry, device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.preset: Preset
        self.manifest, self.preset, self.network = open_network(
            "personalizer", preset, version, registry, lambda row: DiT(_config(row))
        )
        digest = self.manifest.spaces.vision
        _, self.encoder = open_part(
            IDENTITY, digest, self.manifest, registry, lambda row: Identity(_identity_config(row))
        )
        self.config = self.network.config
        self.clips = self.preset.video.clips(self.config.latent_channels)
        self.window = latent_frames(self.preset.video.frames)
        self.encoder.to(self.device)
        self.network.to(self.device)

    @torch.inference_mode()
    def identify(self, picture: Frames) -> Person:
        """The person of a picture uint8 [h w 3].

        Raises:
            ValueError: it shows nobody that the model knows, or several people.
        """
        signed = torch.tensor(picture).to(self.device).permute(2, 0, 1).float() / 127.5 - 1.0
        found = self.encoder.find(signed)
        if not found:
            known = f"one person of the world of {self.preset.name}, which is not that of photographs"
            raise ValueError(f"image is a picture of nobody that is known, must be one of {known}")
        if len(found) > 1:
            raise ValueError(f"image is a picture of {len(found)} people, must be one of one person")
        (face,) = found
        square = cut(signed, face.x, face.y, face.reach, self.encoder.config.size)
        return Person(self.encoder.tokens(square[None])[0].cpu().numpy(), face)

    def generate(self, task: Task) -> Iterator[State]:
        """Check a task, and return the iterator that computes one step for each item: `of` states, or those left.

        The first `start.step` items of an undisturbed run and then those of a resumed one are the undisturbed run's,
        bit for bit. Dropping the iterator ends the computation.

        Raises:
            ValueError: a bound is broken, or something does not fit; field, value and bound are named.
            MemoryError: the device has no room for a task of this size.
        """
        grid = self.clips.grid(task.frames, task.height, task.width)
        how = schedule(task.steps, task.linear_steps, task.guidance, PEOPLE_SAMPLERS[self.preset.name])
        towers, identity = self.preset.text_shapes, self.encoder.config
        check_floats("identity", task.identity, (identity.tokens, identity.token_width))
        texts = [{**checked_rows("embeddings", task.embeddings, towers), IDENTITY: task.identity}]
        if how.guidance != 1:
            nobody = np.zeros((0, identity.token_width), np.float32)
            texts.insert(0, {**checked_rows("unconditional", task.unconditional, towers), IDENTITY: nobody})
        start = beginning(task.start, task.seed, how.steps, self.config.latent_channels, grid)
        tokens = grid.tokens * min(grid.t, self.window) // grid.t
        reserve(needed_bytes(self.config, tokens, texts), self.device, f"a clip of {grid.tokens} tokens")
        return self._sample(start, how, texts)

    @torch.inference_mode()
    def _sample(self, start: State, how: Schedule, texts: Sequence[Rows]) -> Iterator[State]:
        reading = self.network.read(batch(texts, self.config, self.device))
        predict = guided(self.network, reading, len(texts), how.guidance, self.window)
        yield from states(predict, start, how.times, self.device)


def _identity_config(row: Preset) -> IdentityConfig:
    assert row.identity is not None
    return row.identity


def _config(row: Preset) -> DitConfig:
    assert row.personalizer is not None
    return row.personalizer
