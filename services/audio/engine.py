"""Makes sound: what is seen and said, noise from a seed carried along the flow, decoded and brought to its loudness."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil

import numpy as np
import torch
from torch import Tensor

from kino import flow
from kino.denoising import check
from kino.devices import reserve
from kino.exported import place
from kino.footage import iter_frames
from kino.limits import MAX_GUIDANCE, MAX_LINEAR_STEPS, MAX_STEPS
from kino.loudness import normalise
from kino.media import Frames, Limits, Source
from kino.models.audio import AudioDit, Conditions, at_latent_rate
from kino.models.codec import Codec
from kino.models.text import Tower
from kino.models.vision import Vision
from kino.presets import PRESETS, Preset
from kino.prompts import encode_prompts, open_tokenizer
from kino.registry import Registry
from kino.shapes import AUDIO_COMPRESSION
from kino.sound_prompts import sound_prompt
from kino.validate import MAX_SEED
from kino.weights import open_network, open_part
from kino.windows import cut, merged
from services.audio.gate import Figures, Sound, levelled

TEXT = "t5"
CHUNK_FRAMES = 8
"""Frames of a video that are held at once: 50 MB in full HD."""
NUM_WINDOWS = 8
"""Windows that are denoised in one batch."""


@dataclass(frozen=True)
class Video:
    """A video to be heard, as `kino.footage.probe` tells it; its file is read under `limits`."""

    source: Source
    num_frames: int
    fps: Fraction
    limits: Limits


@dataclass(frozen=True)
class Task:
    """What to make a sound of. What is None is the preset's own value, or is not there.

    Args:
        samples: length at 48 kHz, at least 1.
        video: what is seen.
        description: what is heard, in free words.
        music: its style and mood, in free words.
        quality: that the caption asks for, 1 to 10.
        context: sound that the made one begins with, float32 [n].
        linear_steps: of the schedule to follow, at least `steps`; as many for a uniform one.
    """

    samples: int
    seed: int
    video: Video | None = None
    description: str = ""
    music: str = ""
    quality: float | None = None
    context: Sound | None = None
    steps: int | None = None
    linear_steps: int | None = None
    guidance: float | None = None


@dataclass(frozen=True)
class Made:
    """A finished sound, [c n] where it was decoded for a generator, and what was measured on it."""

    sound: Sound
    figures: Figures


@dataclass(frozen=True)
class Stage:
    """A finished piece of the work: its number from 1, how many there are, and with the last one the sound."""

    step: int
    of: int
    made: Made | None = None


class AudioEngine:
    """An audio generator on one device, with the codec, the vision encoder and the text tower it was trained on.

    Guidance takes a window with and without conditions through the network in one batch. No two tasks share a batch, so
    a result depends on its task alone, bit for bit.

    Args:
        preset: name of the row; one of random weights needs no registry.
        version: model version or alias of the generator in the registry, which names those of its parts.
        device: as torch names it.
        runtime: of the text tower, as in `kino.exported.place`; the others compute by torch.

    Raises:
        ValueError: as `open_network` and `place`, or the row has no parts of ours, or the registry not those named.
    """

    def __init__(
        self, preset: str, version: str, registry: Registry, device: str = "cpu", runtime: str = "auto"
    ) -> None:
        vision, t5 = PRESETS[preset].vision, PRESETS[preset].t5
        if vision is None or t5 is None:
            raise ValueError(f"preset is {preset!r}, must be one whose vision encoder and text tower are ours")
        self.device = torch.device(device)
        self.preset: Preset
        self.manifest, self.preset, self.network = open_network(
            "audio", preset, version, registry, lambda row: AudioDit(row.audio)
        )
        spaces = self.manifest.spaces
        _, self.codec = open_part("codec", spaces.latent, self.manifest, registry, lambda row: Codec(row.codec))
        _, self.vision = open_part("vision", spaces.vision, self.manifest, registry, lambda _: Vision(vision))
        digest = spaces.text.get(TEXT, "")
        tower, self.tower = open_part(TEXT, digest, self.manifest, registry, lambda _: Tower(t5))
        self.tokenizer = open_tokenizer(t5, tower, registry)
        self.runtime = ", ".join(sorted({"torch", place(self.tower, tower, registry, runtime, device)}))
        for network in (self.network, self.codec, self.vision):
            network.to(self.device)

    def generate(self, task: Task) -> Iterator[Stage]:
        """Check a task, and return the iterator that does one piece of the work for each item.

        A piece is a chunk of frames, a sampling step, a tile of sound, and last its level. Dropping the iterator ends
        the computation.

        Raises:
            ValueError: a bound is broken; field, value and bound are named. What is wrong with the video may only be
                found while it is read.
            MemoryError: the device has no room for a task of this size.
        """
        sampler = self.preset.sound.sampler
        steps = sampler.steps if task.steps is None else task.steps
        linear_steps = steps if task.linear_steps is None else task.linear_steps
        guidance = sampler.guidance if task.guidance is None else task.guidance
        check("seed", task.seed, 0, MAX_SEED)
        check("sampling.steps", steps, 1, MAX_STEPS)
        check("sampling.linear_steps", linear_steps, steps, MAX_LINEAR_STEPS)
        check("sampling.guidance", guidance, 1.0, MAX_GUIDANCE)
        caption = self._caption(task)
        self._check_context(task)
        reserve(self._needed_bytes(task.samples), self.device, f"a sound of {task.samples} samples")
        return self._generate(task, caption, flow.linear_quadratic(steps, linear_steps), guidance)

    @torch.inference_mode()
    def _generate(self, task: Task, caption: str, times: Tensor, guidance: float) -> Iterator[Stage]:
        latents = ceil(task.samples / AUDIO_COMPRESSION)
        chunks = ceil(task.video.num_frames / CHUNK_FRAMES) if task.video is not None else 0
        steps, tiles = len(times) - 1, ceil(latents / self.codec.config.tile_latents)
        of, rows = chunks + steps + tiles + 1, []
        if task.video is not None:
            for frames in iter_frames(task.video.source, CHUNK_FRAMES, task.video.limits):
                rows.append(self._seen(frames))
                yield Stage(min(len(rows), chunks), of)
        conditions = self._conditions(task, caption, torch.cat(rows) if rows else None, latents)
        noise = torch.randn(1, self.codec.config.latent_channels, latents, generator=_generator(task.seed))
        x_t = noise.to(self.device)
        for step in flow.sample(self._velocity(conditions, x_t, guidance), x_t, times):
            x_t = step.x_t
            if not torch.isfinite(x_t).all():
                raise FloatingPointError(f"the latents are not finite after step {step.index} of {step.of}")
            yield Stage(chunks + step.index, of)
        pieces: list[Sound] = []
        for piece in self.codec.decode_tiled(x_t):
            pieces.append(piece[0].cpu().numpy())
            yield Stage(chunks + steps + len(pieces), of)
        yield Stage(of, of, Made(*levelled(np.concatenate(pieces)[: task.samples])))

    def _velocity(self, conditions: Conditions, noise: Tensor, guidance: float) -> Callable[[Tensor, Tensor], Tensor]:
        """The velocity of a whole sound: windows merged under guidance; what is given stays on its own path."""
        window = min(self.preset.audio.max_latents, noise.shape[-1])
        known = flow.velocity(noise, conditions.context)

        def predict(x_t: Tensor, t: Tensor) -> Tensor:
            def of_windows(states: Tensor, starts: Sequence[int]) -> Tensor:
                return self._guided(states, t, _cut_conditions(conditions, starts, window), guidance)

            v = merged(of_windows, x_t, window, NUM_WINDOWS)
            return torch.where(conditions.given[:, None], known, v)

        return predict

    def _guided(self, x_t: Tensor, t: Tensor, conditions: Conditions, guidance: float) -> Tensor:
        if guidance == 1:
            v: Tensor = self.network(x_t, t.expand(len(x_t)), conditions)
            return v
        both = Conditions(*(torch.cat(pair) for pair in zip(conditions.dropped(), conditions, strict=True)))
        unconditional, conditional = self.network(x_t.repeat(2, 1, 1), t.expand(2 * len(x_t)), both).chunk(2)
        return flow.guide(unconditional, conditional, guidance)

    def _seen(self, frames: Frames) -> Tensor:
        """Rows [t v] of frames, of which one at a time is held in full size as floats."""
        small = []
        for frame in frames:
            pixels = torch.tensor(frame, device=self.device).permute(2, 0, 1)[None].float()
            small.append(self.vision.scaled(pixels) / 127.5 - 1.0)
        rows: Tensor = self.vision(torch.cat(small))
        return rows

    def _conditions(self, task: Task, caption: str, rows: Tensor | None, latents: int) -> Conditions:
        config = self.preset.audio
        nothing = Conditions(
            video=torch.zeros(1, latents, config.video_width, device=self.device),
            text=torch.zeros(1, 1, config.text_width, device=self.device),
            text_mask=torch.zeros(1, 1, dtype=torch.bool, device=self.device),
            context=torch.zeros(1, config.latent_channels, latents, device=self.device),
            given=torch.zeros(1, latents, dtype=torch.bool, device=self.device),
        )
        conditions = nothing
        if task.video is not None and rows is not None:
            conditions = conditions._replace(video=at_latent_rate(rows, float(task.video.fps), latents)[None])
        if caption:
            text, mask = encode_prompts(self.tower, self.tokenizer, [caption])
            conditions = conditions._replace(text=text, text_mask=mask)
        if task.context is not None:
            whole = len(task.context) // AUDIO_COMPRESSION
            heard = torch.from_numpy(normalise(task.context)[: whole * AUDIO_COMPRESSION]).to(self.device)
            conditions.context[..., :whole] = self.codec.encode(heard[None])
            conditions.given[:, :whole] = True
        return conditions

    def _caption(self, task: Task) -> str:
        """The caption of the words; empty where there are none."""
        if task.description or task.music:
            return sound_prompt(task.description, task.music, task.quality)
        if task.quality is not None:
            raise ValueError(f"quality is {task.quality}, must be left out where nothing is described")
        if task.video is None:
            raise ValueError("description is '', must be given where there is neither a video nor music")
        return ""

    def _check_context(self, task: Task) -> None:
        check("samples", task.samples, 1, self.preset.sound.max_seconds * 48_000)
        if task.context is not None:
            given, latents = len(task.context) // AUDIO_COMPRESSION, ceil(task.samples / AUDIO_COMPRESSION)
            if not 1 <= given < latents:
                bound = f"at least {AUDIO_COMPRESSION} and fewer than the {task.samples} of the whole"
                raise ValueError(f"context is {len(task.context)} samples long, must be {bound}")

    def _needed_bytes(self, samples: int) -> int:
        """Most bytes held at once beside the weights: the sound six times over, and a batch of windows."""
        config = self.preset.audio
        tokens = 2 * NUM_WINDOWS * config.max_latents
        attention = 3 * config.heads * config.max_latents
        return 24 * samples + 4 * tokens * (12 * config.width + 3 * config.hidden + attention)


def _cut_conditions(conditions: Conditions, starts: Sequence[int], window: int) -> Conditions:
    """What each window is made by: its own part of what has a time, all of the text."""
    count = len(starts)
    return Conditions(
        video=cut(conditions.video, 1, starts, window),
        text=conditions.text.expand(count, -1, -1),
        text_mask=conditions.text_mask.expand(count, -1),
        context=cut(conditions.context, 2, starts, window),
        given=cut(conditions.given, 1, starts, window),
    )


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
