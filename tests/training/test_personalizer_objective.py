from dataclasses import replace
from pathlib import Path

import pytest
import torch

from training.objectives.personalizer import PersonalizerNet, PersonalizerObjective, start_from
from training.people import PeopleSet
from training.personalizer_stages import NANO
from training.recipes import RECIPES
from training.train import train
from training.world.people import identities

RECIPE = RECIPES["personalizer_nano"]
SETTINGS = RECIPE.settings


@pytest.fixture(scope="module")
def objective(tmp_path_factory: pytest.TempPathFactory) -> PersonalizerObjective:
    torch.manual_seed(0)
    made = SETTINGS.build(tmp_path_factory.mktemp("runs"))
    assert isinstance(made, PersonalizerObjective)
    return made


def test_people_are_cached_apart_from_other_scenes() -> None:
    assert NANO.scene(3).object == "person"
    assert NANO.key("space").startswith("people_")
    assert NANO.key("space") != replace(NANO, seed=1).key("space") != replace(NANO, seed=1).key("other")
    assert isinstance(replace(NANO, frames=1), PeopleSet)


def test_references_are_of_the_person_of_the_clip(objective: PersonalizerObjective) -> None:
    settings = replace(objective.settings, cross_share=1.0, still_share=0.0, drop=0.0, text_drop=0.0)
    objective.settings, before = settings, objective.settings
    batch = objective.batch(torch.Generator().manual_seed(2))
    objective.settings = before
    assert batch["known"].all()
    assert batch["tokens"].shape == (4, 2, 8)
    known = [torch.from_numpy(rows) for rows in objective.portraits]
    for tokens, looks in zip(batch["tokens"], batch["looks"].tolist(), strict=True):
        whose = [i for i, rows in enumerate(known) if any(torch.equal(tokens, row) for row in rows)]
        assert whose == [looks[0] * 16 + looks[1] * 4 + looks[2]]
    assert identities()[0] == identities()[0 * 16 + 0 * 4 + 0]


def test_sentences_name_no_looks_and_some_items_lose_all(objective: PersonalizerObjective) -> None:
    prompts, known = [], []
    for seed in range(12):
        batch = objective.batch(torch.Generator().manual_seed(seed))
        prompts += batch["prompts"]
        known += batch["known"].tolist()
        assert all(prompt == "" for prompt, shown in zip(batch["prompts"], batch["known"], strict=True) if not shown)
    assert 0.75 < sum(known) / len(known) < 1.0
    assert not any("skin" in prompt or "hair" in prompt for prompt in prompts)


def test_what_is_not_known_is_not_read(objective: PersonalizerObjective) -> None:
    model = objective.model
    assert isinstance(model, PersonalizerNet)
    torch.nn.init.normal_(model.personalizer.patch_out.weight)
    torch.nn.init.normal_(model.personalizer.modulation.weight, std=0.1)
    tokens, x_t, t = torch.randn(1, 2, 8), torch.randn(1, 16, 1, 4, 4), torch.tensor([0.5])

    def velocity(tokens: torch.Tensor, known: bool) -> torch.Tensor:
        made: torch.Tensor = model.personalizer(x_t, t, objective.texts(["she"], tokens, torch.tensor([known])))
        return made

    with torch.inference_mode():
        assert torch.equal(velocity(tokens, False), velocity(-tokens, False))
        assert not torch.allclose(velocity(tokens, True), velocity(-tokens, True), atol=1e-4)


def test_a_generator_is_taken_over_but_for_what_reads_the_identity(objective: PersonalizerObjective) -> None:
    model = objective.model
    assert isinstance(model, PersonalizerNet)
    own = model.state_dict()
    generator = {
        f"dit.{name.removeprefix('personalizer.')}": torch.full_like(part, 0.5)
        for name, part in own.items()
        if name.startswith("personalizer.") and ".identity." not in name
    }
    fresh = PersonalizerNet(model.personalizer.config)
    kept = {name: part.clone() for name, part in fresh.state_dict().items()}
    start_from(fresh, generator | {"readout.weight": torch.zeros(1)})
    for name, part in fresh.state_dict().items():
        is_new = name.startswith(("readout.", "personalizer.texts_in.identity."))
        assert torch.equal(part, kept[name] if is_new else torch.full_like(part, 0.5)), name
    start_from(fresh, kept)
    assert torch.equal(fresh.readout.weight, kept["readout.weight"])


def test_training_lowers_the_loss(tmp_path: Path, objective: PersonalizerObjective) -> None:
    train(replace(RECIPE, steps=6, log_every=2, validate_every=6, checkpoint_every=6), tmp_path, resume=False)
    lines = (tmp_path / RECIPE.name / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 4
    assert "held_out_face_of_another" in lines[-1]
    assert (tmp_path / RECIPE.name / "sample_000006.png").exists()
