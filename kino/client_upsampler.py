"""The client of the upsampler alone: small videos in, large ones out."""

from kino.client_connections import AsyncArtifacts, Connections, typed_errors
from kino.client_services import OnProgress, last, make_media
from kino.client_specs import fill
from kino.v1 import info_pb2, upsampler_pb2, upsampler_pb2_grpc


class AsyncUpsampler:
    """Brings videos to full HD."""

    def __init__(self, connections: Connections, artifacts: AsyncArtifacts) -> None:
        self._connections, self._artifacts = connections, artifacts

    async def describe(self) -> info_pb2.Info:
        """Return which model is served and what it accepts."""
        stub = await self._stub()
        with typed_errors():
            return (await stub.Describe(upsampler_pb2.UpsamplerServiceDescribeRequest())).info

    async def upsample(
        self,
        video: bytes,
        media_type: str = "video/mp4",
        *,
        size: tuple[int, int] | None = None,
        seed: int = 0,
        steps: int | None = None,
        on_progress: OnProgress | None = None,
    ) -> bytes:
        """Return a video file enlarged: FFV1 in Matroska, without sound.

        Args:
            size: height and width in pixels, which the video fills; left out for full HD of its own aspect.
            steps: denoising steps; left out for the served model's own value.
        """
        request = upsampler_pb2.UpsampleRequest(video=await make_media(video, media_type, self._artifacts))
        fill(request, {"seed": seed} | ({} if steps is None else {"steps": steps}))
        if size is not None:
            fill(request.size, {"height": size[0], "width": size[1]})
            request.size.SetInParent()
        stub = await self._stub()
        with typed_errors():
            result = await last(stub.Upsample(request), on_progress)
        large: bytes = await self._artifacts.download(result.video.uri) if result.video.uri else result.video.data
        return large

    async def _stub(self) -> "upsampler_pb2_grpc.UpsamplerServiceAsyncStub":
        return upsampler_pb2_grpc.UpsamplerServiceStub(await self._connections.channel("upsampler"))
