"""The asyncio client: films and images, generations, artifacts, and the single services."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

from kino.client_connections import AsyncArtifacts, Connections, typed_errors
from kino.client_editor import AsyncEditor
from kino.client_generations import AsyncGenerations, OnChange
from kino.client_personalizer import AsyncPersonalizer
from kino.client_services import AsyncAudio, AsyncEncoder, AsyncGenerator, AsyncRewriter, AsyncTae
from kino.client_specs import (
    AnimateOptions,
    EditOptions,
    FilmOptions,
    ImageOptions,
    SoundAloneOptions,
    SoundOptions,
    UpscaleOptions,
    edit_video,
    image_to_video,
    personalize_video,
    sound_for_video,
    text_to_image,
    text_to_sound,
    text_to_video,
    upscale_video,
)
from kino.client_upsampler import AsyncUpsampler
from kino.v1 import graph_pb2, graph_pb2_grpc
from kino.v1.graph_pb2 import Generation


@dataclass(frozen=True)
class Film:
    """A finished film: MP4 and contact sheet as bytes, and the generation that tells how it came about."""

    generation: Generation
    video: bytes
    contact_sheet: bytes


@dataclass(frozen=True)
class Image:
    """A finished picture: PNG as bytes, and the generation that tells how it came about."""

    generation: Generation
    png: bytes


@dataclass(frozen=True)
class Sound:
    """A finished sound, alone or in the film that it belongs to: its file as bytes, and how it came about."""

    generation: Generation
    data: bytes


class AsyncKino:
    """A client of a graph and of the services behind it; an async context manager.

    Args:
        address: `host:port` of a graph. It may be left out where only services named in `services` are called.
        services: `host:port` of single services by name; the graph tells those that are left out.
        patience_seconds: how long calls wait for a graph that has answered before and went away.
        by_links: download files from the store's own server where the graph gives links that open from here.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        services: Mapping[str, str] | None = None,
        patience_seconds: float = 30.0,
        by_links: bool = False,
    ) -> None:
        self._connections = Connections({**({"graph": address} if address else {}), **(services or {})})
        self.generations = AsyncGenerations(self._connections, patience_seconds)
        self.artifacts = AsyncArtifacts(self._connections, by_links)
        self.rewriter = AsyncRewriter(self._connections)
        self.encoder = AsyncEncoder(self._connections, self.artifacts)
        self.generator = AsyncGenerator(self._connections, self.artifacts)
        self.tae = AsyncTae(self._connections, self.artifacts)
        self.audio = AsyncAudio(self._connections, self.artifacts)
        self.editor = AsyncEditor(self._connections, self.artifacts)
        self.personalizer = AsyncPersonalizer(self._connections, self.artifacts)
        self.upsampler = AsyncUpsampler(self._connections, self.artifacts)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection; calls that still run are cancelled."""
        await self._connections.close()

    async def describe(self) -> graph_pb2.GraphServiceDescribeResponse:
        """Return the parts of the graph and what each says of itself."""
        stub = graph_pb2_grpc.GraphServiceStub(await self._connections.channel("graph"))
        with typed_errors():
            return await stub.Describe(graph_pb2.GraphServiceDescribeRequest())

    async def film(
        self, prompt: str, *, fresh: bool = False, on_change: OnChange | None = None, **options: Unpack[FilmOptions]
    ) -> Film:
        """Return a film of `prompt`; cancelling the task cancels the generation.

        Args:
            fresh: compute everything anew, even what is in the store.
            on_change: is shown the generation whenever it has moved on.

        Raises:
            kino.errors.KinoError: of the class that says why there is no film.
        """
        return await self._film(
            await self.generations.run(text_to_video(prompt, **options), fresh=fresh, on_change=on_change)
        )

    async def image(
        self, prompt: str, *, fresh: bool = False, on_change: OnChange | None = None, **options: Unpack[ImageOptions]
    ) -> Image:
        """Return a picture of `prompt`; everything else is as in `film`."""
        generation = await self.generations.run(text_to_image(prompt, **options), fresh=fresh, on_change=on_change)
        return Image(generation, await self.artifacts.of(generation, "image"))

    async def sound(
        self, *, fresh: bool = False, on_change: OnChange | None = None, **options: Unpack[SoundAloneOptions]
    ) -> Sound:
        """Return a sound of words; everything else is as in `film`."""
        generation = await self.generations.run(text_to_sound(**options), fresh=fresh, on_change=on_change)
        return Sound(generation, await self.artifacts.of(generation, "sound"))

    async def add_sound(
        self,
        video: bytes | Path,
        media_type: str = "video/mp4",
        *,
        fresh: bool = False,
        on_change: OnChange | None = None,
        **options: Unpack[SoundOptions],
    ) -> Sound:
        """Return a video file, given by its bytes or its path, as MP4 with its sound; all else is as in `film`."""
        uri = await self.artifacts.upload(video, media_type)
        spec = sound_for_video(uri, media_type, **options)
        generation = await self.generations.run(spec, fresh=fresh, on_change=on_change)
        return Sound(generation, await self.artifacts.of(generation, "film"))

    async def edit(
        self,
        video: bytes | Path,
        instruction: str,
        media_type: str = "video/mp4",
        *,
        fresh: bool = False,
        on_change: OnChange | None = None,
        **options: Unpack[EditOptions],
    ) -> Film:
        """Return a video file, given by its bytes or its path, edited as an instruction asks; all else as in `film`."""
        uri = await self.artifacts.upload(video, media_type)
        spec = edit_video(uri, media_type, instruction, **options)
        return await self._film(await self.generations.run(spec, fresh=fresh, on_change=on_change))

    async def animate(
        self,
        image: bytes | Path,
        prompt: str,
        media_type: str = "image/png",
        *,
        fresh: bool = False,
        on_change: OnChange | None = None,
        **options: Unpack[AnimateOptions],
    ) -> Film:
        """Return a film that begins with a picture, given by its bytes or its path; all else as in `film`."""
        uri = await self.artifacts.upload(image, media_type)
        spec = image_to_video(uri, media_type, prompt, **options)
        return await self._film(await self.generations.run(spec, fresh=fresh, on_change=on_change))

    async def personalize(
        self,
        image: bytes | Path,
        prompt: str,
        media_type: str = "image/png",
        *,
        fresh: bool = False,
        on_change: OnChange | None = None,
        **options: Unpack[FilmOptions],
    ) -> Film:
        """Return a film of the person of a picture, given by its bytes or its path; all else as in `film`."""
        uri = await self.artifacts.upload(image, media_type)
        spec = personalize_video(uri, media_type, prompt, **options)
        return await self._film(await self.generations.run(spec, fresh=fresh, on_change=on_change))

    async def upscale(
        self,
        video: bytes | Path,
        media_type: str = "video/mp4",
        *,
        fresh: bool = False,
        on_change: OnChange | None = None,
        **options: Unpack[UpscaleOptions],
    ) -> Film:
        """Return a video file, given by its bytes or its path, in full HD with its own sound; all else as in `film`."""
        uri = await self.artifacts.upload(video, media_type)
        spec = upscale_video(uri, media_type, **options)
        return await self._film(await self.generations.run(spec, fresh=fresh, on_change=on_change))

    async def _film(self, generation: Generation) -> Film:
        of = self.artifacts.of
        return Film(generation, await of(generation, "film"), await of(generation, "contact_sheet"))
