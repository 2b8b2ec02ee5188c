"""How often the sound of a clip fits what is seen: python -m training.sound_adherence --of made|codec|true|silence.

The judge of `training.world.hearing`, which has no learned parts, listens to held-out clips (combinations never
trained on, balanced): to the true sound, to what the codec leaves of it (the ceiling), to what the published generator
makes for the clip's frames, and to two beats: silence, and what was made for another clip.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from kino.loudness import CEILING_DBTP, TARGET_LUFS, loudness, normalise
from kino.models.audio import LATENTS_PER_SECOND, AudioDit, Conditions
from kino.presets import PRESETS
from kino.registry import Registry
from kino.shapes import audio_samples
from kino.sound_prompts import sound_prompt
from training import checkpoint
from training.objectives.audio import sample_latents
from training.published import MODELS, SoundParts, open_audio
from training.soundtracks import see
from training.world.captions import canonical
from training.world.events import events, intervals
from training.world.hearing import hear
from training.world.hearing_tally import Tally
from training.world.render import render
from training.world.scene import Scene, sample
from training.world.sound import render_sound
from training.world.sound_captions import sound_caption

BATCH = 20
Sound = NDArray[np.floating]
Told = Literal["nothing", "seen", "heard"]


@dataclass(frozen=True)
class Clip:
    """Extent of every clip; one that `mini` is trained on."""

    frames: int = 64
    size: int = 96
    fps: int = 16

    @property
    def seconds(self) -> float:
        """Length."""
        return self.frames / self.fps

    @property
    def samples(self) -> int:
        """Samples of its sound."""
        return audio_samples(self.frames, self.fps)


@dataclass(frozen=True)
class Maker:
    """Makes sound for clips.

    Args:
        told: what the prompt says: nothing (there is none), what is seen (as in a film), or what is heard.
    """

    audio: AudioDit
    parts: SoundParts
    told: Told
    steps: int
    guidance: float
    seed: int = 0

    @torch.inference_mode()
    def sounds(self, scenes: list[Scene], clip: Clip) -> Iterator[Sound]:
        """The sound of each scene, its loudness brought to the target as a service does."""
        length = -(-clip.frames * LATENTS_PER_SECOND // clip.fps)
        for start in range(0, len(scenes), BATCH):
            conditions = self._conditions(scenes[start : start + BATCH], clip, length)
            latents = sample_latents(self.audio, conditions, self.steps, self.guidance, self.seed + start)
            for sound in self.parts.codec.decode(latents, clip.samples).numpy():
                yield normalise(sound, TARGET_LUFS, CEILING_DBTP)

    def _conditions(self, scenes: list[Scene], clip: Clip, length: int) -> Conditions:
        frames = [render(scene, clip.frames, clip.size, clip.size, clip.fps) for scene in scenes]
        rows = torch.stack([see(self.parts.vision, pixels, clip.fps, length) for pixels in frames])
        text, mask = self.parts.read([self._prompt(scene, clip) for scene in scenes])
        if self.told == "nothing":
            mask = torch.zeros_like(mask)
        context = torch.zeros(len(scenes), self.audio.config.latent_channels, length)
        return Conditions(rows, text, mask, context, torch.zeros(len(scenes), length, dtype=torch.bool))

    def _prompt(self, scene: Scene, clip: Clip) -> str:
        return sound_caption(scene, clip.seconds) if self.told == "heard" else sound_prompt(canonical(scene))


@dataclass
class Score:
    """What was heard, and how far loudness and length are from what was promised."""

    tally: Tally = field(default_factory=Tally)
    loudness_error_lu: list[float] = field(default_factory=list)
    length_error_samples: list[int] = field(default_factory=list)

    def add(self, scene: Scene, sound: Sound, clip: Clip) -> None:
        """Count one clip."""
        hearing = hear(sound)
        truth = [(event.seconds, event.kind, event.material) for event in events(scene, clip.seconds)]
        truth += [(lasting.start_seconds, lasting.kind, "") for lasting in intervals(scene, clip.seconds)]
        found = [(event.seconds, event.kind, event.material) for event in hearing.events]
        self.tally.add(truth, found, clip.seconds, scene.place == hearing.place)
        self.length_error_samples.append(len(sound) - clip.samples)
        if np.any(sound):
            self.loudness_error_lu.append(loudness(sound) - TARGET_LUFS)

    def as_dict(self) -> dict[str, object]:
        """Everything counted, ready for JSON."""
        return self.tally.as_dict() | {
            "largest_loudness_error_lu": max(map(abs, self.loudness_error_lu), default=0.0),
            "largest_length_error_samples": max(map(abs, self.length_error_samples), default=0),
        }

    def __str__(self) -> str:
        """The tally, and a line for each of the two errors."""
        figures = self.as_dict()
        return "\n".join(
            [
                str(self.tally),
                f"loudness     within {figures['largest_loudness_error_lu']:.3f} LU of {TARGET_LUFS} LUFS",
                f"length       within {figures['largest_length_error_samples']} samples",
            ]
        )


@torch.inference_mode()
def coded(scenes: list[Scene], clip: Clip, parts: SoundParts) -> Iterator[Sound]:
    """True sounds through the codec and back."""
    for scene in scenes:
        sound = torch.from_numpy(render_sound(scene, clip.frames, clip.fps))[None]
        yield parts.codec.decode(parts.codec.encode(sound), clip.samples)[0].numpy()


def score(scenes: list[Scene], sounds: Iterator[Sound], clip: Clip) -> Score:
    """What the judge hears, counted against what happens in the scenes."""
    found = Score()
    for scene, sound in zip(scenes, sounds, strict=True):
        found.add(scene, sound, clip)
    return found


def audio_of_run(run: Path) -> AudioDit:
    """The generator of a run that is not published, with its averaged weights."""
    audio = AudioDit(PRESETS["mini"].audio)
    state = checkpoint.load(run)["average"]
    audio.load_state_dict({n.removeprefix("audio."): part for n, part in state.items() if n.startswith("audio.")})
    return audio.eval()


def main() -> None:
    """Command line of the measurement."""
    parser = argparse.ArgumentParser(description="Measure how often the sound of clips fits what is seen.")
    add = parser.add_argument
    add("--of", choices=("made", "codec", "true", "silence", "other"), default="made")
    add("--count", type=int, default=200)
    add("--told", choices=("nothing", "seen", "heard"), default="seen", help="what the prompt says (%(default)s)")
    add("--run", type=Path, help="folder of an audio run; default: the published generator")
    add("--steps", type=int, default=24)
    add("--guidance", type=float, default=3.0)
    add("--seed", type=int, default=0, help="of the noise (%(default)s)")
    add("--scenes", type=int, default=0, help="seed of the held-out scenes; settings are tuned on others")
    add("--threads", type=int, default=torch.get_num_threads())
    add("--out", type=Path, help="write the table as JSON")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    clip, registry = Clip(), Registry(MODELS)
    scenes = [sample(given.scenes, index, "held_out") for index in range(given.count)]
    if given.of == "true":
        sounds: Iterator[Sound] = (render_sound(scene, clip.frames, clip.fps) for scene in scenes)
    elif given.of == "silence":
        sounds = (np.zeros(clip.samples, np.float32) for _ in scenes)
    elif given.of == "codec":
        sounds = coded(scenes, clip, SoundParts("mini", registry))
    else:
        audio = audio_of_run(given.run) if given.run else open_audio("mini", registry)
        maker = Maker(audio, SoundParts("mini", registry), given.told, given.steps, given.guidance, given.seed)
        shown = scenes[1:] + scenes[:1] if given.of == "other" else scenes
        sounds = maker.sounds(shown, clip)
    found = score(scenes, sounds, clip)
    print(found)
    if given.out:
        given.out.write_text(json.dumps(found.as_dict(), indent=2) + "\n")


if __name__ == "__main__":
    main()
