"""Audio generator training: flow matching on cached latents, told by the video's rows and a freshly worded prompt.

Source: Movie Gen (arXiv 2410.13720), section 6.2: what is masked and what is dropped, and how often. Ours, with the
reason: latents at the onset of an event weigh more, and a linear read-out of inner tokens is trained to tell which
event begins where, so that a small model learns from fewer clips; the read-out is dropped when the model is published.
"""

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
from kino.models.audio import LATENTS_PER_SECOND, AudioConfig, AudioDit, Conditions
from kino.presets import PRESETS
from kino.registry import Registry
from training.objective import Batch
from training.objectives.codec import magnitudes
from training.objectives.facts import device_of, rng_of
from training.objectives.sound_text import drawn_prompt
from training.published import MODELS, SoundParts, averaged, fill
from training.soundtracks import Encoded, Soundtracks, open_soundtracks
from training.world.events import KINDS
from training.world.sound_captions import sound_caption

NOTHING = len(KINDS)
ENGINE = NOTHING + 1


@dataclass(frozen=True)
class AudioSettings:
    """Data, drops and loss weights of an audio recipe.

    Args:
        lengths: latents of a batch's windows, one of them drawn for each batch.
        drop_all, drop_text, drop_video: shares of windows without any condition, without a prompt, without a video.
        given_share: share of windows of which up to a quarter is given.
        event_weight: extra weight of the 160 ms from an event's onset on.
        align_layer, align_weight: block whose tokens are read out, and the weight of that loss.
        balanced: draw every kind of event as often as every other, and as clips without any; else clips as they come.
        start: recipe whose averaged weights this stage starts from.
    """

    preset: str
    tracks: Soundtracks
    held_out: Soundtracks
    batch: int = 64
    lengths: tuple[int, ...] = (50, 75, 100)
    drop_all: float = 0.2
    drop_text: float = 0.1
    drop_video: float = 0.1
    given_share: float = 0.5
    event_weight: float = 2.0
    align_layer: int = 2
    align_weight: float = 0.2
    balanced: bool = False
    start: str | None = None

    def build(self, runs: Path) -> "AudioObjective":
        """Open or encode the clips, load the tower and make the model."""
        return AudioObjective(self, runs)


class AlignedAudio(nn.Module):
    """The audio generator and the read-out of events from its inner tokens."""

    def __init__(self, config: AudioConfig) -> None:
        super().__init__()
        self.audio = AudioDit(config)
        self.readout = nn.Linear(config.width, ENGINE + 1)


class AudioObjective:
    """Flow matching of one stage."""

    def __init__(self, settings: AudioSettings, runs: Path) -> None:
        self.settings = settings
        self.parts = SoundParts(settings.preset, Registry(MODELS))
        cache, parts = runs / "soundtracks", self.parts
        self.tracks = open_soundtracks(settings.tracks, parts, cache)
        self.held_out = open_soundtracks(settings.held_out, parts, cache)
        self.kinds = clips_by_kind(settings.tracks) if settings.balanced else [range(settings.tracks.count)]
        self.model: nn.Module = AlignedAudio(PRESETS[settings.preset].audio)
        if settings.start is not None:
            fill(self.model, averaged(settings.start, runs, Registry(MODELS)))

    def batch(self, generator: torch.Generator) -> Batch:
        """Windows of one length of random clips, what is given of them, their prompts and events."""
        settings, rng = self.settings, rng_of(generator)
        length = int(rng.choice(settings.lengths))
        kinds = [self.kinds[drawn] for drawn in rng.integers(len(self.kinds), size=settings.batch)]
        indices = [among[int(rng.integers(len(among)))] for among in kinds]
        starts = rng.integers(settings.tracks.latents - length + 1, size=settings.batch).tolist()
        prompts = [
            drawn_prompt(settings.tracks.scene(index), rng, settings.tracks.mood(index), settings.tracks.seconds)
            for index in indices
        ]
        dropped = rng.random((3, settings.batch)) < [[settings.drop_all], [settings.drop_text], [settings.drop_video]]
        window = windows(self.tracks, settings.tracks, indices, starts, length)
        return window | {
            "prompts": prompts,
            "given": given(rng, settings.given_share, settings.batch, length) & torch.from_numpy(~dropped[0])[:, None],
            "without_text": torch.from_numpy(dropped[0] | dropped[1]),
            "without_video": torch.from_numpy(dropped[0] | dropped[2]),
        }

    def loss(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Weighted mean squared error of the velocity where nothing is given, and the read-out's loss."""
        settings, model = self.settings, self.model
        assert isinstance(model, AlignedAudio)
        device = device_of(model)
        x_1, events = batch["x_1"].to(device), batch["events"].to(device)
        t = flow.logit_normal_times(len(x_1), generator).to(device)
        x_0 = torch.randn(x_1.shape, generator=generator).to(device)
        conditions = self._conditions(batch, device)
        found, hidden = model.audio.features(flow.path(x_0, x_1, t), t, conditions, settings.align_layer)
        error = ((found.float() - flow.velocity(x_0, x_1)) ** 2).mean(dim=1)
        begun = F.max_pool1d((events < NOTHING).float()[:, None], 4, 1)
        weights = 1 + settings.event_weight * F.pad(begun, (3, 0))[:, 0, : error.shape[1]]
        weights = weights * ~conditions.given
        velocity = (error * weights).sum() / weights.sum()
        align = self._align(model.readout(hidden).float(), events, batch["engine"].to(device))
        return {"loss": velocity + settings.align_weight * align, "velocity": velocity, "align": align}

    @staticmethod
    def _align(logits: Tensor, events: Tensor, engine: Tensor) -> Tensor:
        """Which event begins at a latent, rare ones as heavy as none, and whether a motor runs."""
        named, running = logits.split([ENGINE, 1], dim=-1)
        loss = F.cross_entropy(named.flatten(0, 1), events.flatten(), reduction="none")
        begins = events.flatten() < NOTHING
        rare = loss[begins].mean() if begins.any() else loss.new_zeros(())
        wanted = engine[:, None].expand(-1, running.shape[1]).float()
        return loss[~begins].mean() + rare + F.binary_cross_entropy_with_logits(running[..., 0], wanted)

    def _conditions(self, batch: Batch, device: torch.device) -> Conditions:
        text, mask = self.parts.read(batch["prompts"])
        x_1, kept = batch["x_1"].to(device), batch["given"].to(device)
        return Conditions(
            video=batch["rows"].to(device) * ~batch["without_video"].to(device)[:, None, None],
            text=text.to(device),
            text_mask=mask.to(device) & ~batch["without_text"].to(device)[:, None],
            context=x_1 * kept[:, None],
            given=kept,
        )

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Velocity error on held-out clips at fixed noise and times, of all latents and of those where events begin."""
        assert isinstance(model, AlignedAudio)
        device = device_of(model)
        batch = self._held_out(min(64, self.settings.held_out.count))
        x_1 = batch["x_1"].to(device)
        t = ((torch.arange(len(x_1)) + 0.5) / len(x_1)).to(device)
        x_0 = torch.randn(x_1.shape, generator=torch.Generator().manual_seed(0)).to(device)
        found, hidden = model.audio.features(
            flow.path(x_0, x_1, t), t, self._conditions(batch, device), self.settings.align_layer
        )
        error = ((found.float() - flow.velocity(x_0, x_1)) ** 2).mean(dim=1)
        begun = batch["events"].to(device) < NOTHING
        named = model.readout(hidden)[..., :ENGINE].argmax(-1)
        return {
            "held_out_velocity": float(error.mean()),
            "held_out_onset_velocity": float(error[begun].mean()),
            "held_out_onsets_read": float((named == batch["events"].to(device))[begun].float().mean()),
        }

    def _held_out(self, count: int) -> Batch:
        items = self.settings.held_out
        nobody = torch.zeros(count, dtype=torch.bool)
        window = windows(self.held_out, items, range(count), [0] * count, items.latents)
        return window | {
            "prompts": [sound_caption(items.scene(i), items.seconds, None, items.mood(i)) for i in range(count)],
            "given": torch.zeros(count, items.latents, dtype=torch.bool),
            "without_text": nobody,
            "without_video": nobody,
        }

    def sample(self, model: nn.Module, path: Path) -> None:
        """Spectrograms of four held-out clips: the codec's own above what the generator makes."""
        assert isinstance(model, AlignedAudio)
        batch = self._held_out(min(4, self.settings.held_out.count))
        made = sample_latents(model.audio, self._conditions(batch, device_of(model)), steps=16, guidance=3.0)
        samples = self.settings.held_out.latents * 1920
        sounds = [self.parts.codec.decode(part.float(), samples) for part in (batch["x_1"].to(made.device), made)]
        shown = torch.stack([magnitudes(sound.float(), 2048).log10() for sound in sounds], dim=1)
        pixels = ((shown + 3) / 5 * 255).clamp(0, 255).flip(-2)[..., ::2, :]
        Image.fromarray(rearrange(pixels, "b two f t -> (b two f) t").byte().cpu().numpy()).save(path)


def clips_by_kind(items: Soundtracks) -> list[Sequence[int]]:
    """Indices of the clips in which each kind of event happens, of those with a motor, and of those with neither."""
    found: dict[str, list[int]] = {}
    for index in range(items.count):
        kinds = {event.kind for event in items.events(index)} or {"engine" if items.has_engine(index) else "nothing"}
        for kind in kinds:
            found.setdefault(kind, []).append(index)
    return [found[kind] for kind in sorted(found)]


def windows(encoded: Encoded, items: Soundtracks, indices: Sequence[int], starts: Sequence[int], length: int) -> Batch:
    """Latents [b, c, l] and video rows [b, l, v] of windows, the event that begins at each latent, and motors [b]."""
    places = list(zip(indices, starts, strict=True))
    latents = np.stack([encoded.latents[index, :, start : start + length] for index, start in places])
    rows = np.stack([encoded.rows[index, start : start + length] for index, start in places])
    events = torch.full((len(indices), length), NOTHING)
    for row, (index, start) in enumerate(places):
        for event in items.events(index):
            place = int(event.seconds * LATENTS_PER_SECOND) - start
            if 0 <= place < length:
                events[row, place] = KINDS.index(event.kind)
    engine = torch.tensor([items.has_engine(index) for index in indices])
    return {
        "x_1": torch.from_numpy(latents).float(),
        "rows": torch.from_numpy(rows).float(),
        "events": events,
        "engine": engine,
    }


def given(rng: np.random.Generator, share: float, count: int, length: int) -> Tensor:
    """Which latents [b, l] are given: for `share` of the windows one run of up to a quarter, as often at the start."""
    mask = torch.zeros(count, length, dtype=torch.bool)
    for row in range(count):
        if rng.random() < share:
            run = int(rng.integers(0, length // 4 + 1))
            first = 0 if rng.random() < 0.5 else int(rng.integers(0, length - run + 1))
            mask[row, first : first + run] = True
    return mask


def sample_latents(audio: AudioDit, conditions: Conditions, steps: int, guidance: float, seed: int = 0) -> Tensor:
    """Latents [b, c, l] by guided Euler steps of equal size."""
    b, c, length = conditions.context.shape
    generator = torch.Generator().manual_seed(seed)
    x_t = torch.randn((b, c, length), generator=generator).to(conditions.context.device)
    nothing = conditions.dropped()

    def predict(x_t: Tensor, t: Tensor) -> Tensor:
        return flow.guide(audio(x_t, t, nothing).float(), audio(x_t, t, conditions).float(), guidance)

    for step in flow.sample(predict, x_t, torch.linspace(0, 1, steps + 1)):
        x_t = step.x_t
    return x_t
