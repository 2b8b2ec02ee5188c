import numpy as np
import pytest
import torch

from kino.loudness import TARGET_LUFS, loudness
from kino.models.audio import AudioDit
from kino.presets import PRESETS
from kino.registry import Registry
from training.published import MODELS, SoundParts
from training.sound_adherence import Clip, Maker, Score, coded, score
from training.world.scene import sample
from training.world.sound import render_sound

CLIP = Clip(frames=33, size=64, fps=16)
SCENES = [sample(0, index, "held_out") for index in range(3)]


@pytest.fixture(scope="module")
def parts() -> SoundParts:
    return SoundParts("nano", Registry(MODELS))


@pytest.mark.parametrize("told", ["nothing", "seen", "heard"])
def test_a_sound_is_made_for_each_scene_at_the_length_and_loudness_promised(parts: SoundParts, told: str) -> None:
    torch.manual_seed(0)
    maker = Maker(AudioDit(PRESETS["nano"].audio).eval(), parts, told, steps=2, guidance=3.0)  # type: ignore[arg-type]
    sounds = list(maker.sounds(SCENES, CLIP))
    assert [len(sound) for sound in sounds] == [99_000] * 3
    assert [loudness(sound) for sound in sounds] == pytest.approx([TARGET_LUFS] * 3, abs=0.1)


def test_what_the_codec_leaves_is_as_long_as_the_sound(parts: SoundParts) -> None:
    assert [sound.shape for sound in coded(SCENES, CLIP, parts)] == [(99_000,)] * 3


def test_true_sound_scores_full_and_silence_nothing() -> None:
    clip = Clip()
    scene = next(s for s in (sample(0, i, "held_out") for i in range(80)) if s.motion == "bounces")
    true = score([scene], iter([render_sound(scene, clip.frames, clip.fps)]), clip)
    assert true.tally.rates()["onsets"].value == 1.0
    assert true.tally.rates()["kinds"].value == 1.0
    assert true.as_dict()["largest_loudness_error_lu"] < 0.1  # type: ignore[operator]
    silence = score([scene], iter([np.zeros(clip.samples, np.float32)]), clip)
    assert silence.tally.rates()["onsets"].value == 0.0
    assert silence.loudness_error_lu == []


def test_a_length_that_is_off_is_told_in_samples() -> None:
    clip, found = Clip(), Score()
    found.add(SCENES[0], np.zeros(clip.samples - 7, np.float32), clip)
    assert found.as_dict()["largest_length_error_samples"] == 7
    assert "within 7 samples" in str(found)
