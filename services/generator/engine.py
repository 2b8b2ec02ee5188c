"""Generates latents: noise from a seed, carried along the flow under the guidance of text. Arrays in, arrays out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kino import flow
from kino.adapters import Chosen
from kino.denoising import Rows, Schedule, State, batch, beginning, checked_rows, finite, needed_bytes, schedule
from kino.devices import reserve, room
from kino.family import IMAGE_TO_VIDEO, IMAGES, TEXT_TO_VIDEO
from kino.limits import Defaults
from kino.manifest import Manifest
from kino.models.dit import DiT
from kino.presets import Preset
from kino.registry import Registry
from kino.shapes import Clips, SoundLatents, latent_frames
from kino.weights import open_network
from kino.windows import guided
from services.generator.adapters import ADAPTER_BYTES, Adapters, active, key_of
from services.generator.lockstep import Outcomes, Predict, Run, alone, lockstep


@dataclass(frozen=True)
class Task:
    """What to generate. The size is in pixels; what is None is the preset's own value.

    Args:
        embeddings: the prompt's, one entry for each tower of the model.
        unconditional: what guidance moves away from; not read where guidance is 1.
        seed: of the noise, 0 to 2^63 - 1.
        linear_steps: of the schedule to follow, at least `steps`; the preset's own is raised to that.
        start: the state to go on from; None to begin at noise.
        fps: frames per second that the video is meant for; our own model is told of them in the text.
        adapters: what changes the model, in this order.
        picture: latents [c t h w] of the picture that the video begins with.
    """

    embeddings: Rows
    unconditional: Rows
    frames: int
    height: int
    width: int
    seed: int
    steps: int | None = None
    linear_steps: int | None = None
    guidance: float | None = None
    start: State | None = None
    fps: float | None = None
    adapters: tuple[Chosen, ...] = ()
    picture: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class PictureReading:
    """How a generator reads the picture that a video begins with.

    Args:
        clip: its latents are those of the whole clip, the picture and grey frames after it, not of the picture alone.
        drawn: they are drawn by the seed of the task, not the likeliest ones.
        crf: constant rate factor of H.264 by which it is compressed before, 1 to 51; 0 for not at all.
    """

    clip: bool = False
    drawn: bool = False
    crf: int = 0


R = TypeVar("R", bound=Run)


class Engine(Protocol[R]):
    """What the service needs of an engine, whatever family of models it holds."""

    @property
    def manifest(self) -> Manifest:
        """The version that is served."""

    @property
    def clips(self) -> Clips:
        """How its latents lie, and what it may be asked for."""

    @property
    def text_shapes(self) -> Mapping[str, tuple[int, int]]:
        """Most rows of one text and their width, by tower."""

    @property
    def defaults(self) -> Defaults:
        """How it samples when a task does not say."""

    @property
    def abilities(self) -> tuple[str, ...]:
        """What it can make, as `kino.family.ABILITIES` names it."""

    @property
    def sound(self) -> SoundLatents | None:
        """How the sound of its videos lies in latents, None where they come without."""

    @property
    def reads_picture(self) -> PictureReading | None:
        """How it reads the picture that a video begins with, None where it reads none."""

    def prepare(self, task: Task) -> R:
        """Check a task, and return its run.

        Raises:
            ValueError: a bound is broken, or embeddings or start do not fit; field, value and bound are named.
            MemoryError: the device has no room for a task of this size.
        """

    def room(self, run: R) -> int:
        """How many runs like this one the device has the memory for now, at least 1."""

    def sample(self, runs: Sequence[R]) -> Iterator[Outcomes[R]]:
        """Compute one step of runs of one key for each item: what became of each run, its state or its error.

        Of a run alone there are `of` states, or those left; what it gives depends on its task alone: the first
        `start.step` items of an undisturbed run and then those of a resumed one are the undisturbed run's, bit for bit.
        What it gives in a batch may differ from that in the last bits. Dropping the iterator ends the computation.
        """

    def generate(self, task: Task) -> Iterator[State]:
        """Check a task, and return the iterator over the states of its run alone; raises as `prepare` and its run."""


class GeneratorRun(Run):
    """A run of our own network.

    Args:
        texts: what guidance moves away from, if anything, and the prompt.
    """

    def __init__(
        self, task: Task, start: State, how: Schedule, texts: Sequence[Rows], num_bytes: int, device: torch.device
    ) -> None:
        key = (start.x_t.shape, start.step, how, key_of(task.adapters))
        super().__init__(key, num_bytes, start.step, how.steps)
        self.start, self.how, self.texts, self.adapters = start, how, texts, task.adapters
        self._device, self.times = device, how.times

    def begin(self) -> None:
        self.x_t = torch.from_numpy(self.start.x_t).to(self._device)[None]

    def step(self, index: int, prediction: Tensor) -> State:
        self.x_t = flow.step(self.x_t, prediction, self.times, index)
        return finite(State(index + 1, self.of, self.x_t[0].cpu().numpy()))


class GeneratorEngine:
    """A DiT on one device.

    A clip longer than those that the network was trained on is denoised in windows of their length, half of it apart,
    whose velocities are merged at every step: the same words hold all along. Guidance takes both texts through the
    network in one batch of two.

    Args:
        preset: name of the row; one of random weights needs no registry.
        version: model version or alias in the registry.
        device: as torch names it.
        adapter_bytes: most bytes of adapters.
    """

    abilities = (TEXT_TO_VIDEO, IMAGES)
    reads_picture = sound = None

    def __init__(
        self,
        preset: str,
        version: str,
        registry: Registry,
        device: str = "cpu",
        adapter_bytes: int = ADAPTER_BYTES,
    ) -> None:
        self.device = torch.device(device)
        self.preset: Preset
        self.manifest, self.preset, self.network = open_network(
            "dit", preset, version, registry, lambda row: DiT(row.dit)
        )
        self.network.to(self.device)
        networks = {"transformer": self.network}
        self.adapters = Adapters(networks, self.manifest, registry, self.device, adapter_bytes)
        self.clips = self.preset.video.clips(self.preset.dit.latent_channels)
        self.window = latent_frames(self.preset.video.frames)
        self.text_shapes: Mapping[str, tuple[int, int]] = self.preset.text_shapes
        self.defaults = Defaults(**asdict(self.preset.sampler))

    def prepare(self, task: Task) -> GeneratorRun:
        """Check a task, and return its run; see `Engine`."""
        check_picture(task.picture, self.abilities)
        grid = self.clips.grid(task.frames, task.height, task.width)
        how = schedule(task.steps, task.linear_steps, task.guidance, self.preset.sampler)
        towers, config = self.preset.text_shapes, self.preset.dit
        texts = [checked_rows("embeddings", task.embeddings, towers)]
        if how.guidance != 1:
            texts.insert(0, checked_rows("unconditional", task.unconditional, towers))
        start = beginning(task.start, task.seed, how.steps, config.latent_channels, grid)
        tokens = grid.tokens * min(grid.t, self.window) // grid.t
        needed = needed_bytes(config, tokens, texts) + self.adapters.check(task.adapters)
        reserve(needed, self.device, f"a clip of {grid.tokens} tokens")
        return GeneratorRun(task, start, how, texts, needed, self.device)

    def room(self, run: GeneratorRun) -> int:
        """How many runs like this one the device has the memory for; see `Engine`."""
        return room(run.num_bytes, self.device)

    def generate(self, task: Task) -> Iterator[State]:
        """Check a task, and return the iterator over its states; see `Engine`."""
        return alone(self.sample([self.prepare(task)]))

    @torch.inference_mode()
    def sample(self, runs: Sequence[GeneratorRun]) -> Iterator[Outcomes[GeneratorRun]]:
        """Compute runs of one key; see `Engine`."""
        how, changes = runs[0].how, self.adapters.open(runs[0].adapters)

        def predictor(together: Sequence[GeneratorRun]) -> Predict:
            sides = list(zip(*(run.texts for run in together), strict=True))
            texts = [text for side in sides for text in side]
            with active(changes):
                reading = self.network.read(batch(texts, self.preset.dit, self.device))
            velocity = guided(self.network, reading, len(sides), how.guidance, self.window)

            def predict(x_t: Tensor, index: int) -> Tensor:
                with active(changes):
                    return velocity(x_t, runs[0].times[index].to(self.device).expand(len(x_t)))

            return predict

        yield from lockstep(runs, predictor)


def check_picture(picture: NDArray[np.float32] | None, abilities: tuple[str, ...]) -> None:
    """Refuse a picture that a model cannot begin with, and the lack of one that it must; raises `ValueError`."""
    if picture is not None and IMAGE_TO_VIDEO not in abilities:
        raise ValueError("latents is given, must be left out: the model begins with no picture")
    if picture is None and not {TEXT_TO_VIDEO, IMAGES} & set(abilities):
        raise ValueError("latents is missing, must be given: the model begins with a picture")
