"""The single services for plain code: the clients of `kino.client_services`, each call run to its end."""

from collections.abc import Sequence
from typing import Unpack

import numpy as np
from numpy.typing import NDArray

from kino.client_editor import AsyncEditor
from kino.client_loop import Loop
from kino.client_personalizer import AsyncPersonalizer
from kino.client_services import (
    AsyncAudio,
    AsyncEncoder,
    AsyncGenerator,
    AsyncRewriter,
    AsyncTae,
    Encoding,
    Heard,
    Latents,
    OnProgress,
)
from kino.client_specs import SamplingOptions, SoundOptions
from kino.client_upsampler import AsyncUpsampler
from kino.v1 import editor_pb2, info_pb2, personalizer_pb2, rewriter_pb2


class Rewriter:
    """Turns what people type into what the generator was trained on."""

    def __init__(self, loop: Loop, inner: AsyncRewriter) -> None:
        self._loop, self._inner = loop, inner

    def describe(self) -> info_pb2.Info:
        """Return which model is served and what it accepts."""
        return self._loop.run(self._inner.describe())

    def rewrite(self, prompt: str, *, seed: int = 0) -> rewriter_pb2.RewriteResponse:
        """Return the rewritten prompt, what it keeps and what it could not keep."""
        return self._loop.run(self._inner.rewrite(prompt, seed=seed))


class Encoder:
    """Encodes text with several towers at once."""

    def __init__(self, loop: Loop, inner: AsyncEncoder) -> None:
        self._loop, self._inner = loop, inner

    def describe(self) -> info_pb2.Info:
        """Return which model is served and what it accepts."""
        return self._loop.run(self._inner.describe())

    def encode(
        self, prompt: str, *, negative_prompt: str = "", fps: int | None = None, towers: Sequence[str] = ()
    ) -> Encoding:
        """Return the embeddings of a prompt by the named towers, or by all of them. See `AsyncEncoder.encode`."""
        return self._loop.run(self._inner.encode(prompt, negative_prompt=negative_prompt, fps=fps, towers=towers))


class Generator:
    """Denoises latents under the guidance of text."""

    def __init__(self, loop: Loop, inner: AsyncGenerator) -> None:
        self._loop, self._inner = loop, inner

    def describe(self) -> info_pb2.Info:
        """Return which model is served and what it accepts."""
        return self._loop.run(self._inner.describe())

    def generate(
        self,
        encoding: Encoding,
        *,
        frames: int,
        size: tuple[int, int],
        seed: int = 0,
        on_progress: OnProgress | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Latents:
        """Return the latents of `frames` frames (1 is an image) of `size`, height and width in pixels."""
        return self._loop.run(
            self._inner.generate(encoding, frames=frames, size=size, seed=seed, on_progress=on_progress, **options)
        )


class Tae:
    """Turns video into latents and back; an image is a video of one frame."""

    def __init__(self, loop: Loop, inner: AsyncTae) -> None:
        self._loop, self._inner = loop, inner

    def describe(self) -> info_pb2.Info:
        """Return which model is served and what it accepts."""
        return self._loop.run(self._inner.describe())

    def encode(self, frames: NDArray[np.uint8], *, on_progress: OnProgress | None = None) -> Latents:
        """Return the latents of RGB frames [t h w 3]."""
        return self._loop.run(self._inner.encode(frames, on_progress=on_progress))

    def decode(self, latents: Latents, *, on_progress: OnProgress | None = None) -> NDArray[np.uint8]:
        """Return the RGB frames [t h w 3] of latents that lie in this TAE's space."""
        return self._loop.run(self._inner.decode(latents, on_progress=on_progress))


class Audio:
    """Makes the sound of videos and of words."""

    def __init__(self, loop: Loop, inner: AsyncAudio) -> None:
        self._loop, self._inner = loop, inner

    def describe(self) -> info_pb2.Info:
        """Return which model is served and what it accepts."""
        return self._loop.run(self._inner.describe())

    def generate(
        self,
        video: bytes | None = None,
        *,
        seconds: float | None = None,
        quality: float | None = None,
        context: bytes | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[SoundOptions],
    ) -> Heard:
        """Return the sound of a video file, or of words, `seconds` long. See `AsyncAudio.generate`."""
        heard = self._inner.generate(
            video, seconds=seconds, quality=quality, context=context, on_progress=on_progress, **options
        )
        return self._loop.run(heard)


class Editor:
    """Edits latents as an instruction asks, and brings pictures to life."""

    def __init__(self, loop: Loop, inner: AsyncEditor) -> None:
        self._loop, self._inner = loop, inner

    def describe(self) -> info_pb2.Info:
        """Return which model is served and what it accepts."""
        return self._loop.run(self._inner.describe())

    def interpret(self, instruction: str) -> editor_pb2.InterpretResponse:
        """Return what an instruction asks for, and its plain wording, which the encoder is best given."""
        return self._loop.run(self._inner.interpret(instruction))

    def edit(
        self,
        encoding: Encoding,
        source: Latents,
        task: "editor_pb2.EditTask.ValueType",
        *,
        frames: int | None = None,
        seed: int = 0,
        source_guidance: float | None = None,
        on_progress: OnProgress | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Latents:
        """Return the latents of an edited video, or of one that begins with a picture. See `AsyncEditor.edit`."""
        return self._loop.run(
            self._inner.edit(
                encoding,
                source,
                task,
                frames=frames,
                seed=seed,
                source_guidance=source_guidance,
                on_progress=on_progress,
                **options,
            )
        )


class Personalizer:
    """Says who is in a picture, and makes latents of that person."""

    def __init__(self, loop: Loop, inner: AsyncPersonalizer) -> None:
        self._loop, self._inner = loop, inner

    def describe(self) -> info_pb2.Info:
        """Return which model is served and what it accepts."""
        return self._loop.run(self._inner.describe())

    def identify(self, image: bytes, media_type: str = "image/png") -> personalizer_pb2.IdentifyResponse:
        """Return who is in a picture of one person, and where the face is."""
        return self._loop.run(self._inner.identify(image, media_type))

    def personalize(
        self,
        encoding: Encoding,
        person: personalizer_pb2.IdentifyResponse,
        *,
        frames: int,
        size: tuple[int, int],
        seed: int = 0,
        on_progress: OnProgress | None = None,
        **options: Unpack[SamplingOptions],
    ) -> Latents:
        """Return latents of a video of a person. See `AsyncPersonalizer.personalize`."""
        made = self._inner.personalize(
            encoding, person, frames=frames, size=size, seed=seed, on_progress=on_progress, **options
        )
        return self._loop.run(made)


class Upsampler:
    """Brings videos to full HD."""

    def __init__(self, loop: Loop, inner: AsyncUpsampler) -> None:
        self._loop, self._inner = loop, inner

    def describe(self) -> info_pb2.Info:
        """Return which model is served and what it accepts."""
        return self._loop.run(self._inner.describe())

    def upsample(
        self,
        video: bytes,
        media_type: str = "video/mp4",
        *,
        size: tuple[int, int] | None = None,
        seed: int = 0,
        steps: int | None = None,
        on_progress: OnProgress | None = None,
    ) -> bytes:
        """Return a video file enlarged: FFV1 in Matroska, without sound. See `AsyncUpsampler.upsample`."""
        made = self._inner.upsample(video, media_type, size=size, seed=seed, steps=steps, on_progress=on_progress)
        return self._loop.run(made)
