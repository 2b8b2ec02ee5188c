"""The client of the personalizer alone: a picture, who is in it, and latents of that person."""

from typing import Unpack

from kino.client_connections import AsyncArtifacts, Connections, typed_errors
from kino.client_services import Encoding, Latents, OnProgress, last, make_media, read_tensor
from kino.client_specs import SamplingOptions, fill, sampling
from kino.v1 import info_pb2, personalizer_pb2, personalizer_pb2_grpc


class AsyncPersonalizer:
    """Says who is in a picture, and makes latents of that person."""

    def __init__(self, connections: Connections, artifacts: AsyncArtifacts) -> None:
        self._connections, self._artifacts = connections, artifacts

    async def describe(self) -> info_pb2.Info:
        """Return which model is served and what it accepts."""
        stub = await self._stub()
        with typed_errors():
            return (await stub.Describe(personalizer_pb2.PersonalizerServiceDescribeRequest())).info

    async def identify(self, image: bytes, media_type: str = "image/png") -> personalizer_pb2.IdentifyResponse:
        """Return who is in a picture of one person, and where the face is."""
        picture = await make_media(image, media_type, self._artifacts)
        stub = await self._stub()
        with typed_errors():
            return await stub.Identify(personalizer_pb2.IdentifyRequest(image=picture))

    async def personalize(
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
        """Return latents of a video of a person, or of a picture where `frames` is 1.

        Args:
            person: as `identify` says.
            size: height and width in pixels.
        """
        request = personalizer_pb2.PersonalizeRequest(
            embeddings=encoding.response.embeddings,
            unconditional=encoding.response.unconditional,
            identity=person.identity,
            sampling=sampling(options),
        )
        height, width = size
        fill(request, {"frames": frames, "height": height, "width": width, "seed": seed})
        stub = await self._stub()
        with typed_errors():
            result = await last(stub.Personalize(request), on_progress)
        return Latents(await read_tensor(result.latents, "c t h w", self._artifacts), frames, result.latent_space)

    async def _stub(self) -> "personalizer_pb2_grpc.PersonalizerServiceAsyncStub":
        return personalizer_pb2_grpc.PersonalizerServiceStub(await self._connections.channel("personalizer"))
