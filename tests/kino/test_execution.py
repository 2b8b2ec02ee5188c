import pytest

from kino.execution import Execution


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"weights": "int4"}, "--weights is 'int4', must be one of int8, float8"),
        ({"offload": "disk"}, "--offload is 'disk', must be one of networks, layers"),
        ({"cache": -0.1}, "--cache is -0.1, must be from 0 to 1"),
        ({"cache": float("nan")}, "--cache is nan, must be from 0 to 1"),
        ({"batch": 0}, "--batch is 0, must be from 1 to 64"),
        ({"batch": 65}, "--batch is 65, must be from 1 to 64"),
        ({"batch": 2, "cache": 0.1}, "--batch is 2, must be 1 with a cache"),
    ],
)
def test_what_there_is_not_is_refused(given: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Execution(**given)  # type: ignore[arg-type]


def test_approximations_are_what_changes_numbers() -> None:
    assert Execution(offload="layers").approximations == ()
    whole = Execution("int8", "layers", compiled=True, cache=0.1)
    assert whole.approximations == ("weights in int8", "compiled", "cache 0.1")
    assert whole.of_texts == Execution("int8", "layers")
    assert Execution(batch=2).approximations == Execution(batch=4).approximations == ("batches",)
    assert Execution(batch=2).of_texts == Execution(batch=1) == Execution()


def test_models_of_our_own_take_batches_alone() -> None:
    Execution().check_own()
    Execution(batch=4).check_own()
    with pytest.raises(ValueError, match="execution is compiled, must be left out"):
        Execution(compiled=True, batch=4).check_own()
    with pytest.raises(ValueError, match="execution is offload layers, must be left out"):
        Execution(offload="layers").check_own()
