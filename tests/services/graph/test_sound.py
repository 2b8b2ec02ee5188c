"""Sound through the graph: the audio service of random weights behind it, and nothing else."""

from pathlib import Path
from typing import Any
from uuid import uuid4

import av
import grpc.aio
import pytest

from kino.errors import FailedPreconditionError, InvalidArgumentError, KinoError, from_rpc_error, from_status
from kino.footage import probe
from kino.media import LONG_VIDEOS, write_video
from kino.sound import read_sound
from kino.v1 import audio_pb2, generator_pb2, graph_pb2, graph_pb2_grpc, media_pb2
from tests.kino.clips import greys, noise, write_pictures
from tests.odd_videos import BAD, ODD, RATES
from tests.services.conftest import Serve, Served

SECOND = 48_000
FEW = generator_pb2.Sampling(steps=2)
SUCCEEDED = graph_pb2.GENERATION_STATE_SUCCEEDED
RATES_HEARD = {name: (write, (4, 16, 32)) for name, (write, _) in RATES.items()}


@pytest.fixture
async def graph(serve: Serve, tmp_path: Path) -> Served:
    audio = await serve("audio")
    return await serve("graph", peers={"audio": audio.address}, ledger=f"sqlite:///{tmp_path}/ledger.sqlite")


async def create(graph: Served, **product: Any) -> graph_pb2.Generation:
    spec = graph_pb2.GenerationSpec(**product)
    stub = graph_pb2_grpc.GraphServiceStub(graph.channel)
    try:
        request = graph_pb2.CreateGenerationRequest(idempotency_key=uuid4().hex, spec=spec)
        return (await stub.CreateGeneration(request)).generation
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error


async def make(graph: Served, **product: Any) -> graph_pb2.Generation:
    """Return the generation at its end."""
    stub, made = graph_pb2_grpc.GraphServiceStub(graph.channel), await create(graph, **product)
    async for response in stub.WatchGeneration(graph_pb2.WatchGenerationRequest(id=made.id)):
        made = response.generation
    return made


def words(**fields: Any) -> graph_pb2.TextToSound:
    given: dict[str, Any] = {"description": "a ball hits the ground", "seconds": 0.5, "seed": 3, "sampling": FEW}
    return graph_pb2.TextToSound(**given | fields)


def clip(folder: Path, num_frames: int = 20, codec: Any = "h264") -> media_pb2.Media:
    write_video(folder / "clip", noise(num_frames, 16, 32), 16, codec)
    return media_pb2.Media(media_type="video/mp4", data=(folder / "clip").read_bytes())


@pytest.mark.parametrize(
    ("form", "media_type"), [(None, "audio/wav"), ("WAV", "audio/wav"), ("FLAC", "audio/flac"), ("M4A", "audio/mp4")]
)
async def test_words_become_a_sound_of_any_form(graph: Served, form: str | None, media_type: str) -> None:
    made = await make(graph, text_to_sound=words(format=form and f"EXPORT_FORMAT_{form}"))
    (sound,) = made.artifacts
    assert (made.state, sound.name, sound.media.media_type, made.seed) == (SUCCEEDED, "sound", media_type, 3)
    assert read_sound(graph.store.get(sound.media.uri), channels=1).shape == (1, SECOND // 2)
    assert (sound.sound.samples, sound.sound.silent) == (SECOND // 2, False)
    assert sound.sound.loudness_lufs == pytest.approx(-23, abs=0.1)
    assert sound.sound.true_peak_dbtp < -0.99
    assert [(stage.name, stage.call) for stage in made.stages] == [("sound", "sound"), ("export", "export")]


async def test_a_video_keeps_its_pictures_and_gets_its_sound(graph: Served, tmp_path: Path) -> None:
    video = clip(tmp_path)
    product = graph_pb2.SoundForVideo(video=video, seed=5, sampling=FEW)
    made = await make(graph, sound_for_video=product)
    (film,) = made.artifacts
    assert (film.name, film.media.media_type, film.sound.samples) == ("film", "video/mp4", 60_000)
    content = graph.store.get(film.media.uri)
    assert read_sound(content).shape == (2, 60_000)
    assert probe(content).num_tracks == 1
    (tmp_path / "film.mp4").write_bytes(content)
    with av.open(str(tmp_path / "clip")) as before, av.open(str(tmp_path / "film.mp4")) as after:
        pictures = [[bytes(packet) for packet in file.demux(video=0)] for file in (before, after)]
    assert pictures[0] == pictures[1]
    again = await make(graph, sound_for_video=product)
    assert [stage.cached for stage in again.stages] == [True, True]
    assert again.artifacts == made.artifacts
    other = await make(graph, sound_for_video=graph_pb2.SoundForVideo(video=video, seed=6, sampling=FEW))
    assert other.artifacts[0].media.uri != film.media.uri


async def test_a_video_that_mp4_does_not_hold_is_encoded(graph: Served, tmp_path: Path) -> None:
    write_pictures(tmp_path / "clip.avi", "avi", "mpeg4", greys(10), options={"bf": "0"})
    video = media_pb2.Media(media_type="video/x-msvideo", data=(tmp_path / "clip.avi").read_bytes())
    made = await make(graph, sound_for_video=graph_pb2.SoundForVideo(video=video, sampling=FEW))
    content = graph.store.get(made.artifacts[0].media.uri)
    info = probe(content)
    assert (info.codec, info.num_frames, float(info.fps), info.num_tracks) == ("h264", 10, 25, 1)
    assert made.stages[1].of == 10  # frames, as they are encoded


async def test_a_pipeline_of_ones_own_gives_a_film_with_sound(graph: Served, tmp_path: Path) -> None:
    video = clip(tmp_path, codec="ffv1")
    sound = audio_pb2.AudioServiceGenerateRequest(video=video, music="calm piano", sampling=FEW)
    port = graph_pb2.Port
    pipeline = graph_pb2.Pipeline(
        nodes=[
            graph_pb2.PipelineNode(name="heard", sound=sound),
            graph_pb2.PipelineNode(name="file", export=graph_pb2.ExportRequest(video=video)),
        ],
        edges=[
            graph_pb2.PipelineEdge(source=port(node="heard", field="sound"), target=port(node="file", field="sound"))
        ],
        outputs=[graph_pb2.PipelineOutput(name="film", source=port(node="file", field="media"))],
    )
    made = await make(graph, pipeline=pipeline)
    film = made.artifacts[0]
    assert read_sound(graph.store.get(film.media.uri)).shape == (2, 60_000)
    assert not film.HasField("sound")  # nobody told the exporter what was measured
    stub = graph_pb2_grpc.GraphServiceStub(graph.channel)
    whole = (await stub.GetGeneration(graph_pb2.GetGenerationRequest(id=made.id))).generation
    sampling = whole.record.pipeline.nodes[0].sound.sampling
    assert (sampling.steps, sampling.linear_steps, sampling.guidance) == (2, 2, 2.0)


@pytest.mark.parametrize(
    ("product", "field"),
    [
        ({"text_to_sound": words(description="", music="")}, "spec.text_to_sound.description"),
        ({"text_to_sound": words(description="\x07")}, "spec.text_to_sound.description"),
        ({"text_to_sound": words(seconds=0.0)}, "spec.text_to_sound.seconds"),
        ({"text_to_sound": words(seconds=1e9)}, "spec.text_to_sound.seconds"),
        ({"text_to_sound": words(seed=-1)}, "spec.text_to_sound.seed"),
        ({"text_to_sound": words(format="EXPORT_FORMAT_FILM")}, "spec.text_to_sound.format"),
        (
            {"text_to_sound": words(sampling=generator_pb2.Sampling(steps=0))},
            "spec.text_to_sound.sampling.steps",
        ),
        ({"sound_for_video": graph_pb2.SoundForVideo()}, "spec.sound_for_video.video"),
        (
            {"sound_for_video": graph_pb2.SoundForVideo(video=media_pb2.Media(uri="http://127.0.0.1/a.mp4"))},
            "spec.sound_for_video.video.uri",
        ),
    ],
)
async def test_what_cannot_be_made_is_refused_and_the_next_order_is_taken(
    graph: Served, product: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidArgumentError) as refused:
        await create(graph, **product)
    assert refused.value.field == field
    assert refused.value.bound
    assert (await make(graph, text_to_sound=words())).state == SUCCEEDED


async def heard(graph: Served, content: bytes) -> graph_pb2.Generation:
    video = media_pb2.Media(media_type="video/mp4", data=content)
    return await make(graph, sound_for_video=graph_pb2.SoundForVideo(video=video, seed=3, sampling=FEW))


async def test_odd_videos_are_heard_for_as_long_as_they_last_and_keep_their_pictures(
    graph: Served, tmp_path: Path
) -> None:
    for name, (write, (num_frames, height, width)) in (ODD | RATES_HEARD).items():
        if num_frames == 1:
            continue
        content = write(tmp_path)
        made = await heard(graph, content)
        assert made.state == SUCCEEDED, (name, made.error)
        film, before = graph.store.get(made.artifacts[0].media.uri), probe(content, LONG_VIDEOS)
        after = probe(film, LONG_VIDEOS)
        assert (after.num_frames, after.fps, after.num_tracks) == (num_frames, before.fps, 1), name
        assert (after.height, after.width) in ((height, width), (before.height, before.width)), name
        assert read_sound(film).shape == (2, round(before.duration_seconds * SECOND)), name


async def test_a_video_that_gives_no_sound_fails_with_the_reason(graph: Served, tmp_path: Path) -> None:
    for name, (write, message) in (BAD | {"one frame": (ODD["one frame"][0], "at least 2 frames")}).items():
        made = await heard(graph, write(tmp_path))
        error: KinoError = from_status(made.error)
        assert isinstance(error, InvalidArgumentError), name
        assert message in error.message, name
        assert "must" in error.message, name
    assert (await make(graph, text_to_sound=words())).state == SUCCEEDED


async def test_a_graph_without_a_service_says_so(graph: Served) -> None:
    description = await graph_pb2_grpc.GraphServiceStub(graph.channel).Describe(graph_pb2.GraphServiceDescribeRequest())
    assert [part.component for part in description.parts] == ["audio"]
    with pytest.raises(FailedPreconditionError, match=r"this graph has no .* service"):
        await create(graph, text_to_video=graph_pb2.TextToVideo(prompt="a red ball"))
