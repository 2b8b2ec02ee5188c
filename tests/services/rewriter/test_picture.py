from pathlib import Path

import pytest

from kino.errors import InvalidArgumentError, from_rpc_error
from kino.registry import Registry
from kino.v1.rewriter_pb2 import RewriteRequest
from kino.v1.rewriter_pb2_grpc import RewriterServiceStub
from services.rewriter.engine import RewriterEngine
from services.rewriter.rules import RULES, rules
from tests.services.conftest import Serve

MODELS = Path(__file__).parents[3] / "models"


@pytest.fixture(scope="module")
def engine() -> RewriterEngine:
    return RewriterEngine("mini", "mini", Registry(MODELS))


@pytest.mark.parametrize(
    ("prompt", "sentence"),
    [
        ("it grows", "it grows"),
        ("The star moves to the right.", "the star moves right"),
        ("a red star is bouncing", "a red star bounces"),
        ("the kitty goes up, zoom in", "the cat rises, the camera zooms in"),
        ("a red star grows on a beach", "a red star grows on a beach"),
        ("a black star grows", "the star grows"),
        ("slowly zoom in", "it stays still, the camera zooms in"),
        ("the dragon grows", "it grows"),
        ("a purpel star grows", "a purple star grows"),
        ("something blue spins in the snow", "a blue thing spins in the snow"),
    ],
)
def test_nothing_is_made_up_of_what_a_picture_shows(engine: RewriterEngine, prompt: str, sentence: str) -> None:
    for seed in range(3):
        assert engine.rewrite(prompt, seed, shown="picture").prompt == sentence


def test_what_a_picture_is_left_is_told(engine: RewriterEngine) -> None:
    told = engine.rewrite("the black dragon grows", 0, shown="picture").account
    assert told.kept == ["grows"]
    assert [(wish.asked, wish.drawn, wish.reason) for wish in told.substitutions] == [
        ("black", "", "no black in mini: left to the picture"),
        ("dragon", "", "no dragon in mini: left to the picture"),
    ]


def test_the_rules_of_a_picture_add_to_the_rules() -> None:
    assert rules("picture").startswith(RULES)
    assert "say only what the wish says" in rules("picture")


async def test_a_prompt_is_of_a_person_or_of_a_picture(serve: Serve) -> None:
    served = await serve("rewriter")
    stub = RewriterServiceStub(served.channel)
    with pytest.raises(Exception, match="picture is True, must be left out") as refused:
        await stub.Rewrite(RewriteRequest(prompt="it grows", person=True, picture=True))
    error = from_rpc_error(refused.value)  # type: ignore[arg-type]
    assert isinstance(error, InvalidArgumentError)
    assert error.field == "picture"
    assert (await stub.Rewrite(RewriteRequest(prompt="it grows", picture=True))).prompt
