"""World clips that are seen and heard: drawn once, then kept as what the audio generator reads and writes."""

import logging
from dataclasses import dataclass, replace
from functools import cache
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from kino.models.audio import LATENTS_PER_SECOND, at_latent_rate
from kino.models.vision import Vision
from kino.shapes import SAMPLE_RATE
from training.data import Split, digest, open_pool
from training.published import SoundParts
from training.world.events import ENGINE, KINDS, Event, events, intervals
from training.world.music import drawn_mood
from training.world.render import render
from training.world.scene import Mixture, Scene, sample
from training.world.sound import render_sound

logger = logging.getLogger("training")
WORLD = Mixture(two_objects=0.1, style=0.05, person=0.1)
CHUNK = 16
NOTHING = "nothing"
SOUGHT = (*KINDS, ENGINE, NOTHING)
_ATTEMPT_STRIDE = 1_000_000_007


@dataclass(frozen=True)
class Soundtracks:
    """Which clips of the world: a window of each scene, from its beginning or from later on.

    Args:
        size: side of the frames in pixels; what the vision encoder sees.
        begun_share: share of the windows that start with the scene; the others start up to `latest_seconds` later.
        even: as many clips of each kind of event, of motors and of neither; else as the mixture has them.
    """

    split: Split
    count: int
    seconds: int = 4
    fps: int = 16
    size: int = 48
    seed: int = 0
    begun_share: float = 0.5
    latest_seconds: float = 4.0
    mixture: Mixture = WORLD
    even: bool = False

    def scene(self, index: int) -> Scene:
        """Scene of one clip."""
        return _sought(self, index) if self.even else sample(self.seed, index, self.split, self.mixture)

    def start_seconds(self, index: int) -> float:
        """Time of a clip's first frame in its scene."""
        rng = np.random.default_rng((self.seed, index, 25))
        return 0.0 if rng.random() < self.begun_share else float(rng.uniform(0, self.latest_seconds))

    def mood(self, index: int) -> str | None:
        """Mood of a clip's music, None for no music."""
        return drawn_mood(self.scene(index).seed)

    def events(self, index: int) -> list[Event]:
        """What happens in a clip, timed from its first frame."""
        start = self.start_seconds(index)
        found = events(self.scene(index), start + self.seconds)
        return [replace(event, seconds=event.seconds - start) for event in found if event.seconds >= start]

    def has_engine(self, index: int) -> bool:
        """Whether a motor runs throughout the clip."""
        return bool(intervals(self.scene(index), self.seconds))

    @property
    def latents(self) -> int:
        """Latents of a clip."""
        return self.seconds * LATENTS_PER_SECOND


@cache
def _sought(items: Soundtracks, index: int) -> Scene:
    """The first scene, of those that a clip's number leads to, in which the kind is heard whose turn it is."""
    for attempt in count():
        scene = sample(items.seed, index + attempt * _ATTEMPT_STRIDE, items.split, items.mixture)
        heard = {event.kind for event in events(scene, items.seconds)}
        heard |= {interval.kind for interval in intervals(scene, items.seconds)}
        if SOUGHT[index % len(SOUGHT)] in (heard or {NOTHING}):
            return scene
    raise AssertionError("an endless loop ended")


@dataclass(frozen=True)
class Side:
    """What is heard or seen of a set's clips."""

    of: Soundtracks

    @property
    def count(self) -> int:
        """Number of clips."""
        return self.of.count


class Heard(Side):
    """The sounds of a set, as a pool."""

    @property
    def key(self) -> str:
        """File name stem that differs whenever the set does."""
        return f"heard_{digest(self.of)}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples of one sound."""
        return (self.of.seconds * SAMPLE_RATE,)

    def item(self, index: int) -> NDArray[np.int16]:
        """One sound as 16 bit samples at 48 kHz."""
        scene, of = self.of.scene(index), self.of
        sound = render_sound(scene, of.seconds, 1, of.start_seconds(index), of.mood(index))
        return np.asarray((sound * 32767).round(), dtype=np.int16)


class Seen(Side):
    """The frames of a set, as a pool."""

    @property
    def key(self) -> str:
        """File name stem that differs whenever the set does."""
        return f"seen_{digest(self.of)}"

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent of one clip: frames, height, width, RGB."""
        return self.of.seconds * self.of.fps, self.of.size, self.of.size, 3

    def item(self, index: int) -> NDArray[np.uint8]:
        """Pixels of one clip."""
        of = self.of
        start = of.start_seconds(index)
        return render(of.scene(index), of.seconds * of.fps, of.size, of.size, of.fps, start)


class Encoded(NamedTuple):
    """A set as the audio generator has it: latents [n, c, l] and the video's rows at their rate [n, l, v], float16."""

    latents: NDArray[np.float16]
    rows: NDArray[np.float16]


def open_soundtracks(items: Soundtracks, parts: SoundParts, cache: Path) -> Encoded:
    """The set, encoded on first use."""
    spaces = parts.digests["codec"] + parts.digests["vision"]
    name = f"tracks_{digest(items)}_{sha256(spaces.encode()).hexdigest()[:10]}.npz"
    path = cache / name
    if not path.exists():
        sounds, clips = open_pool(Heard(items), cache), open_pool(Seen(items), cache)
        chunks = [encode(items, parts, sounds, clips, start) for start in range(0, items.count, CHUNK)]
        partial = path.with_suffix(".partial.npz")
        latents, rows = (np.concatenate(column) for column in zip(*chunks, strict=True))
        np.savez(partial, latents=latents, rows=rows)
        partial.replace(path)
        logger.info("encoded %d soundtracks", items.count)
    with np.load(path) as kept:
        return Encoded(kept["latents"], kept["rows"])


@torch.inference_mode()
def encode(
    items: Soundtracks, parts: SoundParts, sounds: NDArray[np.int16], clips: NDArray[np.uint8], start: int
) -> Encoded:
    """A chunk of the set from `start` on."""
    heard = torch.from_numpy(sounds[start : start + CHUNK].astype(np.float32)) / 32767
    device = parts.codec.latent_mean.device
    with torch.autocast(device.type, torch.bfloat16):
        latents = parts.codec.encode(heard.to(device)).float()
        rows = torch.stack([see(parts.vision, clip, items.fps, items.latents) for clip in clips[start : start + CHUNK]])
    return Encoded(latents.half().cpu().numpy(), rows.half().cpu().numpy())


def see(vision: Vision, clip: NDArray[np.uint8], fps: float, latents: int) -> torch.Tensor:
    """Rows [l, v] of a clip's frames uint8 [t h w 3], at the rate of the latents."""
    device = vision.out.weight.device
    frames = torch.from_numpy(clip).to(device).permute(0, 3, 1, 2).float() / 127.5 - 1
    return at_latent_rate(vision(frames).float(), fps, latents)
