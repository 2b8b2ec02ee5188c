import pytest

from kino.tokens import BEGIN, END, PAD, BpeTokenizer, ByteTokenizer, quoted, tower_ids, train_bpe

TEXTS = ["a red ball bounces in a meadow", "a blue cat spins in the snow"] * 20


@pytest.fixture(scope="module")
def bpe() -> BpeTokenizer:
    return train_bpe(TEXTS, 400, ("<span0>", "<span1>"), lowercase=True)


def test_bytes_are_utf8_plus_three() -> None:
    assert ByteTokenizer().encode("aé") == [100, 198, 172]
    assert ByteTokenizer().decode([100, 198, 172]) == "aé"
    assert ByteTokenizer.vocabulary == 259


def test_bytes_leave_special_ids_out_and_mend_broken_text() -> None:
    assert ByteTokenizer().decode([PAD, BEGIN, 100, END, 300]) == "a"
    assert ByteTokenizer().decode([198]) == "�"


@pytest.mark.parametrize("text", ["a red ball", "zeppelin 42!", "naïve 猫 🐱", ""])
def test_any_text_survives_the_byte_pairs(bpe: BpeTokenizer, text: str) -> None:
    assert bpe.decode(bpe.encode(text)).strip() == text


def test_common_words_are_one_id_and_case_is_no_matter(bpe: BpeTokenizer) -> None:
    assert len(bpe.encode("meadow")) == 1
    assert bpe.encode("A RED Ball") == bpe.encode("a red ball")


def test_special_tokens_come_first_and_never_out_of_text(bpe: BpeTokenizer) -> None:
    assert [bpe.token(name) for name in ("<pad>", "<end>", "<begin>", "<span0>", "<span1>")] == [PAD, END, BEGIN, 3, 4]
    assert 5 not in bpe.encode("plain words")
    with pytest.raises(ValueError, match="<span2>"):
        bpe.token("<span2>")


def test_a_definition_makes_the_same_tokenizer_again(bpe: BpeTokenizer) -> None:
    again = BpeTokenizer(bpe.definition)
    assert again.encode("a blue ball spins") == bpe.encode("a blue ball spins")
    assert again.vocabulary == bpe.vocabulary <= 400


def test_a_broken_definition_is_refused() -> None:
    with pytest.raises(ValueError, match="not a tokenizer definition"):
        BpeTokenizer('{"version": ')


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ('a sign says "OPEN"', "OPEN"),
        ('"GO" and “STOP”', "GO\nSTOP"),
        ("no quotes, it's plain", ""),
        ('an empty "" and an open "one', ""),
    ],
)
def test_quoted_text_alone_is_kept(prompt: str, text: str) -> None:
    assert quoted(prompt) == text


def test_towers_read_the_prompt_after_begin_or_the_quotes_alone() -> None:
    tokenizer = ByteTokenizer()
    assert tower_ids(tokenizer, "ab", "prompt", 8) == [BEGIN, 100, 101]
    assert tower_ids(tokenizer, "abcdef", "prompt", 4) == [BEGIN, 100, 101, 102]
    assert tower_ids(tokenizer, "", "prompt", 8) == [BEGIN]
    assert tower_ids(tokenizer, 'a "b"', "quotes", 8) == [101]
    assert tower_ids(tokenizer, "ab", "quotes", 8) == []
