"""Clients of the single services: numpy arrays and plain values in and out."""

from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from kino import wire
from kino.client_connections import AsyncArtifacts, Connections, typed_errors
from kino.client_specs import SamplingOptions, SoundOptions, adapters_of, fill, sampling
from kino.errors import InternalError
from kino.v1 import (
    audio_pb2,
    audio_pb2_grpc,
    encoder_pb2,
    encoder_pb2_grpc,
    generator_pb2,
    generator_pb2_grpc,
    info_pb2,
    media_pb2,
    progress_pb2,
    rewriter_pb2,
    rewriter_pb2_grpc,
    tae_pb2,
    tae_pb2_grpc,
    tensor_pb2,
)

OnProgress = Callable[[progress_pb2.Progress], None]


@dataclass(frozen=True)
class Encoding:
    """An encoded prompt: per tower, embeddings [n d] of the prompt and of what guidance moves away from."""

    embeddings: Mapping[str, NDArray[np.float32]]
    unconditional: Mapping[str, NDArray[np.float32]]
    response: encoder_pb2.EncodeResponse


@dataclass(frozen=True)
class Latents:
    """Normalised latents [c t h w] of a video of so many frames, and the digest of the space they lie in."""

    values: NDArray[np.float32]
    frames: int
    space: str


@dataclass(frozen=True)
class Heard:
    """A sound: a WAV file of 32-bit floats at 48 kHz, and what was measured on it."""

    wav: bytes
    figures: audio_pb2.SoundFigures


class AsyncRewriter:
    """Turns what people type into what the generator was trained on."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def describe(self) -> info_pb2.Info:
        """Return which model is served and what it accepts."""
        stub = await self._stub()
        with typed_errors():
            return (await stub.Describe(rewriter_pb2.RewriterServiceDescribeRequest())).info

    async def rewrite(self, prompt: str, *, seed: int = 0) -> rewriter_pb2.RewriteResponse:
        """Return the rewritten prompt, what it keeps and what it could not keep."""
        request = fill(rewriter_pb2.RewriteRequest(), {"prompt": prompt, "seed": seed})
        stub = await self._stub()
        with typed_errors():
            return await stub.Rewrite(request)

    async def _stub(self) -> "rewriter_pb2_grpc.RewriterServiceAsyncStub":
        return rewriter_pb2_grpc.RewriterServiceStub(await self._connections.channel("rewriter"))


class AsyncEncoder:
    """Encodes text with several towers at once."""

    def __init__(self, connections: Connections, artifacts: AsyncArtifacts) -> None:
        self._connections, self._artifacts = connections, artifacts

    async def describe(self) -> info_pb2.Info:
        """Return which model is served and what it accepts."""
        stub = await self._stub()
        with typed_errors():
            return (await stub.Describe(encoder_pb2.EncoderServiceDescribeRequest())).info

    async def encode(
        self, prompt: str, *, negative_prompt: str = "", fps: int | None = None, towers: Sequence[str] = ()
    ) -> Encoding:
        """Return the embeddings of a prompt by the named towers, or by all of them.

        Args:
            negative_prompt: what guidance moves away from; empty for the generator's unconditional text.
            fps: frames per second that the text states before the prompt.
            towers: for example "ul2", "byt5", "metaclip".
        """
        request = encoder_pb2.EncodeRequest(towers=towers)
        fill(request, {"prompt": prompt, "negative_prompt": negative_prompt})
        if fps is not None:
            fill(request, {"fps": fps})
        stub = await self._stub()
        with typed_errors():
            response = await stub.Encode(request)
        return Encoding(await self._arrays(response.embeddings), await self._arrays(response.unconditional), response)

    async def _arrays(self, embeddings: Iterable[encoder_pb2.Embedding]) -> dict[str, NDArray[Any]]:
        return {entry.tower: await read_tensor(entry.embeddings, "n d", self._artifacts) for entry in embeddings}

    async def _stub(self) -> "encoder_pb2_grpc.EncoderServiceAsyncStub":
        return encoder_pb2_grpc.EncoderServiceStub(await self._connections.channel("encoder"))


class AsyncGenerator:
    """Denoises latents under the guidance of text."""

    def __init__(self, connections: Connections, artifacts: AsyncArtifacts) -> None:
        self._connections, self._artifacts = connections, artifacts

    async def describe(self) -> info_pb2.Info:
        """Return which model is served and what it accepts."""
        stub = await self._stub()
        with typed_errors():
            return (await stub.Describe(generator_pb2.GeneratorServiceDescribeRequest())).info

    async def generate(
        self,
        encoding: Encoding,
        *,
        frames: int,
        size: tuple[int, int],
        seed: int = 0,
        adapters: Mapping[str, float] | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Latents:
        """Return the latents of `frames` frames (1 is an image) of `size`, height and width in pixels.

        Args:
            adapters: what changes the model for this call alone: its weight by the adapter's name, in this order.
        """
        request = generator_pb2.GenerateRequest(
            embeddings=encoding.response.embeddings,
            unconditional=encoding.response.unconditional,
            sampling=sampling(options),
            adapters=adapters_of({"adapters": adapters or {}}),
        )
        fill(request, {"frames": frames, "height": size[0], "width": size[1], "seed": seed})
        stub = await self._stub()
        with typed_errors():
            result = await last(stub.Generate(request), on_progress)
        return Latents(await read_tensor(result.latents, "c t h w", self._artifacts), frames, result.latent_space)

    async def _stub(self) -> "generator_pb2_grpc.GeneratorServiceAsyncStub":
        return generator_pb2_grpc.GeneratorServiceStub(await self._connections.channel("generator"))


class AsyncTae:
    """Turns video into latents and back; an image is a video of one frame."""

    def __init__(self, connections: Connections, artifacts: AsyncArtifacts) -> None:
        self._connections, self._artifacts = connections, artifacts

    async def describe(self) -> info_pb2.Info:
        """Return which model is served and what it accepts."""
        stub = await self._stub()
        with typed_errors():
            return (await stub.Describe(tae_pb2.TaeServiceDescribeRequest())).info

    async def encode(self, frames: NDArray[np.uint8], *, on_progress: OnProgress | None = None) -> Latents:
        """Return the latents of RGB frames [t h w 3]."""
        request = tae_pb2.TaeServiceEncodeRequest(frames=await make_tensor(frames, self._artifacts))
        stub = await self._stub()
        with typed_errors():
            result = await last(stub.Encode(request), on_progress)
        return Latents(
            await read_tensor(result.latents, "c t h w", self._artifacts), result.frames, result.latent_space
        )

    async def decode(self, latents: Latents, *, on_progress: OnProgress | None = None) -> NDArray[np.uint8]:
        """Return the RGB frames [t h w 3] of latents that lie in this TAE's space."""
        request = tae_pb2.TaeServiceDecodeRequest(
            latents=await make_tensor(latents.values, self._artifacts),
            latent_space=latents.space,
            frames=latents.frames,
            output=tae_pb2.DECODE_OUTPUT_FRAMES,
        )
        stub = await self._stub()
        with typed_errors():
            result = await last(stub.Decode(request), on_progress)
        return await read_tensor(result.frames, "t h w 3", self._artifacts)

    async def _stub(self) -> "tae_pb2_grpc.TaeServiceAsyncStub":
        return tae_pb2_grpc.TaeServiceStub(await self._connections.channel("tae"))


class AsyncAudio:
    """Makes the sound of videos and of words."""

    def __init__(self, connections: Connections, artifacts: AsyncArtifacts) -> None:
        self._connections, self._artifacts = connections, artifacts

    async def describe(self) -> info_pb2.Info:
        """Return which model is served and what it accepts."""
        stub = await self._stub()
        with typed_errors():
            return (await stub.Describe(audio_pb2.AudioServiceDescribeRequest())).info

    async def generate(
        self,
        video: bytes | None = None,
        *,
        seconds: float | None = None,
        quality: float | None = None,
        context: bytes | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[SoundOptions],
    ) -> Heard:
        """Return the sound of a video file, or of words, `seconds` long.

        Args:
            quality: that the caption asks for, 1 to 10.
            context: a file of sound that the made one begins with and goes on from.
        """
        request = audio_pb2.AudioServiceGenerateRequest(sampling=sampling(options))
        given: dict[str, Any] = {"seconds": seconds, "quality": quality}
        given |= {name: value for name, value in options.items() if name not in SamplingOptions.__annotations__}
        fill(request, {name: value for name, value in given.items() if value is not None})
        for field, data, media_type in (("video", video, "video/mp4"), ("context", context, "audio/wav")):
            if data is not None:
                getattr(request, field).CopyFrom(await make_media(data, media_type, self._artifacts))
        stub = await self._stub()
        with typed_errors():
            result = await last(stub.Generate(request), on_progress)
        wav = await self._artifacts.download(result.sound.uri) if result.sound.uri else result.sound.data
        return Heard(wav, result.figures)

    async def _stub(self) -> "audio_pb2_grpc.AudioServiceAsyncStub":
        return audio_pb2_grpc.AudioServiceStub(await self._connections.channel("audio"))


async def last(events: AsyncIterable[Any], on_progress: OnProgress | None) -> Any:
    """Return the result that ends a stream of events, and show the progress in it to `on_progress`."""
    async for event in events:
        match event.WhichOneof("event"):
            case "progress" if on_progress is not None:
                on_progress(event.progress)
            case "result":
                return event.result
    raise InternalError("the service ended its answer without a result")


async def read_tensor(tensor: tensor_pb2.Tensor, axes: str, artifacts: AsyncArtifacts) -> NDArray[Any]:
    """Return the array of an answer's tensor; what was too large for a message is downloaded."""
    if tensor.WhichOneof("content") == "uri":
        data = await artifacts.download(tensor.uri)
        tensor = tensor_pb2.Tensor(dtype=tensor.dtype, shape=tensor.shape, data=data)
    return wire.decode(tensor, "tensor", axes, dtypes=(tensor.dtype,))


async def make_media(data: bytes, media_type: str, artifacts: AsyncArtifacts) -> media_pb2.Media:
    """Return a file as the medium of a request; what is too large for a message is uploaded first."""
    if len(data) <= wire.INLINE_BYTES:
        return media_pb2.Media(media_type=media_type, data=data)
    return media_pb2.Media(media_type=media_type, uri=await artifacts.upload(data, media_type))


async def make_tensor(array: NDArray[Any], artifacts: AsyncArtifacts) -> tensor_pb2.Tensor:
    """Return an array as the tensor of a request; what is too large for a message is uploaded first."""
    if array.nbytes <= wire.INLINE_BYTES:
        return wire.encode(array)
    tensor = wire.encode(array[:0])
    uri = await artifacts.upload(np.ascontiguousarray(array).tobytes(), "application/octet-stream")
    return tensor_pb2.Tensor(dtype=tensor.dtype, shape=array.shape, uri=uri)
