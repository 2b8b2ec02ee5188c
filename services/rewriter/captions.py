"""Turns what people type into a caption by a language model that others trained."""

from collections.abc import Iterator

from kino.adopted import open_writer
from kino.exported import place
from kino.manifest import Manifest
from kino.models.adopted_writer import Answer, NoRoomError
from kino.registry import Registry
from services.rewriter.account import Rewriting
from services.rewriter.rules import AnswerError, Shown, accept, rules, unchanged


class CaptionEngine:
    """A causal language model on one device, told by `rules.rules` what a caption is.

    Args:
        manifest: an adopted version.
        device: as torch names it.
        runtime: as in `kino.exported.place`.
    """

    def __init__(self, manifest: Manifest, registry: Registry, device: str = "cpu", runtime: str = "auto") -> None:
        self.manifest = manifest
        self.writer = open_writer(manifest, registry)
        self.runtime = place(self.writer, manifest, registry, runtime, device)

    def steps(self, prompt: str, seed: int, shown: Shown = "") -> Iterator[Rewriting | None]:
        """None after each token, and the rewriting last: the prompt as it was where the answer is no caption."""
        answer = Answer("")
        try:
            for longer in self.writer.answer(rules(shown), prompt, seed):
                answer = longer
                yield None
            caption, account = accept(prompt, answer.text, ended=answer.ended)
        except (AnswerError, NoRoomError) as error:
            yield unchanged(prompt, f"the model wrote no caption: {error}")
        else:
            yield Rewriting(caption, account, "model")
