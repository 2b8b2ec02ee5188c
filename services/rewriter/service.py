"""The rewriter on the wire."""

import asyncio
import hashlib
import logging
import os
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import grpc.aio

from kino import validate
from kino.compute import ComputeQueue
from kino.errors import InvalidArgumentError
from kino.presets import PRESETS
from kino.registry import Registry
from kino.v1 import rewriter_pb2, rewriter_pb2_grpc
from services.description import part, text_limits
from services.rewriter.account import Rewriting
from services.rewriter.endpoint import Endpoint, EndpointError
from services.rewriter.engine import Rewriter, open_rewriter
from services.rewriter.rules import Shown, rules
from services.service import ServiceConfig

KEY_VARIABLE = "KINO_ENDPOINT_KEY"
"""Environment variable that holds the endpoint's key: a flag would show in the list of processes."""
_log = logging.getLogger("kino.rewriter")

add_to_server = rewriter_pb2_grpc.add_RewriterServiceServicer_to_server


def create(config: ServiceConfig) -> "RewriterServicer":
    """The servicer of these settings; loads nothing."""
    return RewriterServicer(config)


class RewriterServicer(rewriter_pb2_grpc.RewriterServiceServicer):
    """Rewrites prompts: the device's one at a time, the endpoint's as they come."""

    _engine: Rewriter
    _endpoint: Endpoint | None = None

    def __init__(self, config: ServiceConfig) -> None:
        validate.one_of(config.preset, "preset", tuple(PRESETS))
        self.config = config
        self._queue = ComputeQueue("rewriter", config.queue)
        if config.endpoint:
            key = os.environ.get(KEY_VARIABLE, "")
            self._endpoint = Endpoint(config.endpoint, config.endpoint_model, config.endpoint_seconds, key)

    async def start(self) -> None:
        """Load the model, which also stands in for the endpoint."""
        config, registry = self.config, Registry(self.config.models)
        self._engine = await asyncio.to_thread(
            open_rewriter, config.preset, config.version, registry, config.device, config.runtime
        )

    async def stop(self) -> None:
        """End the worker, and let go of the endpoint."""
        await asyncio.to_thread(self._queue.close)
        if self._endpoint is not None:
            await self._endpoint.close()

    async def Describe(
        self, request: rewriter_pb2.RewriterServiceDescribeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> rewriter_pb2.RewriterServiceDescribeResponse:
        """Tell which model is served."""
        info = part("rewriter", self._engine.manifest, self.config.device, self._engine.runtime)
        info.digest, info.preset = self._digest, self.config.preset
        info.limits.CopyFrom(text_limits(self.config.queue))
        return rewriter_pb2.RewriterServiceDescribeResponse(info=info)

    async def Rewrite(
        self, request: rewriter_pb2.RewriteRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> rewriter_pb2.RewriteResponse:
        """Rewrite a prompt."""
        prompt, seed = validate.prompt(request.prompt), validate.seed(request.seed)
        rewriting = await self._rewrite(prompt, seed, _shown(request), context.time_remaining())
        return rewriter_pb2.RewriteResponse(
            prompt=rewriting.prompt,
            substitutions=[
                rewriter_pb2.Substitution(asked=row.asked, drawn=row.drawn, reason=row.reason)
                for row in rewriting.account.substitutions
            ],
            kept=rewriting.account.kept,
            model_digest=self._digest,
            source=rewriter_pb2.RewriteSource.Value(f"REWRITE_SOURCE_{rewriting.source.upper()}"),
            fallback_reason=rewriting.fallback_reason,
        )

    @property
    def _digest(self) -> str:
        """SHA-256 of what writes: the model's version, and the endpoint's model and rules where there is one."""
        digest = self._engine.manifest.digest
        if self._endpoint is None:
            return digest
        told = digest, self._endpoint.model, rules("person"), rules("picture")
        return hashlib.sha256("\n".join(told).encode()).hexdigest()

    async def _rewrite(self, prompt: str, seed: int, shown: Shown, remaining_seconds: float | None) -> Rewriting:
        """The endpoint's rewriting, or the model's where there is none or it has failed."""
        if self._endpoint is None:
            return await self._own(prompt, seed, shown)
        try:
            return await self._endpoint.rewrite(prompt, seed, remaining_seconds, shown)
        except EndpointError as error:
            _log.warning("the endpoint failed, the model of the service writes", extra={"reason": str(error)})
            own = await self._own(prompt, seed, shown)
            reasons = [reason for reason in (str(error), own.fallback_reason) if reason]
            return replace(own, fallback_reason="; ".join(reasons))

    async def _own(self, prompt: str, seed: int, shown: Shown) -> Rewriting:
        """The rewriting of the service's own model; whoever cancels leaves the device after a token."""
        rewriting: Rewriting | None = None
        steps = self._engine.steps(prompt, seed, shown)
        async with self._queue.turn(), aclosing(self._queue.iterate(steps)) as taken:
            async for step in taken:
                rewriting = step
        assert rewriting is not None
        return rewriting


def _shown(request: rewriter_pb2.RewriteRequest) -> Shown:
    if request.person and request.picture:
        raise InvalidArgumentError("picture", True, "left out where the prompt is about a person")
    return "person" if request.person else "picture" if request.picture else ""
