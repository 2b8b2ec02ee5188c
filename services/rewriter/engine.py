"""Turns what people type into a sentence that the generator was trained on, and accounts for every word of it."""

import json
from collections.abc import Iterator
from typing import Protocol

from kino.adopted import is_adopted
from kino.exported import Runtime, place
from kino.grammar import SMALL, Choice, Grammar
from kino.manifest import Manifest
from kino.models.lm import LanguageModel, LmConfig
from kino.models.rewriter import Drafter
from kino.registry import Registry
from kino.tokens import QUOTES, BpeTokenizer, ByteTokenizer, Tokenizer
from kino.weights import find, open_network
from services.rewriter.account import Rewriting, account
from services.rewriter.captions import CaptionEngine
from services.rewriter.person import about_person
from services.rewriter.picture import held, of_picture, unsaid
from services.rewriter.rules import Shown

TOKENIZER = "tokenizer.json"
GRAMMAR = "grammar.json"
"""Files of a version beside its weights."""


class Rewriter(Protocol):
    """What the service needs of an engine."""

    manifest: Manifest
    runtime: Runtime

    def steps(self, prompt: str, seed: int, shown: Shown = "") -> Iterator[Rewriting | None]:
        """One step of computing at a time; the last gives the rewriting.

        Args:
            shown: what a picture shows already.
        """


def open_rewriter(
    preset: str, version: str, registry: Registry, device: str = "cpu", runtime: str = "auto"
) -> Rewriter:
    """The engine of a version: ours writes under a grammar, an adopted language model in words of its own."""
    manifest = find("rewriter", version, registry)
    if is_adopted(manifest):
        return CaptionEngine(manifest, registry, device, runtime)
    return RewriterEngine(preset, version, registry, device, runtime)


class RewriterEngine:
    """A language model that drafts under a grammar.

    Args:
        preset: name of the row; one of random weights needs no registry.
        version: model version or alias in the registry.
        device: as torch names it.
        runtime: as in `kino.exported.place`.
    """

    def __init__(
        self, preset: str, version: str, registry: Registry, device: str = "cpu", runtime: str = "auto"
    ) -> None:
        self.manifest, _, model = open_network(
            "rewriter", preset, version, registry, lambda row: LanguageModel(row.rewriter)
        )
        self.grammar, tokenizer = _language(model.config, self.manifest, registry)
        self.runtime = place(model, self.manifest, registry, runtime, device)
        self._drafter = Drafter(model, tokenizer, self.grammar)
        self._of_person = Drafter(model, tokenizer, about_person(self.grammar))

    def steps(self, prompt: str, seed: int, shown: Shown = "") -> Iterator[Rewriting]:
        """The rewriting, in one step: drafts under a grammar are short."""
        yield self.rewrite(prompt, seed, shown)

    def rewrite(self, prompt: str, seed: int, shown: Shown = "") -> Rewriting:
        """The sentence for a prompt; one that is such a sentence already comes back unchanged.

        Args:
            prompt: not blank; its quoted parts are never shown to the model.
            seed: of every choice that the prompt leaves open, 0 to 2^63 - 1.
            shown: what a picture shows already.
        """
        drafter = self._of_person if shown == "person" else self._drafter
        grammar = drafter.grammar
        values, unquoted = grammar.parse(prompt), QUOTES.sub(" ", prompt)
        if values is not None:
            choices = {name: Choice(value) for name, value in values.items()}
        else:
            choices = drafter.draft(unquoted, seed)
        left_out: frozenset[str] = frozenset()
        if shown == "picture":
            named = grammar.limits(unquoted).named
            choices = held(grammar, named, choices)
            left_out = unsaid(grammar, named, choices)
            sentence = of_picture(grammar, choices, left_out)
        else:
            sentence = grammar.write({name: choice.value for name, choice in choices.items()})
        return Rewriting(sentence, account(grammar, prompt, choices, self.manifest.preset, left_out))


def _language(config: LmConfig, manifest: Manifest, registry: Registry) -> tuple[Grammar, Tokenizer]:
    """The grammar and the tokenizer of a version; a model of bytes has neither file and takes the small grammar."""
    if config.tokens == "bytes":
        return SMALL, ByteTokenizer()
    definition = registry.file(manifest, TOKENIZER).read_text(encoding="utf-8")
    grammar = json.loads(registry.file(manifest, GRAMMAR).read_text(encoding="utf-8"))
    return Grammar.from_config(grammar), BpeTokenizer(definition)
