"""Sound for a long video through running services: how much of what happens is heard, in what time and memory."""

import tempfile
import time
from pathlib import Path

import numpy as np

from kino.media import VideoWriter
from kino.presets import PRESETS
from kino.shapes import AUDIO_COMPRESSION, audio_samples
from kino.sound import iter_sound
from kino.windows import window_starts
from tests.bench.films import running
from tests.bench.harness import Facts, Section, Timing
from tests.bench.published import peak_bytes
from training.sound_adherence import Clip, score
from training.world.borders import border_decibels
from training.world.render import render
from training.world.scene import Scene

SCENE = Scene("fish", "red", "bounces", "beach", seed=5)
CHUNK = 64


def minutes(preset: str, seconds: int) -> Section:
    """A video of a bouncing fish is given to a running graph; what comes back as MP4 is heard by the judge of sound.

    Notes tell the shares of bounces in time and of the right kind, the samples too many, the distance from the promised
    loudness, the services' peak memory, and how loud the borders of windows are beside everything else, where as many
    random moments have this standard deviation.
    """
    clip = Clip(frames=seconds * Clip.fps)
    with tempfile.TemporaryDirectory() as folder, running(preset) as bench:
        path = Path(folder) / "video.mp4"
        write(path, clip)
        before = peak_bytes(bench.pid)
        begin = time.perf_counter()
        made = bench.runner.run(bench.kino.add_sound(path))
        took = time.perf_counter() - begin
        film = Path(folder) / "film.mp4"
        film.write_bytes(made.data)
        heard = np.concatenate(list(iter_sound(film, channels=1)), axis=1)[0]
        peak = peak_bytes(bench.pid)
    found = score([SCENE], iter([heard[: clip.samples]]), clip)
    starts = window_starts(-(-len(heard) // AUDIO_COMPRESSION), PRESETS[preset].audio.max_latents)
    seams = border_decibels(heard, [start * AUDIO_COMPRESSION for start in starts[1:]])
    rng = np.random.default_rng(0)
    chance = np.std([border_decibels(heard, rng.integers(len(heard), size=len(starts) - 1)) for _ in range(20)])
    notes: Facts = {
        **{name: str(rate) for name, rate in found.tally.rates().items() if name in ("onsets", "kinds")},
        "samples too many": len(heard) - audio_samples(clip.frames, clip.fps),
        "loudness error": f"{found.loudness_error_lu[0]:.3f} LU",
        "peak memory": f"{peak / 2**20:,.0f} MiB, {before / 2**20:,.0f} before",
        "borders of windows": f"{seams:.2f} dB beside the rest, as many others {chance:.2f} (sd)",
    }
    return Section(
        f"Sound for a video of {seconds} s, {preset}",
        [Timing("video to film", 1, took, took, took, took, {})],
        notes=notes,
    )


def write(path: Path, clip: Clip) -> None:
    """Write the scene as a video file, in memory for some of its frames."""
    with VideoWriter(path, clip.fps, clip.size, clip.size, "h264") as writer:
        for start in range(0, clip.frames, CHUNK):
            frames = min(CHUNK, clip.frames - start)
            writer.write(render(SCENE, frames, clip.size, clip.size, clip.fps, start / clip.fps))
