from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from kino.models.audio import at_latent_rate
from kino.registry import Registry
from training.published import MODELS, SoundParts
from training.soundtracks import SOUGHT, WORLD, Heard, Seen, Soundtracks, open_soundtracks
from training.world.events import events, intervals
from training.world.render import render
from training.world.sound import render_sound

ITEMS = Soundtracks("train", 6, seconds=2, size=16)


def test_a_clip_is_heard_from_when_it_is_seen() -> None:
    starts = [ITEMS.start_seconds(index) for index in range(6)]
    later = next(index for index, start in enumerate(starts) if start > 0)
    scene, start = ITEMS.scene(later), starts[later]
    assert np.array_equal(Seen(ITEMS).item(later), render(scene, 32, 16, 16, 16, start))
    heard = Heard(ITEMS).item(later) / 32767
    assert np.allclose(heard, render_sound(scene, 2, 1, start, ITEMS.mood(later)), atol=1 / 32767)


def test_about_half_of_the_clips_begin_with_their_scene() -> None:
    many = replace(ITEMS, count=400)
    starts = np.array([many.start_seconds(index) for index in range(400)])
    assert 0.4 < np.mean(starts == 0) < 0.6
    assert starts.max() <= 4


def test_every_kind_of_event_has_its_turn_in_an_even_set() -> None:
    even = replace(ITEMS, count=16, seconds=4, mixture=WORLD, even=True)
    for index in range(16):
        scene = even.scene(index)
        assert scene == even.scene(index)
        kinds = {event.kind for event in events(scene, 4)} | {part.kind for part in intervals(scene, 4)}
        assert SOUGHT[index % 8] in (kinds or {"nothing"})
    assert SOUGHT == ("bounce", "splash", "thud", "bell", "whoosh", "step", "engine", "nothing")
    assert even.scene(0) != even.scene(8)


def test_events_are_timed_from_the_first_frame() -> None:
    many = replace(ITEMS, count=80, mixture=WORLD)
    for index in range(80):
        start = many.start_seconds(index)
        every = [event.seconds for event in events(many.scene(index), start + 2) if event.seconds >= start]
        found = [event.seconds for event in many.events(index)]
        assert np.allclose(found, np.array(every) - start)
        assert all(0 <= seconds < 2 for seconds in found)


def test_a_set_is_encoded_once_as_its_parts_encode_it(tmp_path: Path) -> None:
    parts = SoundParts("nano", Registry(MODELS))
    first = open_soundtracks(ITEMS, parts, tmp_path)
    assert first.latents.shape == (6, 8, 50)
    assert first.rows.shape == (6, 50, 16)
    with torch.inference_mode():
        sound = torch.from_numpy(Heard(ITEMS).item(1).astype(np.float32))[None] / 32767
        frames = torch.from_numpy(Seen(ITEMS).item(1)).permute(0, 3, 1, 2).float() / 127.5 - 1
        latents, rows = parts.codec.encode(sound)[0], at_latent_rate(parts.vision(frames), 16, 50)
    assert np.abs(first.latents[1] - latents.numpy()).max() < 0.1  # the set is encoded in bfloat16
    assert np.abs(first.rows[1] - rows.numpy()).max() < 0.1
    (tmp_path / f"{Heard(ITEMS).key}.npy").unlink()
    again = open_soundtracks(ITEMS, parts, tmp_path)
    assert np.array_equal(first.latents, again.latents)
