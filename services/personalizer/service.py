"""Serves the personalizer over gRPC: who is in a picture, and latents of that person, with progress and checkpoints."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from functools import partial

import numpy as np
from numpy.typing import NDArray

from kino import validate, wire
from kino.compute import ComputeQueue
from kino.errors import FailedPreconditionError
from kino.images import decode_image
from kino.limits import PEOPLE_SAMPLERS, personalizer_limits
from kino.media import PICTURES, Frames
from kino.presets import IDENTITY, PRESETS
from kino.registry import Registry
from kino.remote import Remote
from kino.store import Store
from kino.v1.encoder_pb2 import Embedding
from kino.v1.generator_pb2 import Checkpoint
from kino.v1.info_pb2 import Info
from kino.v1.personalizer_pb2 import (
    Face,
    IdentifyRequest,
    IdentifyResponse,
    PersonalizeRequest,
    PersonalizeResponse,
    PersonalizeResult,
    PersonalizerServiceDescribeRequest,
    PersonalizerServiceDescribeResponse,
)
from kino.v1.personalizer_pb2_grpc import PersonalizerServiceServicer, add_PersonalizerServiceServicer_to_server
from kino.v1.progress_pb2 import Progress
from services import description
from services.denoising import Checkpoints, Denoised, asked, denoise, rows, start_of
from services.personalizer.engine import PersonalizerEngine, Task
from services.service import ServiceConfig

add_to_server = add_PersonalizerServiceServicer_to_server


def create(config: ServiceConfig) -> "PersonalizerServicer":
    """Return the servicer. Raises ValueError for a preset that is not there, or that knows no identities."""
    validate.one_of(config.preset, "preset", tuple(name for name, row in PRESETS.items() if row.identity))
    return PersonalizerServicer(config)


class PersonalizerServicer(PersonalizerServiceServicer):
    """The personalizer's calls; one is on the device, the others wait their turn."""

    engine: PersonalizerEngine
    store: Store

    def __init__(self, config: ServiceConfig) -> None:
        self.config = config
        self.queue = ComputeQueue("personalizer", config.queue)

    async def start(self) -> None:
        """Open the store and load the weights."""
        config = self.config
        self.store = await config.open_store()
        registry = Registry(config.models)
        self.engine = await asyncio.to_thread(
            PersonalizerEngine, config.preset, config.version, registry, config.device
        )

    async def stop(self) -> None:
        """End the worker thread."""
        await asyncio.to_thread(self.queue.close)

    async def Describe(
        self, request: PersonalizerServiceDescribeRequest, context: object
    ) -> PersonalizerServiceDescribeResponse:
        """Say which model is served and what it accepts."""
        return PersonalizerServiceDescribeResponse(info=self._info())

    async def Identify(self, request: IdentifyRequest, context: object) -> IdentifyResponse:
        """Say who is in a picture."""
        picture = await asyncio.to_thread(self._picture, request)
        person = await self.queue.call(self.engine.identify, picture)
        tokens = await asyncio.to_thread(wire.encode, person.tokens, delivery=request.delivery, store=self.store)
        identity = Embedding(tower=IDENTITY, embeddings=tokens, text_space=self.engine.manifest.spaces.vision)
        digest = self.engine.manifest.digest
        return IdentifyResponse(identity=identity, face=Face(**person.face._asdict()), model_digest=digest)

    async def Personalize(self, request: PersonalizeRequest, context: object) -> AsyncIterator[PersonalizeResponse]:
        """Yield progress and checkpoints as steps are finished, and the latents last."""
        checkpoints = Checkpoints(request)
        task = await asyncio.to_thread(self._task, request)
        begin = task.start.step if task.start else 0, task.steps or PEOPLE_SAMPLERS[self.engine.preset.name].steps
        encode = partial(wire.encode, delivery=request.delivery, store=self.store)
        events = denoise(self.queue, self.engine.generate(task), begin, checkpoints, encode)
        async with aclosing(events):
            async for event in events:
                match event:
                    case Progress():
                        yield PersonalizeResponse(progress=event)
                    case Checkpoint():
                        yield PersonalizeResponse(checkpoint=event)
                    case Denoised():
                        result = PersonalizeResult(
                            latents=await asyncio.to_thread(encode, event.latents),
                            latent_space=self.engine.manifest.spaces.latent,
                            model_digest=self.engine.manifest.digest,
                            seconds=event.seconds,
                        )
                        yield PersonalizeResponse(result=result)

    def _info(self) -> Info:
        manifest, preset = self.engine.manifest, self.engine.preset
        spaces = manifest.spaces
        info = description.part("personalizer", manifest, self.config.device)
        info.latent_space.CopyFrom(description.latent_space(spaces.latent, preset.dit.latent_channels))
        info.text_spaces.extend(description.text_spaces(spaces.text, preset.text_shapes))
        info.limits.CopyFrom(personalizer_limits(preset.name))
        info.limits.queue.CopyFrom(description.queue_limit(self.config.queue))
        return info

    def _picture(self, request: IdentifyRequest) -> Frames:
        remote = Remote(self.config.fetch_urls)
        with wire.open_media(request.image, "image", ("image",), store=self.store, remote=remote) as file:
            return decode_image(file.read(), PICTURES)

    def _identity(self, request: PersonalizeRequest) -> NDArray[np.float32]:
        """Return the tokens of the request's identity, which has to be of the encoder that the model was trained on."""
        given, space = request.identity, self.engine.manifest.spaces.vision
        validate.one_of(given.tower, "identity.tower", (IDENTITY,))
        if given.text_space not in ("", space):
            raise FailedPreconditionError(
                f"identity.text_space is {given.text_space[:64]!r}, this model was trained on {space}"
            )
        tokens: NDArray[np.float32] = wire.decode(given.embeddings, "identity.embeddings", "m d", store=self.store)
        return tokens

    def _task(self, request: PersonalizeRequest) -> Task:
        spaces = self.engine.manifest.spaces
        embeddings, unconditional = (
            rows(getattr(request, field), field, self.engine.preset.text_shapes, spaces, self.store)
            for field in ("embeddings", "unconditional")
        )
        return Task(
            embeddings=embeddings,
            unconditional=unconditional,
            identity=self._identity(request),
            frames=request.frames,
            height=request.height,
            width=request.width,
            seed=request.seed,
            **asked(request.sampling),
            start=start_of(request, self.store),
        )
