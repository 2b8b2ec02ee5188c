import math

import pytest

from kino import validate
from kino.errors import InvalidArgumentError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a red ball", "a red ball"),
        ("  a\tred\r\n ball ", "a red ball"),
        ("7", "7"),
        ("雪の中の猫", "雪の中の猫"),
        ("कुत्ता दौड़ता है", "कुत्ता दौड़ता है"),
        ("👍 go", "👍 go"),
        ("family 👨‍👩‍👧 walks", "family 👨‍👩‍👧 walks"),
    ],
)
def test_a_prompt_comes_back_with_even_white_space(text: str, expected: str) -> None:
    assert validate.prompt(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "prompt is '', must be words: at least one letter or digit"),
        (" \n\t ", r"prompt is ' \n\t ', must be words: at least one letter or digit"),
        ("🐘🎉❤️", "must be words: at least one letter or digit"),
        ("?!...", "prompt is '?!...', must be words: at least one letter or digit"),
        ("a\x00b", r"prompt is 'a\x00b', must be free of control characters such as U+0000"),
        ("a\x1b[31mred", "must be free of control characters such as U+001B"),
        ("a\x85b", "must be free of control characters such as U+0085"),
        ("a\ud800b", "must be free of control characters such as U+D800"),
        ("a" * 100_000, "prompt has 100000 bytes, must have at most 4096 bytes of UTF-8"),
        ("é" * 2049, "prompt has 4098 bytes, must have at most 4096 bytes of UTF-8"),
    ],
)
def test_a_prompt_that_says_nothing_or_too_much_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        validate.prompt(text)
    assert message in str(caught.value)
    assert caught.value.field == "prompt"


def test_a_prompt_of_the_greatest_length_is_fine() -> None:
    assert validate.prompt("é" * 2048) == "é" * 2048


def test_a_negative_prompt_may_be_blank() -> None:
    assert validate.prompt("  ", "negative_prompt", blank=True) == ""
    with pytest.raises(InvalidArgumentError, match="negative_prompt"):
        validate.prompt("🐘", "negative_prompt", blank=True)


@pytest.mark.parametrize("value", [1, 50, 1000])
def test_whole_numbers_within_bounds(value: int) -> None:
    assert validate.whole(value, "steps", 1, 1000) == value


@pytest.mark.parametrize("value", [0, -1, 1001])
def test_whole_numbers_out_of_bounds(value: int) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        validate.whole(value, "steps", 1, 1000)
    assert str(caught.value) == f"steps is {value}, must be from 1 to 1000"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.5, 20.5, -3])
def test_real_numbers_out_of_bounds(value: float) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        validate.real(value, "guidance", 1, 20)
    assert str(caught.value) == f"guidance is {value}, must be from 1 to 20"


def test_real_numbers_within_bounds() -> None:
    assert [validate.real(value, "guidance", 1, 20) for value in (1, 7.5, 20)] == [1, 7.5, 20]


def test_seeds() -> None:
    assert validate.seed(0) == 0
    assert validate.seed(2**63 - 1) == 2**63 - 1
    with pytest.raises(InvalidArgumentError, match="seed is -1, must be from 0 to 9223372036854775807"):
        validate.seed(-1)


def test_names() -> None:
    assert validate.one_of("16:9", "aspect", ("1:1", "16:9")) == "16:9"
    with pytest.raises(InvalidArgumentError, match="aspect is '5:4', must be one of 1:1, 16:9"):
        validate.one_of("5:4", "aspect", ("1:1", "16:9"))
