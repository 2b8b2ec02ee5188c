"""The client of the editor alone: latents in and out."""

from typing import Unpack

from kino.client_connections import AsyncArtifacts, Connections, typed_errors
from kino.client_services import Encoding, Latents, OnProgress, last, make_tensor, read_tensor
from kino.client_specs import SamplingOptions, fill, sampling
from kino.v1 import editor_pb2, editor_pb2_grpc, info_pb2


class AsyncEditor:
    """Edits latents as an instruction asks, and brings pictures to life."""

    def __init__(self, connections: Connections, artifacts: AsyncArtifacts) -> None:
        self._connections, self._artifacts = connections, artifacts

    async def describe(self) -> info_pb2.Info:
        """Return which model is served and what it accepts."""
        stub = await self._stub()
        with typed_errors():
            return (await stub.Describe(editor_pb2.EditorServiceDescribeRequest())).info

    async def interpret(self, instruction: str) -> editor_pb2.InterpretResponse:
        """Return what an instruction asks for, and its plain wording, which the encoder is best given."""
        request = fill(editor_pb2.InterpretRequest(), {"instruction": instruction})
        stub = await self._stub()
        with typed_errors():
            return await stub.Interpret(request)

    async def edit(
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
        """Return the latents of an edited video, or of one that begins with a picture.

        Args:
            encoding: of the plain wording of the instruction, or of the prompt.
            source: latents of the video, or of the picture, which is a video of one frame.
            task: for example `editor_pb2.EDIT_TASK_REPLACE`, as `interpret` says, or `EDIT_TASK_IMAGE`.
            frames: of the result; left out for as many as the source has.
            source_guidance: how closely to keep to the source.
        """
        request = editor_pb2.EditRequest(
            embeddings=encoding.response.embeddings,
            unconditional=encoding.response.unconditional,
            task=task,
            latents=await make_tensor(source.values, self._artifacts),
            latent_space=source.space,
            sampling=sampling(options),
        )
        count = source.frames if frames is None else frames
        fill(request, {"frames": count, "seed": seed})
        if source_guidance is not None:
            fill(request, {"source_guidance": source_guidance})
        stub = await self._stub()
        with typed_errors():
            result = await last(stub.Edit(request), on_progress)
        return Latents(await read_tensor(result.latents, "c t h w", self._artifacts), count, result.latent_space)

    async def _stub(self) -> "editor_pb2_grpc.EditorServiceAsyncStub":
        return editor_pb2_grpc.EditorServiceStub(await self._connections.channel("editor"))
