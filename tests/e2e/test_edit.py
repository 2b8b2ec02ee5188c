"""Edits and films of a picture from the command line and the client, on random weights and through real processes."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import pytest

from kino.client import Kino, Pipeline
from kino.footage import probe
from kino.images import decode_image, encode_png
from kino.media import VideoInfo, write_video
from kino.sound import read_sound
from kino.soundtrack import mux
from kino.v1 import audio_pb2, editor_pb2, encoder_pb2, generator_pb2, graph_pb2, info_pb2, tae_pb2, upsampler_pb2
from tests.e2e.conftest import Finished, Served
from tests.kino.clips import noise, tone

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

FEW = ("--steps", "2", "--seed", "3")


def test_edit_without_an_address(kino: Callable[..., Finished], tmp_path: Path, served: Served) -> None:
    """The command starts what it needs and no more; what it makes equals the edit of services that run already."""
    write_video(tmp_path / "silent.mp4", noise(15, 36, 52), 30, "h264")
    mux(tmp_path / "silent.mp4", tone(24_000), tmp_path / "clip.mp4")
    order = ("edit", "clip.mp4", "Make it snowy!", *FEW)
    done = kino(*order, "--preset", "nano", "--data", "data", "--json")
    assert done.code == 0, done.err
    told = done.json
    assert (told["task"], told["understood"]) == ("place", "set the scene in the snow")
    film = tmp_path / "clip-edited.mp4"
    info = probe(film)
    assert (info.num_frames, info.fps, info.height, info.width) == (15, Fraction(30), 36, 52)
    assert read_sound(film).shape == (2, 24_000)
    assert decode_image((tmp_path / "clip-edited.png").read_bytes()).shape[2] == 3
    again = kino(*order, "--address", served.graph, "--fresh", "--out", "again.mp4")
    assert again.code == 0, again.err
    assert (tmp_path / "again.mp4").read_bytes() == film.read_bytes()
    assert "place: set the scene in the snow" in again.out


def test_a_film_begins_with_a_picture(kino: Callable[..., Finished], tmp_path: Path, served: Served) -> None:
    (tmp_path / "first.png").write_bytes(encode_png(noise(1, 64, 64)[0]))
    done = kino("film", "a red ball", "--image", "first.png", "--seconds", "0.5", *FEW, "--address", served.graph)
    assert done.code == 0, done.err
    info = probe(tmp_path / "film.mp4")
    assert (info.num_frames, info.height, info.width, info.num_tracks) == (8, 32, 32, 1)
    assert "--image first.png" in done.out


@pytest.mark.parametrize("command", [("edit", "clip.mp4", "remove it"), ("sound", "clip.mp4")])
def test_a_file_that_is_no_video_is_refused_before_services_start(
    kino: Callable[..., Finished], tmp_path: Path, command: tuple[str, ...]
) -> None:
    (tmp_path / "clip.mp4").write_text("no video at all")
    done = kino(*command, "--preset", "nano", "--data", "data")
    assert (done.code, "video is unreadable" in done.err) == (2, True)
    assert not (tmp_path / "data").exists()


def test_the_editor_alone_does_what_the_graph_does(served: Served) -> None:
    with Kino(served.graph, services=served.addresses) as client:
        meant = client.editor.interpret("turn the ball into a cat")
        assert meant.task == editor_pb2.EDIT_TASK_REPLACE
        text = client.encoder.encode(meant.instruction, fps=16)
        latents = client.tae.encode(noise(16, 32, 32))
        steps: list[int] = []
        edited = client.editor.edit(
            text, latents, meant.task, seed=5, steps=2, on_progress=lambda progress: steps.append(progress.step)
        )
        assert (edited.values.shape, edited.frames, steps[-1]) == ((16, 2, 4, 4), 16, 2)
        assert edited.space == latents.space == client.editor.describe().latent_space.digest
        first = client.tae.encode(noise(1, 32, 32))
        film = client.editor.edit(text, first, editor_pb2.EDIT_TASK_IMAGE, frames=24, steps=1)
        assert client.tae.decode(film).shape == (24, 32, 32, 3)


def test_a_pipeline_of_ones_own_makes_a_film_edits_it_gives_it_sound_and_enlarges_it(served: Served) -> None:
    pipeline = Pipeline()
    sampling = generator_pb2.Sampling(steps=2)

    def texts(name: str, **inputs: graph_pb2.Port) -> dict[str, graph_pb2.Port]:
        request = encoder_pb2.EncodeRequest(fps=16, prompt="" if inputs else "a red ball")
        text = pipeline.call(name, request, **inputs)
        return {"embeddings": text["embeddings"], "unconditional": text["unconditional"]}

    generate = generator_pb2.GenerateRequest(frames=16, height=32, width=32, seed=1, sampling=sampling)
    noise_ = pipeline.call("generate", generate, **texts("prompt"))
    meant = pipeline.call("interpret", editor_pb2.InterpretRequest(instruction="make the ball blue"))
    told = texts("instruction", prompt=meant["instruction"])
    request = editor_pb2.EditRequest(frames=16, seed=2, sampling=sampling)
    edited = pipeline.call("edit", request, latents=noise_["latents"], task=meant["task"], **told)
    decode = tae_pb2.TaeServiceDecodeRequest(frames=16, fps=16)
    video = pipeline.call("decode", decode, latents=edited["latents"])["video"]
    heard = pipeline.call("sound", audio_pb2.AudioServiceGenerateRequest(sampling=sampling), video=video)
    size = info_pb2.Size(height=96, width=64)
    large = pipeline.call("upsample", upsampler_pb2.UpsampleRequest(size=size), video=video)["video"]
    film = pipeline.call("file", graph_pb2.ExportRequest(), video=large, sound=heard["sound"])
    pipeline.output("film", film["media"])
    with Kino(served.graph) as client:
        made = client.generations.run(pipeline.spec())
        content = client.artifacts.download(made.artifacts[0].media.uri)
    assert probe(content) == VideoInfo(16, Fraction(16), 96, 64, "h264", 1)
    assert read_sound(content).shape == (2, 48_000)
    assert made.task == editor_pb2.EDIT_TASK_RECOLOUR
