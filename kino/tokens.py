"""Text to token ids and back: UTF-8 bytes as in ByT5, or a byte-level BPE whose file lies beside the weights."""

import re
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import tokenizers

PAD, END, BEGIN = 0, 1, 2
"""The first ids of every tokenizer here. BEGIN opens a prompt; no byte is unknown, so ByT5's third id is free."""

QUOTES = re.compile(r'"([^"]*)"|“([^”]*)”')


@runtime_checkable
class Tokenizer(Protocol):
    """What the models need of a tokenizer."""

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, without special tokens."""

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, special tokens left out."""


class ByteTokenizer:
    """UTF-8 bytes, offset by the three special ids. Source: ByT5, arXiv 2105.13626, section 3.1."""

    offset = 3
    vocabulary = offset + 256

    def encode(self, text: str) -> list[int]:
        """One id per byte."""
        return [byte + self.offset for byte in text.encode()]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the bytes among `ids`; bytes that are no UTF-8 become U+FFFD."""
        held = bytes(i - self.offset for i in ids if self.offset <= i < self.vocabulary)
        return held.decode(errors="replace")


class BpeTokenizer:
    """Byte-level byte-pair encoding: any text has ids, common words have one.

    Args:
        definition: the tokenizer file's JSON text.

    Raises:
        ValueError: the text is no tokenizer definition.
    """

    def __init__(self, definition: str) -> None:
        try:
            self._tokenizer = tokenizers.Tokenizer.from_str(definition)
        except Exception as error:  # the library raises bare Exception
            raise ValueError(f"tokenizer: not a tokenizer definition: {error}") from error

    @property
    def vocabulary(self) -> int:
        """Number of ids."""
        return self._tokenizer.get_vocab_size()

    @property
    def definition(self) -> str:
        """The JSON text this tokenizer was made from."""
        return self._tokenizer.to_str()

    def encode(self, text: str) -> list[int]:
        """The ids of `text`, without special tokens."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`, special tokens left out."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)

    def token(self, name: str) -> int:
        """The id of the special token `name`, such as "<sep>"."""
        found = self._tokenizer.token_to_id(name)
        if found is None:
            raise ValueError(f"tokenizer: holds no token {name!r}")
        return found


def train_bpe(texts: Iterable[str], vocabulary: int, special: Sequence[str], lowercase: bool) -> BpeTokenizer:
    """A byte-level BPE of `vocabulary` ids learned from `texts`.

    Args:
        special: names of the special tokens after "<pad>", "<end>" and "<begin>".
        lowercase: whether every text is read in lower case.
    """
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    if lowercase:
        tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=["<pad>", "<end>", "<begin>", *special],
        initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return BpeTokenizer(tokenizer.to_str())


def quoted(prompt: str) -> str:
    """The quoted parts of `prompt`, one a line; empty where it quotes nothing.

    Source: Movie Gen, arXiv 2410.13720, section 3.1.4: the character-level tower reads only the text to be drawn.
    """
    return "\n".join(straight or curly for straight, curly in QUOTES.findall(prompt) if straight or curly)


def tower_ids(tokenizer: Tokenizer, prompt: str, reads: str, max_tokens: int) -> list[int]:
    """What a tower is fed for `prompt`, cut to `max_tokens`: BEGIN and the prompt, or the quoted text alone.

    Args:
        reads: "prompt", or "quotes", which may give no id at all.
    """
    ids = tokenizer.encode(quoted(prompt)) if reads == "quotes" else [BEGIN, *tokenizer.encode(prompt)]
    return ids[:max_tokens]
