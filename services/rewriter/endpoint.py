"""Asks an OpenAI-compatible chat endpoint for captions, with bounds on time, size and repetition."""

import asyncio
import json
import math
from typing import Any

import httpx2

from services.rewriter.account import Rewriting
from services.rewriter.rules import AnswerError, Shown, accept, rules

MAX_RESPONSE_BYTES = 256 * 1024
MAX_ANSWER_TOKENS = 512
TEMPERATURE = 0.6
_PASSING = (429, 500, 502, 503, 504)  # what may be gone the next moment
_PAUSE_SECONDS = 0.25
_MAX_BUDGET = 10.0


class EndpointError(Exception):
    """The endpoint gave no caption, and why."""


class _PassingError(EndpointError):
    """A failure that a second try may not meet."""


class Endpoint:
    """A chat model behind HTTP.

    A request is tried twice at most, and only while most of the last ones went well, so that retries never double the
    load on an endpoint that is down. The budget is that of gRPC's retry throttling (its proposal A6): 10 at most, a
    failure costs 1, a success gives back 0.1, and what is above the half may be spent on second tries.

    Args:
        url: of the API up to its version, for example "https://host/v1".
        model: name of the model there.
        seconds: how long one rewriting may take, with its second try.
        key: sent as a bearer token; empty for none.

    Raises:
        ValueError: a setting is not of that form.
    """

    def __init__(self, url: str, model: str, seconds: float, key: str = "") -> None:
        _check(url, model, seconds, key)
        self.model, self.seconds = model, seconds
        headers = {"Accept-Encoding": "identity"} | ({"Authorization": f"Bearer {key}"} if key else {})
        self._url = f"{url.rstrip('/')}/chat/completions"
        self._client = httpx2.AsyncClient(headers=headers, timeout=None)
        self._budget = _MAX_BUDGET

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def rewrite(
        self, prompt: str, seed: int, remaining_seconds: float | None = None, shown: Shown = ""
    ) -> Rewriting:
        """The caption for a prompt.

        Args:
            remaining_seconds: until the caller's deadline; half of them at most are spent, the rest is for a fall-back.
            shown: what a picture shows already.

        Raises:
            EndpointError: it could not be reached, took too long, or answered with anything but a caption.
        """
        seconds = self.seconds if remaining_seconds is None else min(self.seconds, remaining_seconds / 2)
        try:
            async with asyncio.timeout(seconds):
                answer, ended = await self._ask_twice(prompt, seed, rules(shown))
        except TimeoutError as error:
            self._budget = max(0.0, self._budget - 1)
            raise EndpointError(f"the endpoint gave no answer within {seconds:g} seconds") from error
        try:
            caption, account = accept(prompt, answer, ended=ended)
        except AnswerError as error:
            raise EndpointError(f"the endpoint wrote no caption: {error}") from error
        return Rewriting(caption, account, "endpoint")

    async def _ask_twice(self, prompt: str, seed: int, told: str) -> tuple[str, bool]:
        try:
            return await self._ask(prompt, seed, told)
        except _PassingError:
            if self._budget <= _MAX_BUDGET / 2:
                raise
        await asyncio.sleep(_PAUSE_SECONDS)
        return await self._ask(prompt, seed, told)

    async def _ask(self, prompt: str, seed: int, told: str) -> tuple[str, bool]:
        try:
            answer = _read(await self._post(prompt, seed, told))
        except EndpointError:
            self._budget = max(0.0, self._budget - 1)
            raise
        self._budget = min(_MAX_BUDGET, self._budget + 0.1)
        return answer

    async def _post(self, prompt: str, seed: int, told: str) -> bytes:
        """The body of the answer to one request."""
        question = {
            "model": self.model,
            "messages": [{"role": "system", "content": told}, {"role": "user", "content": prompt}],
            "max_tokens": MAX_ANSWER_TOKENS,
            "temperature": TEMPERATURE,
            "seed": seed,
        }
        body = bytearray()
        try:
            async with self._client.stream("POST", self._url, json=question) as response:
                if response.status_code != 200:
                    kind = _PassingError if response.status_code in _PASSING else EndpointError
                    raise kind(f"the endpoint answered with status {response.status_code}")
                async for chunk in response.aiter_raw():
                    body += chunk
                    if len(body) > MAX_RESPONSE_BYTES:
                        raise EndpointError(f"the endpoint's answer is longer than {MAX_RESPONSE_BYTES} bytes")
        except httpx2.TransportError as error:
            raise _PassingError(f"the endpoint could not be reached: {type(error).__name__}") from error
        return bytes(body)


def _read(body: bytes) -> tuple[str, bool]:
    """The text of a chat completion, and whether the model came to an end."""
    try:
        choice: Any = json.loads(body)["choices"][0]
        content, ended = choice["message"]["content"], choice.get("finish_reason") != "length"
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise EndpointError("the endpoint's answer is no chat completion") from error
    if not isinstance(content, str):
        raise EndpointError("the endpoint's answer holds no text")
    return content, ended


def _check(url: str, model: str, seconds: float, key: str) -> None:
    """Look at the settings; what may be secret is never quoted."""
    try:
        parts = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise ValueError(f"endpoint is {url!r}, must be an http or https URL ({error})") from error
    if parts.userinfo or parts.query or parts.fragment:
        raise ValueError("endpoint holds more than a host and a path: a key has to come by the environment")
    if parts.scheme not in ("http", "https") or not parts.host:
        raise ValueError(f"endpoint is {url!r}, must be an http or https URL")
    if not model:
        raise ValueError(f"endpoint_model is {model!r}, must be the name of a model")
    if not (math.isfinite(seconds) and seconds > 0):
        raise ValueError(f"endpoint_seconds is {seconds}, must be above 0")
    if not (key.isascii() and key.isprintable()):
        raise ValueError("the endpoint's key holds characters that no header may hold: it must be printable ASCII")
