import pytest
import torch

from kino.grammar import SMALL
from kino.models.lm import LanguageModel, LmConfig
from kino.models.rewriter import Drafter, parts, prompt_ids
from kino.tokens import BEGIN, END, ByteTokenizer

CONFIG = LmConfig(vocabulary=259, width=32, layers=1, heads=2, kv_heads=2, hidden=48, max_tokens=300)


def drafter(seed: int = 0) -> Drafter:
    torch.manual_seed(seed)
    model = LanguageModel(CONFIG)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return Drafter(model.eval(), ByteTokenizer(), SMALL)


@pytest.mark.parametrize(
    "prompt", ["a red ball spins in the city", "zorp glimmers by moonlight", "", "é 猫 🐱", "x " * 400]
)
@pytest.mark.parametrize("seed", [0, 1])
def test_whatever_the_weights_a_draft_keeps_to_the_limits(prompt: str, seed: int) -> None:
    choices = drafter(seed).draft(prompt, seed)
    assert SMALL.limits(prompt).admit(choices)
    quoted = [word for choice in choices.values() for word in choice.asked.split()]
    assert prompt.startswith("x ") or len(set(quoted)) == len(quoted)
    assert SMALL.parse(SMALL.write({name: choice.value for name, choice in choices.items()})) is not None


def test_what_the_prompt_names_is_taken() -> None:
    choices = drafter().draft("a blue cube moves right in the snow and the camera pans left", 0)
    assert {name: choice.value for name, choice in choices.items()} == {
        "colour": "blue",
        "object": "cube",
        "motion": "moves right",
        "place": "snow",
        "camera": "pans left",
    }


def test_the_same_seed_drafts_the_same() -> None:
    writer = drafter()
    assert writer.draft("something", 7) == writer.draft("something", 7)


def test_a_draft_is_read_slot_by_slot_as_it_grows() -> None:
    assert parts("") == [""]
    assert parts("?red |") == ["?red", ""]
    assert parts("?red | ele") == ["?red", "ele"]


def test_the_prompt_is_cut_to_the_room() -> None:
    assert prompt_ids(ByteTokenizer(), "AB", 16) == [BEGIN, 100, 101, END]
    assert len(prompt_ids(ByteTokenizer(), "x" * 500, 16)) == 16


def test_a_context_without_room_is_refused() -> None:
    small = LmConfig(vocabulary=259, width=32, layers=1, heads=2, kv_heads=2, hidden=48, max_tokens=64)
    with pytest.raises(ValueError, match="max_tokens is 64, must be at least"):
        Drafter(LanguageModel(small), ByteTokenizer(), SMALL)
