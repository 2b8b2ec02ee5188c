from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from training.objectives.audio import NOTHING, AudioObjective, clips_by_kind, given, windows
from training.recipes import RECIPES
from training.soundtracks import Encoded, Soundtracks
from training.train import train
from training.world.events import KINDS

RECIPE = replace(RECIPES["audio_nano"], steps=3, log_every=1, validate_every=3, checkpoint_every=3)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def objective(runs: Path) -> AudioObjective:
    made = RECIPE.settings.build(runs)
    assert isinstance(made, AudioObjective)
    return made


def test_windows_hold_the_events_where_they_begin(objective: AudioObjective) -> None:
    items = objective.settings.tracks
    steps = np.arange(items.count * items.latents).reshape(items.count, items.latents)
    encoded = Encoded(steps[:, None].astype(np.float16), steps[..., None].astype(np.float16))
    index = next(index for index in range(items.count) if items.events(index))
    event = items.events(index)[-1]
    place = int(event.seconds * 25)
    start = max(0, min(place - 2, items.latents - 10))
    window = windows(encoded, items, [index], [start], 10)
    assert window["x_1"][0, 0].tolist() == steps[index, start : start + 10].tolist()
    assert window["rows"][0, :, 0].tolist() == steps[index, start : start + 10].tolist()
    assert window["events"][0, place - start] == KINDS.index(event.kind)
    inside = {int(e.seconds * 25) for e in items.events(index)} & set(range(start, start + 10))
    assert (window["events"][0] < NOTHING).sum() == len(inside)


def test_every_kind_of_event_has_its_clips() -> None:
    items = Soundtracks("train", 120, seconds=2, size=16)
    kinds = clips_by_kind(items)
    assert sorted({index for among in kinds for index in among}) == list(range(120))
    told = [{event.kind for index in among for event in items.events(index)} for among in kinds]
    assert [kind for kind in told if len(kind) > 1] == []
    silent = [among for among, kind in zip(kinds, told, strict=True) if not kind]
    assert [all(items.has_engine(i) for i in among) for among in silent] == [True, False]


def test_at_most_a_quarter_is_given_in_one_run() -> None:
    mask = given(np.random.default_rng(0), 0.5, 400, 40)
    counts = mask.sum(1)
    assert counts.max() == 10
    assert 0.35 < (counts > 0).float().mean() < 0.55
    runs_begun = (mask[:, 1:] & ~mask[:, :-1]).sum(1) + mask[:, 0]
    assert runs_begun.max() == 1
    assert given(np.random.default_rng(0), 0.0, 4, 40).sum() == 0


def test_dropped_conditions_reach_the_network_as_nothing(objective: AudioObjective) -> None:
    everything = replace(objective.settings, drop_all=1.0)
    batch = AudioObjective.batch(_with(objective, everything), torch.Generator().manual_seed(0))
    assert batch["without_text"].all()
    assert batch["without_video"].all()
    assert not batch["given"].any()
    nothing = objective._conditions(batch, torch.device("cpu"))
    assert not nothing.video.any()
    assert not nothing.text_mask.any()
    assert not nothing.context.any()


def test_what_is_given_counts_for_nothing_in_the_loss(objective: AudioObjective) -> None:
    """At its start the network predicts zero, so the velocity loss is the mean of the target's squares elsewhere."""
    settings = replace(objective.settings, given_share=1.0, drop_all=0.0, event_weight=0.0)
    batch = AudioObjective.batch(_with(objective, settings), torch.Generator().manual_seed(3))
    assert batch["given"].any()
    generator = torch.Generator().manual_seed(1)
    terms = AudioObjective.loss(_with(objective, settings), batch, generator)
    generator = torch.Generator().manual_seed(1)
    torch.randn(len(batch["x_1"]), generator=generator)
    x_0 = torch.randn(batch["x_1"].shape, generator=generator)
    squares = ((batch["x_1"] - (1 - 1e-5) * x_0) ** 2).mean(1)[~batch["given"]]
    assert terms["velocity"].item() == pytest.approx(squares.mean().item(), rel=1e-5)


def test_training_lowers_the_velocity_error(runs: Path) -> None:
    run = train(replace(RECIPE, steps=40, validate_every=40), runs, resume=False)
    objective = run.objective
    assert isinstance(objective, AudioObjective)
    with torch.inference_mode():
        before = objective.validate(AudioObjective(objective.settings, runs).model)["held_out_velocity"]
        after = objective.validate(run.average.eval())["held_out_velocity"]
    assert after < 0.95 * before
    assert (runs / RECIPE.name / "sample_000040.png").stat().st_size > 1000


def _with(objective: AudioObjective, settings: object) -> AudioObjective:
    """The same objective under other settings."""
    changed = object.__new__(AudioObjective)
    changed.__dict__ = objective.__dict__ | {"settings": settings}
    return changed
