"""Small services over real loopback gRPC: sums in place of networks, and hooks to make them slow, full or dead."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kino import wire
from kino.errors import KinoError
from kino.media import write_video
from kino.rpc import Server
from kino.store import Store
from kino.v1 import (
    encoder_pb2,
    encoder_pb2_grpc,
    generator_pb2,
    generator_pb2_grpc,
    info_pb2,
    progress_pb2,
    rewriter_pb2,
    rewriter_pb2_grpc,
    tae_pb2,
    tae_pb2_grpc,
    tensor_pb2,
)

HEIGHT, WIDTH, FRAMES, FPS, STEPS = 32, 48, 5, 16, 20
CHECKPOINT_STEPS = 2  # what the generator does in the seconds between two checkpoints
SPACE = "a" * 64
TEXT_SPACE = info_pb2.TextSpace(tower="ul2", digest="b" * 64, width=2, max_tokens=8)


@dataclass
class Behaviour:
    """What the fakes do and have seen.

    Args:
        failures: raised by the next calls of a component, one each.
        fail_at: steps at which the generator's next calls fail, one each.
        gate: the generator waits for it before each step after the first.
        step_seconds: how long each step of the generator takes.
        fallback_reason: why the rewriter's stand-in writes; empty while it writes itself.
    """

    calls: list[str] = field(default_factory=list)
    requests: list[generator_pb2.GenerateRequest] = field(default_factory=list)
    steps: list[int] = field(default_factory=list)
    running: int = 0
    cancelled: int = 0
    failures: dict[str, list[KinoError]] = field(default_factory=dict)
    fail_at: list[tuple[int, KinoError]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    step_seconds: float = 0.0
    fallback_reason: str = ""
    latent_space: str = SPACE
    model_digest: str = "c" * 64

    def __post_init__(self) -> None:
        self.gate.set()

    def called(self, name: str) -> None:
        self.calls.append(name)
        failures = self.failures.get(name)
        if failures:
            raise failures.pop(0)


def info(component: str, **fields: Any) -> info_pb2.Info:
    return info_pb2.Info(component=component, version="fake", digest="d" * 64, preset="fake", ready=True, **fields)


def latents_of(request: generator_pb2.GenerateRequest, step: int, x_t: NDArray[np.float32]) -> NDArray[np.float32]:
    return (x_t * np.float32(0.75) + np.float32(step) / np.float32(request.sampling.steps)).astype(np.float32)


class Rewriter(rewriter_pb2_grpc.RewriterServiceServicer):
    def __init__(self, behaviour: Behaviour) -> None:
        self.behaviour = behaviour

    async def Describe(self, request: Any, context: Any) -> rewriter_pb2.RewriterServiceDescribeResponse:
        limits = info_pb2.Limits(prompt_bytes=info_pb2.IntRange(minimum=1, maximum=100))
        return rewriter_pb2.RewriterServiceDescribeResponse(info=info("rewriter", limits=limits))

    async def Rewrite(self, request: rewriter_pb2.RewriteRequest, context: Any) -> rewriter_pb2.RewriteResponse:
        self.behaviour.called("rewrite")
        lost = rewriter_pb2.Substitution(asked="elephant", drawn="cat", reason="no elephants here: drew a cat")
        reason = self.behaviour.fallback_reason
        written = f"{request.prompt} in {'the snow' if reason else 'a meadow'}"
        return rewriter_pb2.RewriteResponse(prompt=written, substitutions=[lost], fallback_reason=reason)


class Encoder(encoder_pb2_grpc.EncoderServiceServicer):
    def __init__(self, behaviour: Behaviour, store: Store) -> None:
        self.behaviour, self.store = behaviour, store

    async def Describe(self, request: Any, context: Any) -> encoder_pb2.EncoderServiceDescribeResponse:
        limits = info_pb2.Limits(fps=info_pb2.FloatRange(minimum=1, maximum=60))
        return encoder_pb2.EncoderServiceDescribeResponse(info=info("encoder", text_spaces=[TEXT_SPACE], limits=limits))

    async def Encode(self, request: encoder_pb2.EncodeRequest, context: Any) -> encoder_pb2.EncodeResponse:
        self.behaviour.called("encode")
        made = [self._embedding(text, request.delivery) for text in (request.prompt, request.negative_prompt)]
        return encoder_pb2.EncodeResponse(embeddings=made[:1], unconditional=made[1:])

    def _embedding(self, text: str, delivery: tensor_pb2.Delivery.ValueType) -> encoder_pb2.Embedding:
        values = np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8).astype(np.float32).reshape(16, 2)
        tensor = wire.encode(values, delivery=delivery, store=self.store)
        return encoder_pb2.Embedding(tower="ul2", embeddings=tensor, text_space=TEXT_SPACE.digest)


class Generator(generator_pb2_grpc.GeneratorServiceServicer):
    def __init__(self, behaviour: Behaviour, store: Store) -> None:
        self.behaviour, self.store = behaviour, store

    async def Describe(self, request: Any, context: Any) -> generator_pb2.GeneratorServiceDescribeResponse:
        def whole(minimum: int, maximum: int, default: int) -> info_pb2.IntRange:
            return info_pb2.IntRange(minimum=minimum, maximum=maximum, default_value=default)

        sizes = {"3:2": info_pb2.Size(height=HEIGHT, width=WIDTH), "1:1": info_pb2.Size(height=32, width=32)}
        limits = info_pb2.Limits(
            frames=whole(1, 48, FRAMES),
            height=whole(16, 64, HEIGHT),
            width=whole(16, 64, WIDTH),
            size_multiple=16,
            aspects=[info_pb2.AspectSize(aspect=aspect, size=size) for aspect, size in sizes.items()],
            steps=whole(1, 100, STEPS),
            linear_steps=whole(1, 1000, 250),
            guidance=info_pb2.FloatRange(minimum=1, maximum=20, default_value=4),
        )
        space = info_pb2.LatentSpace(digest=SPACE, channels=3, temporal_factor=8, spatial_factor=8)
        described = info("generator", limits=limits, latent_space=space, text_spaces=[TEXT_SPACE])
        described.digest = self.behaviour.model_digest
        return generator_pb2.GeneratorServiceDescribeResponse(info=described)

    async def Generate(
        self, request: generator_pb2.GenerateRequest, context: Any
    ) -> AsyncIterator[generator_pb2.GenerateResponse]:
        self.behaviour.requests.append(request)
        self.behaviour.running += 1
        try:
            self.behaviour.called("generate")
            fail = self.behaviour.fail_at.pop(0) if self.behaviour.fail_at else None
            async for response in self._steps(request, fail):
                yield response
        except asyncio.CancelledError:
            self.behaviour.cancelled += 1
            raise
        finally:
            self.behaviour.running -= 1

    async def _steps(
        self, request: generator_pb2.GenerateRequest, fail: tuple[int, KinoError] | None
    ) -> AsyncIterator[generator_pb2.GenerateResponse]:
        waiting = progress_pb2.Progress(phase=progress_pb2.PHASE_QUEUED)
        yield generator_pb2.GenerateResponse(progress=waiting)
        of, first = request.sampling.steps, 0
        rng = np.random.default_rng(request.seed)
        text = wire.decode(request.embeddings[0].embeddings, "embeddings", "n d", store=self.store)
        x_t = rng.random((3, -(-request.frames // 8), request.height // 8, request.width // 8), np.float32)
        x_t = x_t + text.mean(dtype=np.float32) / np.float32(256)
        if request.HasField("resume_from"):
            first = request.resume_from.step
            x_t = wire.decode(request.resume_from.x_t, "resume_from.x_t", "3 t h w", store=self.store)
        for step in range(first + 1, of + 1):
            if step > 1:
                await self.behaviour.gate.wait()
            await asyncio.sleep(self.behaviour.step_seconds)
            if fail is not None and step == fail[0]:
                raise fail[1]
            x_t = latents_of(request, step, x_t)
            self.behaviour.steps.append(step)
            progress = progress_pb2.Progress(phase=progress_pb2.PHASE_RUNNING, step=step, of=of)
            yield generator_pb2.GenerateResponse(progress=progress)
            every = request.checkpoint_every or (CHECKPOINT_STEPS if request.checkpoint_seconds else of)
            if step % every == 0 and step < of:
                tensor = wire.encode(x_t, delivery=request.delivery, store=self.store)
                checkpoint = generator_pb2.Checkpoint(step=step, of=of, x_t=tensor)
                yield generator_pb2.GenerateResponse(checkpoint=checkpoint)
        tensor = wire.encode(x_t, delivery=request.delivery, store=self.store)
        result = generator_pb2.GenerateResult(
            latents=tensor, latent_space=SPACE, model_digest=self.behaviour.model_digest
        )
        yield generator_pb2.GenerateResponse(result=result)


class Tae(tae_pb2_grpc.TaeServiceServicer):
    def __init__(self, behaviour: Behaviour, store: Store) -> None:
        self.behaviour, self.store = behaviour, store

    async def Describe(self, request: Any, context: Any) -> tae_pb2.TaeServiceDescribeResponse:
        space = info_pb2.LatentSpace(
            digest=self.behaviour.latent_space, channels=3, temporal_factor=8, spatial_factor=8
        )
        limits = info_pb2.Limits(fps=info_pb2.FloatRange(minimum=1, maximum=60, default_value=FPS))
        return tae_pb2.TaeServiceDescribeResponse(info=info("tae", latent_space=space, limits=limits))

    async def Decode(
        self, request: tae_pb2.TaeServiceDecodeRequest, context: Any
    ) -> AsyncIterator[tae_pb2.TaeServiceDecodeResponse]:
        self.behaviour.called("decode")
        latents = wire.decode(request.latents, "latents", "3 t h w", store=self.store)
        pixels = (np.clip(latents / 4, 0, 1) * 255).astype(np.uint8)
        frames = pixels.repeat(8, 1).repeat(8, 2).repeat(8, 3).transpose(1, 2, 3, 0)[: request.frames]
        frames = frames + np.arange(len(frames), dtype=np.uint8)[:, None, None, None]
        progress = progress_pb2.Progress(phase=progress_pb2.PHASE_RUNNING, step=1, of=1)
        yield tae_pb2.TaeServiceDecodeResponse(progress=progress)
        with TemporaryDirectory() as folder:
            path = Path(folder) / "video.mkv"
            write_video(path, frames, int(request.fps) or 1, "ffv1")
            video = wire.make_media(path, "video/matroska", delivery=request.delivery, store=self.store)
        yield tae_pb2.TaeServiceDecodeResponse(result=tae_pb2.TaeServiceDecodeResult(video=video))

    async def Encode(
        self, request: tae_pb2.TaeServiceEncodeRequest, context: Any
    ) -> AsyncIterator[tae_pb2.TaeServiceEncodeResponse]:
        self.behaviour.called("encode video")
        frames = wire.decode(request.frames, "frames", "t h w 3", dtypes=(tensor_pb2.DTYPE_UINT8,), store=self.store)
        latents = frames[::8, ::8, ::8].transpose(3, 0, 1, 2).astype(np.float32) / 64
        tensor = wire.encode(latents, delivery=request.delivery, store=self.store)
        result = tae_pb2.TaeServiceEncodeResult(latents=tensor, latent_space=SPACE, frames=len(frames))
        yield tae_pb2.TaeServiceEncodeResponse(result=result)


class Services:
    """All four fakes, one server each."""

    def __init__(self, store: Store) -> None:
        self.behaviour = Behaviour()
        self.store = store
        self._servers: dict[str, Server] = {}
        self.addresses: dict[str, str] = {}

    async def start(self, *names: str) -> None:
        servicers: dict[str, tuple[Any, Any]] = {
            "rewriter": (Rewriter(self.behaviour), rewriter_pb2_grpc.add_RewriterServiceServicer_to_server),
            "encoder": (Encoder(self.behaviour, self.store), encoder_pb2_grpc.add_EncoderServiceServicer_to_server),
            "generator": (
                Generator(self.behaviour, self.store),
                generator_pb2_grpc.add_GeneratorServiceServicer_to_server,
            ),
            "tae": (Tae(self.behaviour, self.store), tae_pb2_grpc.add_TaeServiceServicer_to_server),
        }
        for name in names or servicers:
            port = int(self.addresses[name].rpartition(":")[2]) if name in self.addresses else 0
            server = self._servers[name] = Server(port=port)
            server.add(*servicers[name], f"kino.v1.{name.title()}Service")
            self.addresses[name] = f"127.0.0.1:{await server.start()}"
            await server.ready(True)

    async def stop(self, *names: str) -> None:
        for name in names or tuple(self._servers):
            await self._servers.pop(name).stop()
