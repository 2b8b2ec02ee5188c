"""Every family through encoder, generator and TAE over gRPC, against its library's own pipeline on one prompt."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from kino import parts, wire
from kino.families import FAMILIES
from kino.images import encode_png
from kino.importing import import_pipeline
from kino.registry import Registry
from kino.v1.encoder_pb2 import EncodeRequest, EncodeResponse, EncoderServiceDescribeRequest
from kino.v1.encoder_pb2_grpc import EncoderServiceStub
from kino.v1.generator_pb2 import Checkpoint, GenerateRequest, GenerateResult, GeneratorServiceDescribeRequest, Sampling
from kino.v1.generator_pb2_grpc import GeneratorServiceStub
from kino.v1.info_pb2 import Info
from kino.v1.tae_pb2 import (
    DECODE_OUTPUT_FRAMES,
    TaeServiceDecodeRequest,
    TaeServiceDescribeRequest,
    TaeServiceEncodeRequest,
)
from kino.v1.tae_pb2_grpc import TaeServiceStub
from kino.v1.tensor_pb2 import DTYPE_UINT8
from services.encoder.families.table import TEXTS
from services.generator.families.table import DENOISERS
from services.tae.families.table import AUTOENCODERS
from tests import picture_pipelines, pipelines
from tests.pipelines import NEGATIVE, PROMPT
from tests.services.conftest import Serve

STEPS, SEED, GUIDANCE = 4, 3, 4.0


@dataclass(frozen=True)
class Case:
    """A tiny pipeline, the clip to make of it, and how its pipeline is called beside what all are called with.

    Args:
        unpack: brings the pipeline's latents to [1 c t h w].
        begins: class of the library's pipeline that makes clips which begin with a picture.
    """

    build: Callable[[], Any]
    frames: int
    height: int
    width: int
    guidance: float | None = GUIDANCE
    call: Mapping[str, Any] = field(default_factory=lambda: {"negative_prompt": NEGATIVE})
    unpack: Callable[[Any, torch.Tensor, "Case"], torch.Tensor] = lambda pipeline, latents, case: latents
    begins: str = ""

    @property
    def picture(self) -> NDArray[np.uint8]:
        """What the clip begins with, [h w 3]."""
        return np.random.default_rng(2).integers(0, 256, (self.height, self.width, 3), np.uint8)


def unpack_ltx(pipeline: Any, latents: torch.Tensor, case: Case) -> torch.Tensor:
    ratio = pipeline.vae_spatial_compression_ratio
    frames = (case.frames - 1) // pipeline.vae_temporal_compression_ratio + 1
    unpacked: torch.Tensor = pipeline._unpack_latents(latents, frames, case.height // ratio, case.width // ratio)
    return unpacked


def frames_first(pipeline: Any, latents: torch.Tensor, case: Case) -> torch.Tensor:
    return latents.transpose(1, 2)


def unpack_flux(pipeline: Any, latents: torch.Tensor, case: Case) -> torch.Tensor:
    unpacked = pipeline._unpack_latents(latents, case.height, case.width, pipeline.vae_scale_factor)
    return unpacked[:, :, None]  # type: ignore[no-any-return]


LTX = {"negative_prompt": NEGATIVE, "frame_rate": 25}
PLAIN: dict[str, Any] = {}
CASES = {
    "wan": Case(pipelines.wan, 9, 32, 64),
    "wan with two experts": Case(pipelines.wan_experts, 9, 32, 64),
    "wan with times of tokens": Case(pipelines.wan_5b, 9, 32, 64),
    "wan without guidance": Case(pipelines.wan, 5, 32, 32, guidance=1.0),
    "wan as a picture": Case(pipelines.wan, 1, 32, 32),
    "ltx": Case(pipelines.ltx, 9, 32, 64, call=LTX, unpack=unpack_ltx),
    "hunyuan": Case(pipelines.hunyuan, 9, 16, 32, call=PLAIN),
    "hunyuan as a picture": Case(pipelines.hunyuan, 1, 16, 32, call=PLAIN),
    "hunyuan15": Case(pipelines.hunyuan15, 5, 32, 32),
    "hunyuan15 of a picture": Case(picture_pipelines.hunyuan15, 5, 32, 32, begins="HunyuanVideo15ImageToVideoPipeline"),
    "cogvideox": Case(pipelines.cogvideox, 9, 32, 48, unpack=frames_first),
    "wan of a picture": Case(picture_pipelines.wan, 9, 32, 64, begins="WanImageToVideoPipeline"),
    "wan of a picture with two experts": Case(
        picture_pipelines.wan_experts, 9, 32, 64, begins="WanImageToVideoPipeline"
    ),
    "wan of a picture with times of tokens": Case(pipelines.wan_5b, 9, 32, 64, begins="WanImageToVideoPipeline"),
    "ltx of a picture": Case(pipelines.ltx, 9, 32, 64, call=LTX, unpack=unpack_ltx, begins="LTXImageToVideoPipeline"),
    "hunyuan-i2v": Case(picture_pipelines.hunyuan, 9, 16, 32, call=PLAIN, begins="HunyuanVideoImageToVideoPipeline"),
    "cogvideox of a picture": Case(
        picture_pipelines.cogvideox, 9, 32, 48, unpack=frames_first, begins="CogVideoXImageToVideoPipeline"
    ),
    "mochi": Case(pipelines.mochi, 7, 32, 48),
    "flux": Case(pipelines.flux, 1, 16, 24, call=PLAIN, unpack=unpack_flux),
    "flux distilled": Case(
        partial(pipelines.flux, guidance_embeds=False), 1, 16, 24, guidance=None, call=PLAIN, unpack=unpack_flux
    ),
}

RESUMED = [name for name, case in CASES.items() if name in FAMILIES or case.begins]


@dataclass(frozen=True)
class Films:
    """A film of the library's own: latents [c t h w] and frames uint8 [t h w 3]."""

    latents: NDArray[np.float32]
    frames: NDArray[np.uint8]


def library(case: Case) -> Films:
    pipeline = pipelines.make(case.build)
    if case.begins and type(pipeline).__name__ != case.begins:
        made = {"expand_timesteps": True} if pipeline.config.get("expand_timesteps") else {}
        pipeline = getattr(parts.library(), case.begins)(**pipeline.components, **made)
    pipeline.set_progress_bar_config(disable=True)
    given = dict(case.call) | {"num_inference_steps": STEPS}
    sized = {"height": case.height, "width": case.width, "guidance_scale": case.guidance}
    taken = inspect.signature(pipeline.__call__).parameters
    given |= {name: value for name, value in sized.items() if name in taken and value is not None}
    if case.begins:
        given["image"] = Image.fromarray(case.picture)
    has_frames = type(pipeline).__name__ != "FluxPipeline"
    if has_frames:
        given["num_frames"] = case.frames

    def run(output: str) -> Any:
        made = pipeline(prompt=PROMPT, generator=torch.Generator().manual_seed(SEED), output_type=output, **given)
        return made.frames if has_frames else made.images

    latents = case.unpack(pipeline, run("latent"), case)[0].numpy()
    pictures = run("pil")
    return Films(latents, np.stack([np.asarray(picture) for picture in (pictures[0] if has_frames else pictures)]))


@dataclass
class Services:
    """Stubs of three running services."""

    encoder: Any
    generator: Any
    tae: Any

    async def encode(self, case: Case) -> EncodeResponse:
        request, (info, _, _) = EncodeRequest(prompt=PROMPT, negative_prompt=NEGATIVE), await self.infos()
        if info.HasField("picture"):
            request.picture.CopyFrom(wire.make_media(encode_png(case.picture), "image/png"))
        response: EncodeResponse = await self.encoder.Encode(request)
        return response

    async def order(self, case: Case, **changes: Any) -> GenerateRequest:
        """A request for the clip of a case, with the latents of its picture as the generator reads them."""
        text = await self.encode(case)
        request = GenerateRequest(
            embeddings=text.embeddings,
            unconditional=text.unconditional,
            frames=case.frames,
            height=case.height,
            width=case.width,
            seed=SEED,
            sampling=Sampling(steps=STEPS, guidance=case.guidance),
            **changes,
        )
        if case.begins:
            _, info, _ = await self.infos()
            look = TaeServiceEncodeRequest(
                frames=wire.encode(case.picture[None]),
                clip_frames=case.frames if info.picture.clip else 0,
                seed=SEED if info.picture.drawn else None,
            )
            result = [event async for event in self.tae.Encode(look)][-1].result
            request.latents.CopyFrom(result.latents)
            request.latent_space = result.latent_space
        return request

    async def generate(self, request: GenerateRequest) -> tuple[list[Checkpoint], GenerateResult]:
        events = [event async for event in self.generator.Generate(request)]
        return [event.checkpoint for event in events if event.HasField("checkpoint")], events[-1].result

    async def decode(self, made: GenerateResult, frames: int) -> NDArray[np.uint8]:
        request = TaeServiceDecodeRequest(
            latents=made.latents, latent_space=made.latent_space, frames=frames, output=DECODE_OUTPUT_FRAMES
        )
        events = [event async for event in self.tae.Decode(request)]
        decoded: NDArray[np.uint8] = wire.decode(events[-1].result.frames, "frames", "t h w 3", dtypes=(DTYPE_UINT8,))
        return decoded

    async def infos(self) -> tuple[Info, Info, Info]:
        return (
            (await self.encoder.Describe(EncoderServiceDescribeRequest())).info,
            (await self.generator.Describe(GeneratorServiceDescribeRequest())).info,
            (await self.tae.Describe(TaeServiceDescribeRequest())).info,
        )


@pytest.fixture
async def services(serve: Serve, tmp_path: Path, request: pytest.FixtureRequest) -> Services:
    """The services of the case that a test is parametrised with."""
    folder = pipelines.save(CASES[request.param].build, tmp_path / "pipeline")
    import_pipeline(folder, Registry(tmp_path / "models"), "tiny")
    served = [await serve(name, preset="mini", version="tiny") for name in ("encoder", "generator", "tae")]
    stubs = (EncoderServiceStub, GeneratorServiceStub, TaeServiceStub)
    return Services(*(stub(one.channel) for stub, one in zip(stubs, served, strict=True)))


def test_every_family_has_its_three_classes() -> None:
    assert set(TEXTS) == set(DENOISERS) == set(AUTOENCODERS) == set(FAMILIES)


@pytest.mark.parametrize(("services", "name"), [(name, name) for name in CASES], indirect=["services"])
async def test_latents_and_frames_are_the_librarys_own_bit_for_bit(services: Services, name: str) -> None:
    case = CASES[name]
    expected = library(case)
    _, made = await services.generate(await services.order(case))
    np.testing.assert_array_equal(wire.decode(made.latents, "latents", "c t h w"), expected.latents)
    np.testing.assert_array_equal(await services.decode(made, case.frames), expected.frames)


@pytest.mark.parametrize(("services", "name"), [(name, name) for name in RESUMED], indirect=["services"])
async def test_a_run_goes_on_from_any_checkpoint_bit_for_bit(services: Services, name: str) -> None:
    case = CASES[name]
    request = await services.order(case, checkpoint_every=1)
    checkpoints, whole = await services.generate(request)
    assert [(checkpoint.step, checkpoint.of) for checkpoint in checkpoints] == [(1, STEPS), (2, STEPS), (3, STEPS)]
    for checkpoint in checkpoints:
        request.resume_from.CopyFrom(checkpoint)
        _, resumed = await services.generate(request)
        assert resumed.latents == whole.latents


@pytest.mark.parametrize(("services", "name"), [(name, name) for name in FAMILIES], indirect=["services"])
async def test_parts_say_what_they_take_and_that_they_fit(services: Services, name: str) -> None:
    encoder, generator, tae = await services.infos()
    assert {encoder.family, generator.family, tae.family} == {name}
    assert {encoder.version, generator.version, tae.version} == {"tiny"}
    assert generator.latent_space == tae.latent_space
    assert list(generator.text_spaces) == list(encoder.text_spaces)
    row, limits = FAMILIES[name], generator.limits
    rows = {tower: entry.rows for tower, entry in row.towers.items() if isinstance(entry.rows, int)}
    assert {space.tower: space.max_tokens for space in encoder.text_spaces} == rows
    assert limits.aspects[0].size.height == limits.height.default_value
    assert limits.frames == tae.limits.frames
    assert not limits.HasField("linear_steps")


@pytest.mark.parametrize(("services", "name"), [("wan", "wan")], indirect=["services"])
async def test_fewer_frames_than_their_latents_hold_are_the_first_of_them(services: Services, name: str) -> None:
    case = CASES[name]
    _, made = await services.generate(await services.order(case))
    all_of_them = await services.decode(made, case.frames)
    for frames in (6, 8):
        np.testing.assert_array_equal(await services.decode(made, frames), all_of_them[:frames])


@pytest.mark.parametrize(("services", "name"), [(name, name) for name in FAMILIES], indirect=["services"])
async def test_latents_of_frames_are_the_librarys_own(services: Services, name: str) -> None:
    case = CASES[name]
    frames = np.random.default_rng(1).integers(0, 256, (case.frames, case.height, case.width, 3), np.uint8)
    events = [event async for event in services.tae.Encode(TaeServiceEncodeRequest(frames=wire.encode(frames)))]
    latents = wire.decode(events[-1].result.latents, "latents", "c t h w")
    _, generator, _ = await services.infos()
    space = generator.latent_space
    assert latents.shape == (
        space.channels,
        1 + (case.frames - 1) // space.temporal_factor,
        case.height // space.spatial_factor,
        case.width // space.spatial_factor,
    )
    vae = pipelines.make(case.build).vae
    video = torch.from_numpy(frames).permute(3, 0, 1, 2)[None] / 127.5 - 1.0
    posterior = vae.encode(video[:, :, 0] if video.shape[2] == 1 and name == "flux" else video).latent_dist
    mode = posterior.mode()[0].numpy().reshape(latents.shape)
    spread = latents.std(axis=(1, 2, 3)) / mode.std(axis=(1, 2, 3))
    centred = (mode - mode.mean(axis=(1, 2, 3), keepdims=True)) * spread[:, None, None, None]
    np.testing.assert_allclose(latents - latents.mean(axis=(1, 2, 3), keepdims=True), centred, atol=1e-4)
