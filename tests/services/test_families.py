"""Every family through encoder, generator and TAE over gRPC, against its library's own pipeline on one prompt."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from kino import wire
from kino.families import FAMILIES
from kino.images import encode_png
from kino.importing import import_pipeline
from kino.registry import Registry
from kino.shapes import SAMPLE_RATE
from kino.sound import read_sound
from kino.v1.audio_pb2 import AudioServiceDecodeRequest, AudioServiceDescribeRequest
from kino.v1.audio_pb2_grpc import AudioServiceStub
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
from services.audio.families.table import SOUNDS
from services.encoder.families.table import TEXTS
from services.generator.families.table import DENOISERS
from services.tae.families.table import AUTOENCODERS
from tests import pipelines
from tests.pipelines import NEGATIVE, PROMPT
from tests.services.conftest import Serve
from tests.services.families import CASES, SEED, STEPS, Case, library

FPS = 24

RESUMED = [name for name, case in CASES.items() if name in FAMILIES or case.begins]


@dataclass
class Services:
    """Stubs of three running services."""

    encoder: Any
    generator: Any
    tae: Any
    audio: Any = None

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
                crf=info.picture.crf,
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

    async def decode_sound(self, made: GenerateResult, frames: int, fps: float) -> NDArray[np.float32]:
        request = AudioServiceDecodeRequest(
            sound_latents=made.sound_latents, sound_space=made.sound_space, frames=frames, fps=fps
        )
        events = [event async for event in self.audio.Decode(request)]
        return read_sound(events[-1].result.sound.data)

    async def infos(self) -> tuple[Info, Info, Info]:
        return (
            (await self.encoder.Describe(EncoderServiceDescribeRequest())).info,
            (await self.generator.Describe(GeneratorServiceDescribeRequest())).info,
            (await self.tae.Describe(TaeServiceDescribeRequest())).info,
        )


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The registry of a case, which has one model, "tiny": made for the first test of it."""

    @cache
    def made(name: str) -> Path:
        home = tmp_path_factory.mktemp("case")
        import_pipeline(pipelines.save(CASES[name].build, home / "pipeline"), Registry(home / "models"), "tiny")
        return home / "models"

    return made


@pytest.fixture
async def services(serve: Serve, models: Callable[[str], Path], request: pytest.FixtureRequest) -> Services:
    """The services of the case that a test is parametrised with."""
    given = {"preset": "mini", "version": "tiny", "models": models(request.param)}
    stubs = {"encoder": EncoderServiceStub, "generator": GeneratorServiceStub, "tae": TaeServiceStub}
    if CASES[request.param].bands:
        stubs["audio"] = AudioServiceStub
    return Services(*[stub((await serve(name, **given)).channel) for name, stub in stubs.items()])


def test_every_family_has_its_classes() -> None:
    assert set(TEXTS) == set(DENOISERS) == set(AUTOENCODERS) == set(FAMILIES)
    assert set(SOUNDS) == {name for name, row in FAMILIES.items() if row.sound is not None}


@pytest.mark.parametrize(("services", "name"), [(name, name) for name in CASES], indirect=["services"])
async def test_latents_and_frames_are_the_librarys_own_bit_for_bit(services: Services, name: str) -> None:
    case = CASES[name]
    expected = library(case)
    _, made = await services.generate(await services.order(case))
    np.testing.assert_array_equal(wire.decode(made.latents, "latents", "c t h w"), expected.latents)
    np.testing.assert_array_equal(await services.decode(made, case.frames), expected.frames)
    assert made.HasField("sound_latents") == (expected.sound is not None)
    if expected.sound is not None:
        np.testing.assert_array_equal(wire.decode(made.sound_latents, "sound", "c t m"), expected.sound_latents)
        heard = await services.decode_sound(made, case.frames, FPS)
        count = expected.sound.shape[1]
        assert heard.shape == (2, case.frames * SAMPLE_RATE // FPS)
        np.testing.assert_array_equal(heard[:, :count], expected.sound)
        assert not heard[:, count:].any()  # a spectrogram ends a little before its pictures do


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
        assert resumed.sound_latents == whole.sound_latents


@pytest.mark.parametrize(("services", "name"), [(name, name) for name in FAMILIES], indirect=["services"])
async def test_parts_say_what_they_take_and_that_they_fit(services: Services, name: str) -> None:
    encoder, generator, tae = await services.infos()
    assert {encoder.family, generator.family, tae.family} == {name}
    assert {encoder.version, generator.version, tae.version} == {"tiny"}
    assert generator.latent_space == tae.latent_space
    assert generator.HasField("sound_space") == (FAMILIES[name].sound is not None)
    if services.audio is not None:
        audio = (await services.audio.Describe(AudioServiceDescribeRequest())).info
        assert (audio.family, audio.sound_space) == (name, generator.sound_space)
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
