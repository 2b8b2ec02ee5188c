"""The encoder on the wire."""

import asyncio
from typing import Any

import grpc.aio

from kino import validate, wire
from kino.compute import ComputeQueue
from kino.footage import read_media
from kino.limits import MAX_FPS, MIN_FPS
from kino.media import PICTURES, Frames
from kino.presets import PRESETS
from kino.registry import Registry
from kino.remote import Remote
from kino.store import Store
from kino.v1 import encoder_pb2, encoder_pb2_grpc
from kino.v1.info_pb2 import TextSpace
from kino.wire import encode
from services.description import part, text_limits
from services.encoder.engine import Engine, Rows
from services.encoder.families.table import open_engine
from services.service import ServiceConfig

add_to_server = encoder_pb2_grpc.add_EncoderServiceServicer_to_server


def create(config: ServiceConfig) -> "EncoderServicer":
    """The servicer of these settings; loads nothing."""
    return EncoderServicer(config)


class EncoderServicer(encoder_pb2_grpc.EncoderServiceServicer):
    """Encodes prompts, one at a time."""

    _engine: Engine
    _store: Store

    def __init__(self, config: ServiceConfig) -> None:
        validate.one_of(config.preset, "preset", tuple(PRESETS))
        self.config = config
        self._queue = ComputeQueue("encoder", config.queue)

    async def start(self) -> None:
        """Load the towers and open the store."""
        config, registry = self.config, Registry(self.config.models)
        self._store = await config.open_store()
        self._engine = await asyncio.to_thread(
            open_engine, config.preset, config.version, registry, config.device, config.runtime, config.execution
        )

    async def stop(self) -> None:
        """End the worker."""
        await asyncio.to_thread(self._queue.close)

    async def Describe(
        self,
        request: encoder_pb2.EncoderServiceDescribeRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> encoder_pb2.EncoderServiceDescribeResponse:
        """Tell which towers are served."""
        engine = self._engine
        info = part("encoder", engine.manifest, self.config.device, engine.runtime)
        info.digest, info.preset = engine.digest, engine.preset
        for name, (digest, width, most) in engine.spaces.items():
            info.text_spaces.append(TextSpace(tower=name, digest=digest, width=width, max_tokens=most))
        info.approximations.extend(self.config.execution.of_texts.approximations)
        info.limits.CopyFrom(text_limits(self.config.queue))
        if engine.states_fps:
            info.limits.fps.minimum, info.limits.fps.maximum = MIN_FPS, MAX_FPS
        if engine.reads_pictures:
            info.picture.SetInParent()
        return encoder_pb2.EncoderServiceDescribeResponse(info=info)

    async def Encode(
        self, request: encoder_pb2.EncodeRequest, context: grpc.aio.ServicerContext[Any, Any]
    ) -> encoder_pb2.EncodeResponse:
        """Encode a prompt and its opposite."""
        prompt = validate.prompt(request.prompt)
        negative = validate.prompt(request.negative_prompt, "negative_prompt", blank=True)
        fps = validate.whole(request.fps, "fps", MIN_FPS, MAX_FPS) if request.HasField("fps") else None
        towers = tuple(request.towers)
        picture = await asyncio.to_thread(self._picture, request) if request.HasField("picture") else None
        async with self._queue.turn():
            rows = await self._queue.run(self._engine.encode, prompt, fps, towers, picture)
            against = await self._queue.run(self._engine.encode, negative, fps, towers, picture)
        return await asyncio.to_thread(self._response, request, rows, against)

    def _picture(self, request: encoder_pb2.EncodeRequest) -> Frames:
        """The first frame of what a request shows, [h w c=3]."""
        remote = Remote(self.config.fetch_urls)
        with wire.open_media(request.picture, "picture", ("video", "image"), store=self._store, remote=remote) as file:
            frames, _ = read_media(file, request.picture.media_type, PICTURES)
        first: Frames = frames[0]
        return first

    def _response(self, request: encoder_pb2.EncodeRequest, rows: Rows, against: Rows) -> encoder_pb2.EncodeResponse:
        return encoder_pb2.EncodeResponse(
            embeddings=self._embeddings(request, rows),
            unconditional=self._embeddings(request, against),
            model_digest=self._engine.digest,
        )

    def _embeddings(self, request: encoder_pb2.EncodeRequest, rows: Rows) -> list[encoder_pb2.Embedding]:
        return [
            encoder_pb2.Embedding(
                tower=name,
                embeddings=encode(array, delivery=request.delivery, store=self._store),
                text_space=self._engine.spaces[name].digest,
            )
            for name, array in rows.items()
        ]
