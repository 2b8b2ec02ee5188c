"""Language models that others trained: a causal model of `transformers` with its tokenizer, which answers a prompt."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from jinja2 import TemplateError
from torch import Tensor, nn


@dataclass(frozen=True)
class AdoptedWriterConfig:
    """How an adopted language model writes.

    Args:
        architecture: class of `transformers` that holds the network.
        dtype: numbers that it computes in.
        max_tokens: tokens of an answer at most.
        context: tokens of question and answer together at most.
        temperature: of the distribution that tokens are drawn from; 0 takes the likeliest.
        top_p: share of the likeliest tokens' probability among which one is drawn. Source: arXiv 1904.09751.
        format: tells a manifest of these settings from one of ours.
    """

    architecture: str
    dtype: Literal["float32", "bfloat16"]
    max_tokens: int
    context: int
    temperature: float = 0.6
    top_p: float = 0.9
    format: Literal["transformers"] = "transformers"


class NoRoomError(Exception):
    """A question that leaves no room for an answer in the model's context."""


@dataclass(frozen=True)
class Answer:
    """An answer as far as it goes, and whether the model has ended it."""

    text: str
    ended: bool = False


class AdoptedWriter(nn.Module):
    """A causal language model that answers one question at a time."""

    def __init__(self, network: Any, tokenizer: Any, config: AdoptedWriterConfig) -> None:
        super().__init__()
        self.network, self.tokenizer, self.config = network, tokenizer, config
        ends = network.generation_config.eos_token_id
        self.ends = {tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}

    def question(self, rules: str, prompt: str) -> list[int]:
        """The ids of a question: in the words of the model's chat template, or plainly where it has none."""
        if not self.tokenizer.chat_template:
            return list(self.tokenizer(f"{rules}\n\nPrompt: {prompt}\nCaption:").input_ids)
        system, user = {"role": "system", "content": rules}, {"role": "user", "content": prompt}
        try:
            text = self._chat([system, user])
        except TemplateError:  # some templates know no system role
            text = self._chat([{"role": "user", "content": f"{rules}\n\nPrompt: {prompt}"}])
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    @torch.inference_mode()
    def answer(self, rules: str, prompt: str, seed: int) -> Iterator[Answer]:
        """The answer after each of its tokens, the whole of it last.

        Raises:
            NoRoomError: the question leaves no room for an answer.
        """
        question, config = self.question(rules, prompt), self.config
        if len(question) + config.max_tokens > config.context:
            room = f"{config.context - config.max_tokens} of {config.context} beside the answer"
            raise NoRoomError(f"the question has {len(question)} tokens, there is room for {room}")
        source, device = torch.Generator().manual_seed(seed), next(self.network.parameters()).device
        written: list[int] = []
        ids, cache = question, None
        for _ in range(config.max_tokens):
            found = self.network(torch.tensor([ids], device=device), past_key_values=cache, use_cache=True)
            token = self._choose(found.logits[0, -1].float().cpu(), source)
            ended = token in self.ends
            if not ended:
                written.append(token)
            yield Answer(self.tokenizer.decode(written, skip_special_tokens=True), ended)
            if ended:
                return
            ids, cache = [token], found.past_key_values

    def _choose(self, logits: Float[Tensor, " vocabulary"], source: torch.Generator) -> int:
        if self.config.temperature == 0:
            return int(logits.argmax())
        weights, order = (logits / self.config.temperature).softmax(dim=0).sort(descending=True, stable=True)
        weights = weights * (weights.cumsum(dim=0) - weights < self.config.top_p)
        return int(order[torch.multinomial(weights, 1, generator=source)])

    def _chat(self, messages: list[dict[str, str]]) -> str:
        text: str = self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        return text
