"""The client for people: `Kino` for plain code, `AsyncKino` for asyncio, both with the same methods.

    with Kino("127.0.0.1:7000") as kino:
        film = kino.film("a red ball bounces across a meadow", seconds=2)
        Path("film.mp4").write_bytes(film.video)

Every failed call raises a class of `kino.errors`.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

from kino.client_async import AsyncKino, Film, Image, Sound
from kino.client_connections import AsyncArtifacts, Link
from kino.client_generations import AsyncGenerations, OnChange
from kino.client_loop import Loop
from kino.client_pipeline import Pipeline
from kino.client_services import Encoding, Heard, Latents
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
from kino.client_sync import Audio, Editor, Encoder, Generator, Personalizer, Rewriter, Tae, Upsampler
from kino.v1 import graph_pb2
from kino.v1.graph_pb2 import Generation

__all__ = [
    "AsyncKino",
    "Encoding",
    "Film",
    "Heard",
    "Image",
    "Kino",
    "Latents",
    "Pipeline",
    "Sound",
    "edit_video",
    "image_to_video",
    "personalize_video",
    "sound_for_video",
    "text_to_image",
    "text_to_sound",
    "text_to_video",
    "upscale_video",
]


class Kino:
    """A client of a graph and of the services behind it; a context manager. Callbacks run in the client's own thread.

    Args:
        address: `host:port` of a graph, or `https://host` for TLS. It may be left out where only services named in
            `services` are called.
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
        self._loop = Loop()
        self._kino = AsyncKino(address, services=services, patience_seconds=patience_seconds, by_links=by_links)
        self.generations = Generations(self._loop, self._kino.generations)
        self.artifacts = Artifacts(self._loop, self._kino.artifacts)
        self.rewriter = Rewriter(self._loop, self._kino.rewriter)
        self.encoder = Encoder(self._loop, self._kino.encoder)
        self.generator = Generator(self._loop, self._kino.generator)
        self.tae = Tae(self._loop, self._kino.tae)
        self.audio = Audio(self._loop, self._kino.audio)
        self.editor = Editor(self._loop, self._kino.editor)
        self.personalizer = Personalizer(self._loop, self._kino.personalizer)
        self.upsampler = Upsampler(self._loop, self._kino.upsampler)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection; calls that still run are cancelled."""
        self._loop.run(self._kino.close())
        self._loop.close()

    def describe(self) -> graph_pb2.GraphServiceDescribeResponse:
        """Return the parts of the graph and what each says of itself."""
        return self._loop.run(self._kino.describe())

    def film(
        self, prompt: str, *, fresh: bool = False, on_change: OnChange | None = None, **options: Unpack[FilmOptions]
    ) -> Film:
        """Return a film of `prompt`; Ctrl-C cancels the generation. See `AsyncKino.film`."""
        return self._loop.run(self._kino.film(prompt, fresh=fresh, on_change=on_change, **options))

    def image(
        self, prompt: str, *, fresh: bool = False, on_change: OnChange | None = None, **options: Unpack[ImageOptions]
    ) -> Image:
        """Return a picture of `prompt`; Ctrl-C cancels the generation. See `AsyncKino.image`."""
        return self._loop.run(self._kino.image(prompt, fresh=fresh, on_change=on_change, **options))

    def sound(
        self, *, fresh: bool = False, on_change: OnChange | None = None, **options: Unpack[SoundAloneOptions]
    ) -> Sound:
        """Return a sound of words; Ctrl-C cancels the generation. See `AsyncKino.sound`."""
        return self._loop.run(self._kino.sound(fresh=fresh, on_change=on_change, **options))

    def add_sound(
        self,
        video: bytes | Path,
        media_type: str = "video/mp4",
        *,
        fresh: bool = False,
        on_change: OnChange | None = None,
        **options: Unpack[SoundOptions],
    ) -> Sound:
        """Return a video file as MP4 with its sound; Ctrl-C cancels the generation. See `AsyncKino.add_sound`."""
        made = self._kino.add_sound(video, media_type, fresh=fresh, on_change=on_change, **options)
        return self._loop.run(made)

    def edit(
        self,
        video: bytes | Path,
        instruction: str,
        media_type: str = "video/mp4",
        *,
        fresh: bool = False,
        on_change: OnChange | None = None,
        **options: Unpack[EditOptions],
    ) -> Film:
        """Return a video file, edited as an instruction asks; Ctrl-C cancels the generation. See `AsyncKino.edit`."""
        made = self._kino.edit(video, instruction, media_type, fresh=fresh, on_change=on_change, **options)
        return self._loop.run(made)

    def animate(
        self,
        image: bytes | Path,
        prompt: str,
        media_type: str = "image/png",
        *,
        fresh: bool = False,
        on_change: OnChange | None = None,
        **options: Unpack[AnimateOptions],
    ) -> Film:
        """Return a film that begins with a picture; Ctrl-C cancels the generation. See `AsyncKino.animate`."""
        made = self._kino.animate(image, prompt, media_type, fresh=fresh, on_change=on_change, **options)
        return self._loop.run(made)

    def personalize(
        self,
        image: bytes | Path,
        prompt: str,
        media_type: str = "image/png",
        *,
        fresh: bool = False,
        on_change: OnChange | None = None,
        **options: Unpack[FilmOptions],
    ) -> Film:
        """Return a film of the person of a picture; Ctrl-C cancels the generation. See `AsyncKino.personalize`."""
        made = self._kino.personalize(image, prompt, media_type, fresh=fresh, on_change=on_change, **options)
        return self._loop.run(made)

    def upscale(
        self,
        video: bytes | Path,
        media_type: str = "video/mp4",
        *,
        fresh: bool = False,
        on_change: OnChange | None = None,
        **options: Unpack[UpscaleOptions],
    ) -> Film:
        """Return a video file in full HD; Ctrl-C cancels the generation. See `AsyncKino.upscale`."""
        return self._loop.run(self._kino.upscale(video, media_type, fresh=fresh, on_change=on_change, **options))


class Generations:
    """What a graph was asked for and what became of it; see `AsyncGenerations`."""

    def __init__(self, loop: Loop, inner: AsyncGenerations) -> None:
        self._loop, self._inner = loop, inner

    def create(
        self, spec: graph_pb2.GenerationSpec, *, idempotency_key: str | None = None, fresh: bool = False
    ) -> Generation:
        """Return the accepted generation; the same key and spec return the same one again."""
        return self._loop.run(self._inner.create(spec, idempotency_key=idempotency_key, fresh=fresh))

    def get(self, id: str) -> Generation:
        """Return one generation, with its record once it has succeeded."""
        return self._loop.run(self._inner.get(id))

    def list(
        self, *, states: Sequence[graph_pb2.GenerationState.ValueType] = (), page_size: int = 0
    ) -> Iterator[Generation]:
        """Yield the generations in one of `states`, or all of them, newest first."""
        return self._loop.iterate(self._inner.list(states=states, page_size=page_size))

    def watch(self, id: str, *, after_sequence: int = 0) -> Iterator[Generation]:
        """Yield the generation after each change, until it has ended; a broken stream is taken up where it broke."""
        return self._loop.iterate(self._inner.watch(id, after_sequence=after_sequence))

    def cancel(self, id: str) -> Generation:
        """Cancel a generation down to the sampler and return it as it ended."""
        return self._loop.run(self._inner.cancel(id))

    def delete(self, id: str) -> None:
        """Forget a generation that has ended."""
        self._loop.run(self._inner.delete(id))

    def run(
        self, spec: graph_pb2.GenerationSpec, *, fresh: bool = False, on_change: OnChange | None = None
    ) -> Generation:
        """Create a generation, follow it to its end and return it with its record; raises what it failed with."""
        return self._loop.run(self._inner.run(spec, fresh=fresh, on_change=on_change))


class Artifacts:
    """The files of a graph's store; see `AsyncArtifacts`."""

    def __init__(self, loop: Loop, inner: AsyncArtifacts) -> None:
        self._loop, self._inner = loop, inner

    def upload(self, data: bytes | Path, media_type: str) -> str:
        """Store a file, given by its bytes or its path, for example as "video/mp4", and return its uri."""
        return self._loop.run(self._inner.upload(data, media_type))

    def download(self, uri: str) -> bytes:
        """Return the bytes of a file; raises `DataLossError` where they are not those that the uri names."""
        return self._loop.run(self._inner.download(uri))

    def link(self, uri: str, seconds: int = 3600) -> Link:
        """Return a link by which anyone may download a file for so long; see `AsyncArtifacts.link`."""
        return self._loop.run(self._inner.link(uri, seconds))

    def of(self, generation: Generation, name: str) -> bytes:
        """Return the bytes of an artifact of a generation, by the name of the pipeline's output."""
        return self._loop.run(self._inner.of(generation, name))
