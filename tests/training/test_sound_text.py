from pathlib import Path

import numpy as np
import torch

from kino.presets import PRESETS
from training.objectives.sound_text import SoundText, SoundTextSettings, drawn_prompt, drawn_prompts
from training.world.scene import sample


def test_prompts_tell_what_is_heard_or_what_is_seen() -> None:
    prompts = drawn_prompts("train", 200, np.random.default_rng(0))
    assert all(prompt.startswith("This audio has quality: ") for prompt in prompts)
    with_music = [prompt for prompt in prompts if "music with a 1.00 likelihood" in prompt]
    assert 0.2 < len(with_music) / 200 < 0.4
    assert all("quality: 8.0" in prompt for prompt in with_music)
    scene = sample(0, 3, "train")
    wordings = {drawn_prompt(scene, np.random.default_rng(seed), None) for seed in range(40)}
    seen = [text for text in wordings if scene.colour in text]  # no sound has a colour
    assert 0 < len(seen) < len(wordings)


def test_the_tower_learns_to_restore_what_is_hidden(tmp_path: Path) -> None:
    objective = SoundText(SoundTextSettings("mini", batch=4), tmp_path)
    config = PRESETS["mini"].t5
    assert config is not None
    batch = objective.batch(torch.Generator().manual_seed(0))
    ids, mask = batch["source"]
    assert ids.shape[1] <= config.max_tokens + 1
    hidden = batch["target"][1].sum(1)
    assert (hidden < 0.4 * mask.sum(1)).all()
    optimiser = torch.optim.AdamW(objective.model.parameters(), lr=5e-3)
    losses = []
    for _ in range(16):
        loss = objective.loss(batch, torch.Generator())["loss"]
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]
