"""What a language model is told when it rewrites in words of its own, and what is taken from its answer."""

from typing import Literal

from kino import validate
from kino.tokens import QUOTES
from services.rewriter.account import Account, Rewriting, Substitution

# After Movie Gen, arXiv 2410.13720, section 3.4.1: one order of information, plain words, motion not overdone.
RULES = """You turn a short wish for a video into the caption of that video, in plain English.
Write one paragraph of at most 100 words, in this order:
1. the subject, what it looks like and what it does: one simple motion, as it is seen, without exaggeration;
2. the place, and what surrounds the subject;
3. the light, the colours and the style, such as photograph, painting or animation;
4. the camera: its distance and angle, and one movement, or that it stands still.
Keep every fact of the wish; where it is silent, choose what is usual. Use common words in place of rare ones.
Keep text in double quotes word for word and in double quotes: it is to be seen in the video. Quote nothing else.
Answer with the caption alone.

Wish: a dog with sunglasses surfing
Caption: A brown dog with black sunglasses stands on a yellow surfboard and rides a small wave towards the beach. \
The sea is blue and calm, and palm trees line the shore. Bright afternoon sun, warm colours, a photograph. \
The camera follows the dog from the side at a medium distance."""


OF_PERSON = """

The wish is about one person, of whom there is a picture already. Call this person "a person", "she" or "he", as the
wish does, and say nothing of face, skin and hair."""


OF_PICTURE = """

There is a picture already of how the video begins. Write what moves and how, and what the camera does; of all that a
picture shows, say only what the wish says."""

Shown = Literal["", "person", "picture"]
"""What a picture shows already: nothing, the person of the video, or how it begins."""


def rules(shown: Shown = "") -> str:
    """What the model is told of a wish."""
    return RULES + {"": "", "person": OF_PERSON, "picture": OF_PICTURE}[shown]


class AnswerError(Exception):
    """An answer that is no caption, and why."""


def accept(prompt: str, answer: str, *, ended: bool) -> tuple[str, Account]:
    """The caption of an answer, and what became of the prompt's quoted text: nothing else can be checked.

    Args:
        ended: whether the model came to an end; else the last sentence is left out, which it was in the midst of.

    Raises:
        AnswerError: nothing is left, or it breaks the bounds of a prompt.
    """
    caption = answer.strip()
    if caption.count('"') == 2 and caption[0] == caption[-1] == '"' and caption.strip('"') not in prompt:
        caption = caption[1:-1]  # quoted as a whole, which would ask for all of it to be written in the picture
    if not ended:
        caption = caption[: max(caption.rfind(mark) for mark in ".!?") + 1]
    try:
        caption = validate.prompt(caption, "answer")
    except ValueError as error:
        raise AnswerError(str(error)) from error
    written = {match.group().strip('"“”') for match in QUOTES.finditer(caption)}
    account = Account([], [])
    for match in QUOTES.finditer(prompt):
        if match.group().strip('"“”') in written:
            account.kept.append(match.group())
        else:
            account.substitutions.append(Substitution(match.group(), "", f"the rewriter left out {match.group()}"))
    return caption, account


def unchanged(prompt: str, reason: str) -> Rewriting:
    """The prompt as it was, for lack of a rewriting."""
    return Rewriting(prompt, Account([], []), "prompt", reason)
