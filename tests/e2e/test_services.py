"""Each service by itself, through its own port: it answers health and reflection, and computes what its engine does."""

import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from kino.client import Kino, Latents
from kino.errors import FailedPreconditionError
from kino.media import LONG_VIDEOS, write_video
from kino.registry import Registry
from kino.sound import read_sound
from services.audio.engine import AudioEngine
from services.audio.engine import Task as AudioTask
from services.audio.engine import Video as AudioVideo
from services.encoder.engine import EncoderEngine
from services.generator.engine import GeneratorEngine, Task
from services.rewriter.engine import RewriterEngine
from services.service import NAMES
from services.tae.engine import TaeEngine
from tests.e2e.conftest import START_SECONDS, Finished, Served

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

PROMPT = 'a cat holds a sign that says "meow"'


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return Registry(tmp_path_factory.mktemp("models"))


@pytest.mark.parametrize("name", NAMES)
def test_health_and_reflection_answer(name: str, served: Served) -> None:
    service = f"kino.v1.{name.title()}Service"
    with grpc.insecure_channel(served.addresses[name]) as channel:
        for asked in ("", service):
            health = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=asked))
            assert health.status == health_pb2.HealthCheckResponse.SERVING
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        answer = next(reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo(iter([request])))
        assert service in [entry.name for entry in answer.list_services_response.service]


def test_the_rewriter_served_equals_its_engine(served: Served, registry: Registry) -> None:
    with Kino(services=served.addresses) as kino:
        answer = kino.rewriter.rewrite(PROMPT, seed=4)
    assert answer.prompt == RewriterEngine("nano", "nano", registry).rewrite(PROMPT, 4).prompt


def test_the_encoder_served_equals_its_engine(served: Served, registry: Registry) -> None:
    with Kino(served.graph) as kino:  # the graph tells where the encoder is
        answer = kino.encoder.encode(PROMPT, fps=16)
    engine = EncoderEngine("nano", "nano", registry)
    for got, expected in (
        (answer.embeddings, engine.encode(PROMPT, 16)),
        (answer.unconditional, engine.encode("", 16)),
    ):
        assert list(got) == list(expected) == ["ul2", "byt5", "metaclip"]
        for tower, rows in expected.items():
            np.testing.assert_array_equal(got[tower], rows)


def test_the_generator_served_equals_its_engine_and_tells_every_step(served: Served, registry: Registry) -> None:
    steps: list[tuple[int, int]] = []
    with Kino(services=served.addresses) as kino:
        text = kino.encoder.encode(PROMPT)
        got = kino.generator.generate(
            text,
            frames=9,
            size=(32, 48),
            seed=7,
            steps=4,
            guidance=3.0,
            on_progress=lambda progress: steps.append((progress.step, progress.of)),
        )
    task = Task(text.embeddings, text.unconditional, 9, 32, 48, 7, steps=4, guidance=3.0)
    *_, last = GeneratorEngine("nano", "nano", registry).generate(task)
    np.testing.assert_array_equal(got.values, last.x_t)
    assert got.values.shape == (16, 2, 4, 6)
    assert [pair for pair in steps if pair[1]][-4:] == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_the_tae_served_equals_its_engine(served: Served, registry: Registry) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (9, 32, 48, 3), np.uint8)
    engine = TaeEngine("nano", "nano", registry)
    with Kino(services=served.addresses) as kino:
        latents = kino.tae.encode(frames)
        pixels = kino.tae.decode(latents)
        with pytest.raises(FailedPreconditionError, match="latent_space"):
            kino.tae.decode(Latents(latents.values, 9, "0" * 64))
    np.testing.assert_array_equal(latents.values, np.concatenate(list(engine.encode(frames)), axis=1))
    np.testing.assert_array_equal(pixels, np.concatenate(list(engine.decode(latents.values, 9))))


def test_the_audio_served_equals_its_engine(served: Served, registry: Registry) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (9, 32, 48, 3), np.uint8)
    steps: list[tuple[int, int]] = []
    with TemporaryDirectory() as folder, Kino(served.graph) as kino:  # the graph tells where the audio service is
        path = Path(folder) / "video.mkv"
        write_video(path, frames, 16, "ffv1")
        heard = kino.audio.generate(
            path.read_bytes(),
            music="calm piano",
            seed=7,
            steps=4,
            on_progress=lambda progress: steps.append((progress.step, progress.of)),
        )
        video = AudioVideo(path, 9, Fraction(16), LONG_VIDEOS)
        task = AudioTask(27_000, 7, video, music="calm piano", steps=4)
        *_, last = AudioEngine("nano", "nano", registry).generate(task)
    assert last.made is not None
    np.testing.assert_array_equal(read_sound(heard.wav, channels=1)[0], last.made.sound)
    assert (heard.figures.samples, steps[-1]) == (27_000, (8, 8))


def test_status_and_models_show_every_part(kino: Callable[..., Finished], served: Served) -> None:
    shown = kino("status", "--address", served.graph)
    assert shown.code == 0, shown.err
    for name in ("rewriter", "encoder", "generator", "tae", "audio", "editor", "personalizer", "upsampler"):
        assert f"{name} " in shown.out
        assert served.addresses[name] in shown.out
    assert "16:9" in kino("models", "--address", served.graph).out
    infos = {info["component"]: info for info in kino("models", "--json", "--address", served.graph).json}
    assert infos["generator"]["preset"] == "nano"
    assert infos["generator"]["latent_space"]["digest"] == infos["tae"]["latent_space"]["digest"]


@pytest.mark.parametrize("example", ["one_service.py", "own_pipeline.py"])
def test_examples_run(example: str, served: Served, tmp_path: Path) -> None:
    path = Path(__file__).parents[2] / "examples" / example
    done = subprocess.run(
        [sys.executable, str(path), served.graph], cwd=tmp_path, capture_output=True, text=True, timeout=START_SECONDS
    )
    assert done.returncode == 0, done.stderr
    if example == "own_pipeline.py":
        films = [(tmp_path / f"film{seed}.mp4").read_bytes() for seed in (1, 2)]
        assert films[0] != films[1]
    else:
        assert "byt5" in done.stdout
        assert "latents (16, 1, 4, 4) frames (8, 32, 32, 3)" in done.stdout
