"""The rewriter on the wire."""

import asyncio
from typing import Any

import grpc.aio

from kino import validate
from kino.compute import ComputeQueue
from kino.presets import PRESETS
from kino.registry import Registry
from kino.v1 import rewriter_pb2, rewriter_pb2_grpc
from services.description import part, text_limits
from services.rewriter.engine import RewriterEngine
from services.service import ServiceConfig

add_to_server = rewriter_pb2_grpc.add_RewriterServiceServicer_to_server


def create(config: ServiceConfig) -> "RewriterServicer":
    """The servicer of these settings; loads nothing."""
    return RewriterServicer(config)


class RewriterServicer(rewriter_pb2_grpc.RewriterServiceServicer):
    """Rewrites prompts, one at a time."""

    _engine: RewriterEngine

    def __init__(self, config: ServiceConfig) -> None:
        validate.one_of(config.preset, "preset", tuple(PRESETS))
        self.config = config
        self._queue = ComputeQueue("rewriter", config.queue)

    async def start(self) -> None:
        """Load the model."""
        config, registry = self.config, Registry(self.config.models)
        self._engine = await asyncio.to_thread(RewriterEngine, config.preset, config.version, registry, config.device)

    async def stop(self) -> None:
        """End the worker."""
        await asyncio.to_thread(self._queue.close)

    async def Describe(
        self, request: rewriter_pb2.RewriterServiceDescribeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> rewriter_pb2.RewriterServiceDescribeResponse:
        """Tell which model is served."""
        info = part("rewriter", self._engine.manifest, self.config.device)
        info.limits.CopyFrom(text_limits(self.config.queue))
        return rewriter_pb2.RewriterServiceDescribeResponse(info=info)

    async def Rewrite(
        self, request: rewriter_pb2.RewriteRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> rewriter_pb2.RewriteResponse:
        """Rewrite a prompt."""
        prompt, seed = validate.prompt(request.prompt), validate.seed(request.seed)
        rewriting = await self._queue.call(self._engine.rewrite, prompt, seed)
        return rewriter_pb2.RewriteResponse(
            prompt=rewriting.prompt,
            substitutions=[
                rewriter_pb2.Substitution(asked=row.asked, drawn=row.drawn, reason=row.reason)
                for row in rewriting.account.substitutions
            ],
            kept=rewriting.account.kept,
            model_digest=self._engine.manifest.digest,
        )
