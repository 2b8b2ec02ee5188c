"""The honest account of a rewriting: what of a prompt was kept, and what became of the rest, checked word by word."""

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from kino.grammar import MAX_RUN, Choice, Grammar, Mention
from kino.tokens import QUOTES

ALIKE = 0.75
"""Likeness (difflib's ratio) from which an unknown word passes for a misspelt one."""


@dataclass(frozen=True)
class Substitution:
    """A phrase of the prompt that is not shown, what stands in its place ("" where nothing does), and why."""

    asked: str
    drawn: str
    reason: str


@dataclass(frozen=True)
class Account:
    """What was kept and what was not, each in the order of the prompt and told once."""

    kept: list[str]
    substitutions: list[Substitution]


@dataclass(frozen=True)
class Rewriting:
    """The sentence for the encoder, and what became of the prompt's words.

    Args:
        source: who wrote it: "grammar" and "model" are ours, "prompt" leaves the prompt as it was.
        fallback_reason: why it was not written by whom the service asks first; empty where it was.
    """

    prompt: str
    account: Account
    source: Literal["grammar", "model", "endpoint", "prompt"] = "grammar"
    fallback_reason: str = ""


def account(
    grammar: Grammar, prompt: str, choices: Mapping[str, Choice], model: str, shown: Collection[str] = ()
) -> Account:
    """What became of every word of `prompt`: nothing the draft claims is believed, nothing it passes over is left out.

    Args:
        model: the name under which a person knows the model, for the reasons.
        shown: slots that the sentence leaves to a picture.
    """
    result, draft = Account([], []), _Draft(grammar, choices, model, shown)
    mentions = grammar.find(QUOTES.sub(" ", prompt))
    for mention in _joined(mentions, choices):
        if mention.slot:
            _known(mention, mentions, draft, result)
        else:
            _unknown(mention, draft, result)
    for match in QUOTES.finditer(prompt):
        if not any(match.groups()):
            continue
        result.substitutions.append(Substitution(match.group(), "", f"{model} cannot show written words: left out"))
    return Account(list(dict.fromkeys(result.kept)), list(dict.fromkeys(result.substitutions)))


@dataclass(frozen=True)
class _Draft:
    """What `account` is told."""

    grammar: Grammar
    choices: Mapping[str, Choice]
    model: str
    shown: Collection[str]

    def instead(self, slot: str, asked: str) -> Substitution:
        """What stands in for a phrase that was asked for."""
        if slot in self.shown:
            return Substitution(asked, "", f"no {asked} in {self.model}: left to the picture")
        value = self.choices[slot].value
        told = next(row.instead for row in self.grammar.slots if row.name == slot).format(value)
        return Substitution(asked, value, f"no {asked} in {self.model}: {told}")


def _known(mention: Mention, mentions: list[Mention], draft: _Draft, result: Account) -> None:
    choice = draft.choices[mention.slot]
    value = choice.value
    if mention.means and value in mention.values:
        result.kept.append(mention.phrase)
    elif not mention.means and choice.asked == mention.phrase:
        result.substitutions.append(draft.instead(mention.slot, mention.phrase))
    elif any(other.slot == mention.slot and value in other.values for other in mentions if other is not mention):
        reason = f"one {mention.slot} at a time in {draft.model}: left out {mention.phrase}"
        result.substitutions.append(Substitution(mention.phrase, "", reason))
    else:
        result.substitutions.append(draft.instead(mention.slot, mention.phrase))


def _unknown(mention: Mention, draft: _Draft, result: Account) -> None:
    slot = next((name for name, choice in draft.choices.items() if choice.asked == mention.phrase), None)
    if slot is None:
        reason = f"{draft.model} cannot show {mention.phrase}: left out"
        result.substitutions.append(Substitution(mention.phrase, "", reason))
    elif misspelt(draft.grammar, slot, draft.choices[slot].value, mention.phrase):
        result.kept.append(mention.phrase)
    else:
        result.substitutions.append(draft.instead(slot, mention.phrase))


def misspelt(grammar: Grammar, slot: str, value: str, asked: str) -> bool:
    """Whether the unknown phrase is close to one that means the value."""
    phrases = next(row.phrases for row in grammar.slots if row.name == slot)
    meant = [phrase for phrase, values in phrases.items() if value in values]
    return bool(difflib.get_close_matches(asked, meant, n=1, cutoff=ALIKE))


def _joined(mentions: list[Mention], choices: Mapping[str, Choice]) -> list[Mention]:
    """The mentions, with the unknown words that a slot quotes as one, and other unknown neighbours as one."""
    quoted = {choice.asked for choice in choices.values() if choice.asked}
    joined: list[Mention] = []
    rest, may_grow = list(mentions), False
    while rest:
        run = _run(rest)
        phrases = [" ".join(mention.phrase for mention in rest[:size]) for size in range(run, 0, -1)]
        asked = next((phrase for phrase in phrases if phrase in quoted), None)
        size = run - phrases.index(asked) if asked is not None else 1
        if asked is not None:
            quoted.discard(asked)
            joined.append(Mention(rest[0].start, rest[size - 1].stop, asked))
        elif may_grow and _adjoins(joined[-1], rest[0]):
            joined[-1] = Mention(joined[-1].start, rest[0].stop, f"{joined[-1].phrase} {rest[0].phrase}")
        else:
            joined.append(rest[0])
        rest, may_grow = rest[size:], asked is None
    return joined


def _run(mentions: list[Mention]) -> int:
    """How many mentions from the first on are unknown neighbours, as far as a draft may quote; 1 for a known one."""
    size = 1
    while size < min(len(mentions), MAX_RUN) and not mentions[0].slot and _adjoins(mentions[size - 1], mentions[size]):
        size += 1
    return size


def _adjoins(mention: Mention, following: Mention) -> bool:
    return not mention.slot and not following.slot and mention.stop == following.start
