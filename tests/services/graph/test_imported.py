"""Films of pictures by imported models through the graph: encoder, TAE and generator of a pipeline behind it."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from kino.errors import FailedPreconditionError
from kino.footage import probe
from kino.images import encode_png
from kino.importing import import_pipeline
from kino.registry import Registry
from kino.sound import read_sound
from kino.v1 import generator_pb2, graph_pb2, info_pb2, media_pb2
from tests import picture_pipelines, pipelines, sound_pipelines
from tests.kino.clips import noise
from tests.services.conftest import Serve, Served
from tests.services.graph.test_sound import make

SOUNDING = (sound_pipelines.shallow_ltx2, sound_pipelines.ltx2_of_pictures)
SUCCEEDED = graph_pb2.GENERATION_STATE_SUCCEEDED


@pytest.fixture
async def graph(serve: Serve, tmp_path: Path, request: pytest.FixtureRequest) -> Served:
    """A graph without an editor, its models those of the pipeline that a test is parametrised with."""
    import_pipeline(pipelines.save(request.param, tmp_path / "pipeline"), Registry(tmp_path / "models"), "tiny")
    names = ("encoder", "generator", "tae", *(("audio",) if request.param in SOUNDING else ()))
    peers = {name: (await serve(name, preset="mini", version="tiny")).address for name in names}
    return await serve("graph", peers=peers, ledger=f"sqlite:///{tmp_path}/ledger.sqlite")


@pytest.mark.parametrize("graph", [picture_pipelines.wan, pipelines.ltx], indirect=True)
async def test_a_picture_becomes_a_film_of_the_size_that_is_asked_for(graph: Served) -> None:
    picture = media_pb2.Media(media_type="image/png", data=encode_png(noise(1, 30, 70)[0]))
    given: dict[str, Any] = {"prompt": "a red ball bounces", "seconds": 0.5, "seed": 3, "verbatim": True}
    order = graph_pb2.ImageToVideo(
        image=picture,
        silent=True,
        sampling=generator_pb2.Sampling(steps=2),
        pixels=info_pb2.Size(height=32, width=64),
        **given,
    )
    made = await make(graph, image_to_video=order)
    assert made.state == SUCCEEDED, made.error
    assert {stage.name for stage in made.stages} == {"picture", "encode", "look", "animate", "decode", "export"}
    film = next(artifact.media.uri for artifact in made.artifacts if artifact.name == "film")
    info = probe(graph.store.get(film))
    assert (info.height, info.width, info.num_frames) == (32, 64, round(0.5 * info.fps))
    again = await make(graph, image_to_video=order)
    assert all(stage.cached for stage in again.stages)


@pytest.mark.parametrize("graph", [sound_pipelines.shallow_ltx2], indirect=True)
async def test_a_film_has_the_sound_that_its_generator_made_of_it(graph: Served) -> None:
    film = graph_pb2.TextToVideo(
        prompt="a red ball bounces", seconds=0.5, seed=3, verbatim=True, sampling=generator_pb2.Sampling(steps=2),
        pixels=info_pb2.Size(height=32, width=32),
    )  # fmt: skip
    made = await make(graph, text_to_video=film)
    assert made.state == SUCCEEDED, made.error
    assert [stage.name for stage in made.stages] == ["encode", "generate", "decode", "sound", "export"]
    artifact = next(artifact for artifact in made.artifacts if artifact.name == "film")
    info, sound = probe(graph.store.get(artifact.media.uri)), read_sound(graph.store.get(artifact.media.uri))
    assert (info.num_frames, info.fps, info.num_tracks) == (12, Fraction(24), 1)
    assert sound.shape == (2, 24_000)
    assert artifact.sound.samples == 24_000
    assert sound.std() > 0.001
    again = await make(graph, text_to_video=film)
    assert all(stage.cached for stage in again.stages)


@pytest.mark.parametrize("graph", [sound_pipelines.ltx2_of_pictures], indirect=True)
async def test_a_film_of_a_picture_too_has_the_sound_that_its_generator_made_of_it(graph: Served) -> None:
    order = graph_pb2.ImageToVideo(
        image=media_pb2.Media(media_type="image/png", data=encode_png(noise(1, 30, 70)[0])),
        prompt="a red ball bounces", seconds=0.5, seed=3, verbatim=True, sampling=generator_pb2.Sampling(steps=2),
        pixels=info_pb2.Size(height=32, width=32),
    )  # fmt: skip
    made = await make(graph, image_to_video=order)
    assert made.state == SUCCEEDED, made.error
    assert {stage.name for stage in made.stages} == {
        "picture", "encode", "look", "animate", "decode", "sound", "export"
    }  # fmt: skip
    artifact = next(artifact for artifact in made.artifacts if artifact.name == "film")
    assert probe(graph.store.get(artifact.media.uri)).num_frames == 12
    sound = read_sound(graph.store.get(artifact.media.uri))
    assert sound.shape == (2, 24_000)
    assert sound.std() > 0.001


@pytest.mark.parametrize("graph", [sound_pipelines.shallow_ltx2], indirect=True)
async def test_a_decoder_of_sound_makes_none_of_words(graph: Served) -> None:
    with pytest.raises(
        FailedPreconditionError, match="the audio service has tiny, which decodes what its generator makes"
    ):
        await make(graph, text_to_sound=graph_pb2.TextToSound(description="rain", seconds=1.0))
