"""The sound of a scene: its events when they are seen, the place around them, and music where it is asked for."""

import numpy as np
from numpy.typing import NDArray

from kino.loudness import CEILING_DBTP, TARGET_LUFS, normalise
from kino.shapes import SAMPLE_RATE, audio_samples
from training.world.ambience import ambience
from training.world.events import events, intervals
from training.world.music import music
from training.world.scene import Scene
from training.world.sound_events import engine, sound_of
from training.world.synthesis import Signal, add, samples

AMBIENCE = 0.06
"""Level of a place next to a bounce: 24 dB below it."""
ENGINE = 0.35
MUSIC = 0.12


def render_sound(
    scene: Scene, frames: int, fps: int, start_seconds: float = 0.0, mood: str | None = None
) -> NDArray[np.float32]:
    """The sound of the clip that `render` draws, float32 [n] at 48 kHz from -1 to 1, n = audio_samples(frames, fps).

    It is normalised as a whole to `TARGET_LUFS` (integrated, BS.1770-4), its true peak at most `CEILING_DBTP`. Up to
    that one gain, a clip equals the same span of a longer one.

    Args:
        mood: of the music, one of music.MOODS; none for no music.

    Raises:
        ValueError: frames or fps below 1, a negative start, or an unknown mood.
    """
    if not start_seconds >= 0:
        raise ValueError(f"start_seconds is {start_seconds}; must be at least 0")
    count, start = audio_samples(frames, fps), samples(start_seconds)
    return normalise(mix(scene, start + count, mood)[start:], TARGET_LUFS, CEILING_DBTP)


def mix(scene: Scene, count: int, mood: str | None = None) -> Signal:
    """The first `count` samples of a scene before they are normalised: a bounce is as loud as 1, the place far below.

    Raises:
        ValueError: the mood is unknown.
    """
    track = AMBIENCE * ambience(scene.place, count, scene.seed)
    if mood is not None:
        track += MUSIC * music(mood, count, scene.seed)
    for index, event in enumerate(events(scene, count / SAMPLE_RATE)):
        add(track, sound_of(event, np.random.default_rng([scene.seed, 5, index])), event.seconds)
    for _ in intervals(scene, count / SAMPLE_RATE):
        track += ENGINE * engine(scene.object, count, np.random.default_rng([scene.seed, 6]))
    return track
