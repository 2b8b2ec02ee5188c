"""The sentences that a generator was trained on, as data: their slots, and the words by which people name each value.

A rewriter's draft is one line, the values in the order of the slots, such as

    ?red | elephant>cat | moves left | snow | still

`?` marks a value that the prompt left open, `asked>` a phrase of the prompt that has no value of its own. `Grammar`
writes drafts out as sentences, reads sentences back, finds in a prompt what the sentences can say, and limits what a
language model may put into a draft.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import regex

BETWEEN = " | "
OPEN = "?"
INSTEAD = ">"
MAX_ASKED = 24
"""Longest phrase that a draft may quote as asked for, in characters."""
MAX_RUN = 3
"""Most unknown words that it may quote together."""

_WORD = regex.compile(r"[\p{L}\p{N}]+(?:['\u2019-][\p{L}\p{N}]+)*|\p{So}")


@dataclass(frozen=True)
class Slot:
    """One fact of a sentence.

    Args:
        name: "colour", "object", ...
        pieces: value to its piece of the sentence, leading space or comma included; "" where it goes unsaid.
        phrases: what people type, in lower case, to the values it may mean.
        instead: how a person is told of the value that was taken, "{}" standing for it.
        stand_ins: what people type and no value means, to the value that is nearest.
        default: the value where the prompt asks for none; "" to leave the choice open.
    """

    name: str
    pieces: Mapping[str, str]
    phrases: Mapping[str, Sequence[str]]
    instead: str
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    default: str = ""


@dataclass(frozen=True)
class Mention:
    """A phrase of a prompt: words `start` to `stop`; slot and values are empty where the grammar does not know it.

    Args:
        means: whether the phrase means the values; else the one value only stands in for it.
    """

    start: int
    stop: int
    phrase: str
    slot: str = ""
    values: tuple[str, ...] = ()
    means: bool = True


@dataclass(frozen=True)
class Choice:
    """One slot of a draft: the value, whether the prompt left it open, and the phrase that it stands in for."""

    value: str
    is_open: bool = False
    asked: str = ""


@dataclass(frozen=True)
class Limits:
    """What a draft may hold: what the prompt names; else what stands in for it; else any value, or the default.

    Args:
        named: slot to the values that the prompt names.
        stand_ins: slot to (phrase, value) of what the prompt asks for and only has a stand-in.
        defaults: slot to its default, where it has one.
        askable: runs of one to three unknown words, which a slot without any of these may quote.
    """

    named: Mapping[str, Sequence[str]]
    stand_ins: Mapping[str, Sequence[tuple[str, str]]]
    defaults: Mapping[str, str]
    askable: Sequence[str]

    def admit(self, choices: Mapping[str, Choice]) -> bool:
        """Whether the choices keep to these limits."""
        return all(self._admits(slot, choice) for slot, choice in choices.items())

    def _admits(self, slot: str, choice: Choice) -> bool:
        if self.named[slot]:
            return choice.value in self.named[slot] and not choice.asked
        if self.stand_ins[slot]:
            return (choice.asked, choice.value) in self.stand_ins[slot]
        if choice.asked:
            return choice.asked in self.askable
        default = self.defaults[slot]
        return not default or (choice.value == default and not choice.is_open)


def words(text: str) -> list[str]:
    """The words of a text in lower case; a pictograph counts as one."""
    found: list[str] = _WORD.findall(text.lower())
    return found


class Grammar:
    """Slots in the order of the sentence, and the words of a prompt that ask for nothing.

    Args:
        slots: every sentence has one value of each.
        ignored: words and phrases such as "the", "please" and "blue sky".
    """

    def __init__(self, slots: Sequence[Slot], ignored: Iterable[str]) -> None:
        self.slots = tuple(slots)
        self.ignored = frozenset(ignored)
        self._known: dict[tuple[str, ...], tuple[str, tuple[str, ...], bool] | None] = {
            tuple(words(phrase)): None for phrase in self.ignored
        }
        for slot in self.slots:
            for phrase, value in slot.stand_ins.items():
                self._known[tuple(words(phrase))] = (slot.name, (value,), False)
            for phrase, values in slot.phrases.items():
                self._known[tuple(words(phrase))] = (slot.name, tuple(values), True)
        self._longest = max(len(key) for key in self._known)
        groups = (f"(?P<{slot.name}>{_either(slot.pieces.values())})" for slot in self.slots)
        self._sentence = regex.compile("".join(groups))

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Grammar":
        """The grammar that `to_config` wrote down."""
        return cls([Slot(**slot) for slot in config["slots"]], config["ignored"])

    def to_config(self) -> dict[str, Any]:
        """This grammar as plain data, for a manifest."""
        return {"slots": [asdict(slot) for slot in self.slots], "ignored": sorted(self.ignored)}

    @property
    def longest_draft(self) -> int:
        """Characters of the longest draft, a bound on its tokens."""
        values = sum(max(len(value) for value in slot.pieces) for slot in self.slots)
        return values + len(self.slots) * (MAX_ASKED + len(INSTEAD) + len(BETWEEN))

    def write(self, values: Mapping[str, str]) -> str:
        """The sentence that has these values, one for each slot."""
        return "".join(slot.pieces[values[slot.name]] for slot in self.slots).strip()

    def parse(self, sentence: str) -> dict[str, str] | None:
        """The values of a sentence; None where it is not one that `write` writes."""
        match = self._sentence.fullmatch(sentence)
        if match is None:
            return None
        pieces = match.groupdict()
        return {
            slot.name: next(value for value, piece in slot.pieces.items() if piece == pieces[slot.name])
            for slot in self.slots
        }

    def find(self, prompt: str) -> list[Mention]:
        """What a prompt mentions, in its order: known phrases, the longest first, and every unknown word."""
        said, mentions, start = words(prompt), [], 0
        while start < len(said):
            for stop in range(min(start + self._longest, len(said)), start, -1):
                if tuple(said[start:stop]) in self._known:
                    known = self._known[tuple(said[start:stop])]
                    break
            else:
                stop, known = start + 1, ("", (), False)
            if known is not None:
                mentions.append(Mention(start, stop, " ".join(said[start:stop]), *known))
            start = stop
        return mentions

    def limits(self, prompt: str) -> Limits:
        """What a draft of a prompt may hold."""
        mentions, names = self.find(prompt), [slot.name for slot in self.slots]
        known = {name: [mention for mention in mentions if mention.slot == name] for name in names}
        named = {name: [value for row in rows if row.means for value in row.values] for name, rows in known.items()}
        stand_ins = {
            name: [(row.phrase, row.values[0]) for row in rows if not row.means] for name, rows in known.items()
        }
        defaults = {slot.name: slot.default for slot in self.slots}
        return Limits(named, stand_ins, defaults, _runs([mention for mention in mentions if not mention.slot]))

    def drafts(self, prompt: str, written: Sequence[str] = ()) -> "regex.Pattern[str]":
        """The drafts within the `limits` of a prompt, one named group a slot.

        Args:
            written: the slots that are written already; what they quote, no later slot quotes again.
        """
        limits = self.limits(prompt)
        used = {word for part in written for word in part.rpartition(INSTEAD)[0].split()}
        askable = _either(run for run in limits.askable if used.isdisjoint(run.split()))
        slots = [f"(?P<{slot.name}>{regex.escape(part)})" for slot, part in zip(self.slots, written, strict=False)]
        for slot in self.slots[len(written) :]:
            slots.append(f"(?P<{slot.name}>{self._choices(slot, limits, askable)})")
        return regex.compile(regex.escape(BETWEEN).join(slots))

    def _choices(self, slot: Slot, limits: Limits, askable: str) -> str:
        """A pattern of what the draft may hold for a slot, `askable` being that of the runs it may quote."""
        named, stand_ins = limits.named[slot.name], limits.stand_ins[slot.name]
        if named:
            return f"\\??{_either(named)}"
        if stand_ins:
            return _either(f"{phrase}{INSTEAD}{value}" for phrase, value in stand_ins)
        instead = f"{askable}{INSTEAD}{_either(slot.pieces)}"
        return f"(?:{instead}|{regex.escape(slot.default) if slot.default else f'[?]?{_either(slot.pieces)}'})"

    def draft(self, choices: Mapping[str, Choice]) -> str:
        """The draft of these choices, one for each slot."""
        parts = []
        for slot in self.slots:
            choice = choices[slot.name]
            mark = OPEN if choice.is_open else f"{choice.asked}{INSTEAD}" if choice.asked else ""
            parts.append(mark + choice.value)
        return BETWEEN.join(parts)

    def read(self, match: "regex.Match[str]") -> dict[str, Choice]:
        """The choices of a draft that matched a pattern of `drafts`."""
        choices = {}
        for name, text in match.groupdict().items():
            asked, _, value = text.rpartition(INSTEAD)
            choices[name] = Choice(value.removeprefix(OPEN), value.startswith(OPEN), asked)
        return choices


def _runs(unknown: Sequence[Mention]) -> list[str]:
    """Every run of up to MAX_RUN neighbouring unknown words that a draft may quote."""
    runs = []
    for i in range(len(unknown)):
        for j in range(i, min(i + MAX_RUN, len(unknown))):
            if unknown[j].start - unknown[i].start != j - i:
                break
            runs.append(" ".join(mention.phrase for mention in unknown[i : j + 1]))
    return [run for run in dict.fromkeys(runs) if len(run) <= MAX_ASKED]


def _either(options: Iterable[str]) -> str:
    """A pattern of one of the options; of nothing at all where there are none."""
    ordered = sorted(set(options), key=lambda option: (-len(option), option))
    return f"(?:{'|'.join(map(regex.escape, ordered))})" if ordered else "(?!)"


def _slot(name: str, pieces: dict[str, str], instead: str, default: str = "") -> Slot:
    return Slot(name, pieces, {value: [value] for value in pieces}, instead, {}, default)


SMALL = Grammar(
    [
        _slot("colour", {"red": "a red", "blue": "a blue", "orange": "an orange"}, "made it {}"),
        _slot("object", {"ball": " ball", "cube": " cube", "cat": " cat"}, "drew a {}"),
        _slot(
            "motion", {"moves left": " moves left", "moves right": " moves right", "spins": " spins"}, "it {} instead"
        ),
        _slot("place", {"meadow": " in a meadow", "snow": " in the snow", "city": " in a city"}, "chose the {}"),
        _slot("camera", {"still": "", "pans left": ", the camera pans left"}, "camera: {}", "still"),
    ],
    ("a", "an", "the", "in", "and", "with", "while", "camera"),
)
"""A few words of the world's grammar, for models whose weights are random."""
