"""Sound that a published generator made in latents: decoded at any rate, refused where it does not belong."""

from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import torch

from kino import wire
from kino.client_services import last
from kino.errors import FailedPreconditionError, InvalidArgumentError, KinoError, from_rpc_error
from kino.families import AUDIO
from kino.importing import import_pipeline
from kino.registry import Registry
from kino.sound import at_sample_rate
from kino.v1.audio_pb2 import AudioServiceDecodeRequest, AudioServiceGenerateRequest
from kino.v1.audio_pb2_grpc import AudioServiceStub
from services.audio.families.ltx2 import Ltx2
from services.audio.published import PublishedSound
from tests import pipelines, sound_pipelines
from tests.services.conftest import Serve, Served

LATENTS = np.random.default_rng(0).standard_normal((2, 13, 2), np.float32)  # 0.49 s


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("sound")
    import_pipeline(pipelines.save(sound_pipelines.shallow_ltx2, root / "ltx2"), Registry(root / "models"), "tiny")
    return root / "models"


def engine(models: Path) -> PublishedSound:
    registry = Registry(models)
    return PublishedSound(Ltx2, registry.resolve(AUDIO, "tiny"), registry)


async def decode(served: Served, **changes: Any) -> Any:
    given: dict[str, Any] = {"sound_latents": wire.encode(LATENTS), "frames": 12, "fps": 24.0}
    try:
        return await last(AudioServiceStub(served.channel).Decode(AudioServiceDecodeRequest(**given | changes)), None)
    except grpc.RpcError as error:
        raise from_rpc_error(error) from None


def test_sound_is_cut_off_or_followed_by_silence_to_its_length(models: Path) -> None:
    whole, short, long = (list(engine(models).decode(LATENTS, count))[-1].made for count in (23_520, 100, 24_000))
    assert whole is not None
    assert short is not None
    assert long is not None
    assert whole.sound.shape == (2, 49 * 480)  # 49 frames of a spectrogram
    assert whole.figures.samples == 23_520
    np.testing.assert_array_equal(short.sound, whole.sound[:, :100])
    np.testing.assert_array_equal(long.sound[:, :23_520], whole.sound)
    assert not long.sound[:, 23_520:].any()


def test_a_vocoder_of_another_rate_is_brought_to_48_kilohertz(models: Path) -> None:
    served = engine(models)
    torch.manual_seed(5)
    served.decoder.vocoder = sound_pipelines.vocoder((12, 20), 24_000).eval()
    made = list(served.decode(LATENTS, 24_000))[-1].made
    assert made is not None
    assert made.sound.shape == (2, 24_000)
    with torch.inference_mode():
        raw = served.decoder.sound(served.decoder.spectrogram(torch.from_numpy(LATENTS)[None]))[0].numpy()
    assert raw.shape == (2, 49 * 240)
    np.testing.assert_array_equal(made.sound[:, : 49 * 480], at_sample_rate(raw, 24_000))
    assert not made.sound[:, 49 * 480 :].any()


@pytest.mark.parametrize(
    ("latents", "reason"),
    [
        (LATENTS[:1], r"sound_latents is float32 \[1, 13, 2\], must be float32 \[2, 13, 2\]"),
        (LATENTS[0], r"must be float32 \[2, 1, 2\]"),
        (LATENTS[:, :0], r"must be float32 \[2, 1, 2\]"),
        (np.full_like(LATENTS, np.nan), "partly NaN or infinite"),
    ],
)
def test_latents_that_do_not_fit_are_refused(models: Path, latents: np.ndarray[Any, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        engine(models).decode(latents, 100)


async def test_requests_that_do_not_fit_are_refused(serve: Serve, models: Path) -> None:
    served = await serve("audio", preset="mini", version="tiny", models=models)
    cases: tuple[tuple[dict[str, Any], type[KinoError], str], ...] = (
        ({"frames": 0}, InvalidArgumentError, "frames is 0, must be from 1"),
        ({"fps": 0.5}, InvalidArgumentError, "fps is 0.5, must be from 1 to 60"),
        ({"sound_space": "other"}, FailedPreconditionError, "sound_space is 'other', this model decodes latents of"),
    )
    for changes, kind, reason in cases:
        with pytest.raises(kind, match=reason):
            await decode(served, **changes)
    assert (await decode(served)).figures.samples == 24_000


async def test_each_kind_of_version_refuses_what_the_other_can(serve: Serve, models: Path) -> None:
    decoder = await serve("audio", preset="mini", version="tiny", models=models)
    with pytest.raises(grpc.RpcError, match="audio tiny makes nothing: it decodes what the generator of its model"):
        await last(AudioServiceStub(decoder.channel).Generate(AudioServiceGenerateRequest(seconds=1)), None)
    maker = await serve("audio")
    with pytest.raises(FailedPreconditionError, match="audio nano decodes no latents: it makes the sound of videos"):
        await decode(maker)
